"""The machine alone: its files, its interfaces, its multicast."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import trio
from potluck.node.doctor import machine
from potluck.node.store import SqliteStore
from potluck.overlay.config import Discovery
from potluck.overlay.identity.mesh import open_identity, open_mesh
from potluck.overlay.transport import interfaces
from potluck.overlay.transport.interfaces import choose, explain
from potluck.simulations.entropy import SeededEntropy

LOOPBACK = "127.0.0.1"
DISCOVERY = Discovery(port=40_000 + os.getpid() % 20_000)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder, entropy = tmp_path / "data", SeededEntropy(1, "doctor")
    mesh = open_mesh(folder, entropy)
    open_identity(mesh, folder / "nodes" / "m-a", "a", entropy)
    return folder


def test_a_fresh_data_directory_is_well_and_so_is_none(data_dir: Path, tmp_path: Path) -> None:
    assert machine.files(data_dir).ok
    assert machine.files(tmp_path / "none").ok
    assert machine.disk(tmp_path / "none" / "yet").ok


@pytest.mark.parametrize("name", [".", "secret", "owner-key", "mesh.toml", "nodes/m-a/key"])
def test_whatever_others_may_read_is_named_with_the_command_that_ends_it(data_dir: Path, name: str) -> None:
    path = data_dir / name
    path.chmod(path.stat().st_mode | 0o040)
    finding = machine.files(data_dir)
    assert not finding.ok
    assert finding.matters
    assert str(path) in finding.detail
    mode = "700" if path.is_dir() else "600"
    assert f"chmod {mode} {path}" in finding.fix
    path.chmod(int(mode, 8))
    assert machine.files(data_dir).ok


@pytest.mark.parametrize("name", ["secret", "owner-key", "mesh.toml", "nodes/m-a/key", "nodes/m-a/state.db"])
@pytest.mark.parametrize("content", [b"junk\n" * 999, b"-----BEGIN PRIVATE KEY-----\nAAAA\n"], ids=["junk", "cut"])
def test_whatever_keeps_a_node_from_starting_is_named_with_what_to_do(
    data_dir: Path, name: str, content: bytes
) -> None:
    path = data_dir / name
    path.touch(mode=0o600)
    path.write_bytes(content)
    finding = machine.files(data_dir)
    assert not finding.ok and finding.matters
    assert str(path.parent if name == "mesh.toml" else path) in finding.detail
    assert "put back a copy" in finding.fix or "move" in finding.fix
    assert "\n" not in finding.detail + finding.fix


def test_a_store_that_a_node_has_open_is_well(data_dir: Path) -> None:
    store = SqliteStore(data_dir / "nodes" / "m-a" / "state.db")
    assert machine.files(data_dir).ok
    trio.run(store.aclose)
    assert machine.files(data_dir).ok


def test_where_only_loopback_is_up_it_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interfaces, "_addresses", lambda: [("lo", LOOPBACK)])
    assert [(one.address, one.used) for one in explain(None)] == [(LOOPBACK, True)]


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "DISK_FREE_MIN_BYTES", 1 << 62)
    assert "make room" in machine.disk(tmp_path).fix


def test_multicast_on_loopback_hears_its_own_call() -> None:
    finding = trio.run(machine.multicast_alone, [LOOPBACK], DISCOVERY)
    assert finding.ok, finding
    assert LOOPBACK in finding.detail
    elsewhere = trio.run(machine.multicast_alone, ["192.0.2.77"], DISCOVERY)  # no address of this machine
    assert not elsewhere.ok
    assert "192.0.2.77" in elsewhere.detail


def test_the_interfaces_are_chosen_and_each_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [("lo", "127.0.0.1"), ("docker0", "172.17.0.1"), ("eth0", "10.0.0.5"), ("wlan0", "10.0.1.5")]
    monkeypatch.setattr(interfaces, "_addresses", lambda: here)
    assert choose(None) == ["10.0.0.5", "10.0.1.5"]
    assert choose("eth0") == choose("10.0.0.5") == ["10.0.0.5"]
    assert choose("127.0.0.9") == ["127.0.0.9"]
    why = {one.name: one.why for one in explain(None)}
    assert "containers" in why["docker0"]
    assert machine.interfaces(None).ok
    assert "docker0 172.17.0.1 is left out" in machine.interfaces(None).detail
    assert "eth9" in machine.interfaces("eth9").detail
    monkeypatch.setattr(interfaces, "_addresses", lambda: here[:2])
    assert choose(None) == [LOOPBACK]
    assert not machine.interfaces(None).ok
    assert not machine.interfaces(None).matters


def test_what_is_listed_is_of_this_machine() -> None:
    real = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    assert {one.address for one in explain(None)} <= real | {LOOPBACK}


def test_a_sandbox_that_is_not_there_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    finding = machine.sandbox()
    assert not finding.ok
    assert "install" in finding.fix


def test_a_data_directory_on_what_is_mounted_for_reading_is_told_once_and_is_no_matter_of_its_mode(
    tmp_path: Path,
) -> None:
    program = "import sys; from pathlib import Path; from potluck.node.doctor.machine import files; "
    program += "print(files(Path(sys.argv[1])).fix)"
    steps = 'mount -t tmpfs none "$0" && mkdir "$0/d" && chmod 700 "$0/d" && mount -o remount,ro "$0" && '
    line = ["unshare", "-m", "sh", "-c", steps + 'exec "$1" -c "$2" "$0/d"', str(tmp_path), sys.executable, program]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no mounts here: {error}")
    assert done.stdout == f"mount what {tmp_path}/d lies on for writing\n"
