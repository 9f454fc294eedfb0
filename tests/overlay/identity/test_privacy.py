"""Secrets that others of the machine could read are closed at the next start, and the user is told."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from potluck.node.tenancy import held
from potluck.overlay.errors import ConfigError
from potluck.overlay.identity.mesh import open_identity, open_mesh
from potluck.overlay.identity.privacy import write_private
from potluck.simulations.entropy import SeededEntropy

ENTROPY = SeededEntropy(1, "privacy")
NODE = "nodes/m-a"


def start(data_dir: Path) -> None:
    open_identity(open_mesh(data_dir, ENTROPY), data_dir / NODE, "a", ENTROPY)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", [".", "secret", "owner-key", "mesh.toml", NODE, f"{NODE}/key"])
@pytest.mark.parametrize("others", [0o004, 0o040, 0o066, 0o077])
def test_what_is_too_open_is_closed_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, others: int
) -> None:
    start(tmp_path)
    assert not caplog.records
    path = tmp_path / name
    right = mode(path)
    path.chmod(right | others)
    start(tmp_path)
    assert mode(path) == right
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(f"{path} was open to other users")
    caplog.clear()
    start(tmp_path)
    assert not caplog.records, "said once"


def test_what_is_made_is_closed_from_the_beginning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data_dir, before = tmp_path / "share" / "data", os.umask(0o022)
    try:
        with held(data_dir / NODE, "a"):  # comes before the mesh
            start(data_dir)
    finally:
        os.umask(before)
    assert not caplog.records
    made = (data_dir / NODE, data_dir / "nodes", data_dir, data_dir.parent)
    assert {folder: mode(folder) for folder in made} == dict.fromkeys(made, 0o700)


def test_what_cannot_be_closed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path)
    (tmp_path / "owner-key").chmod(0o644)

    def refuse(path: Path, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(ConfigError, match=r"owner-key cannot be used: Operation not permitted"):
        start(tmp_path)


def test_a_part_that_a_crash_has_left_open_does_not_open_what_replaces_it(tmp_path: Path) -> None:
    (tmp_path / "key.part").write_bytes(b"old")
    (tmp_path / "key.part").chmod(0o666)
    write_private(tmp_path / "key", b"new")
    assert (tmp_path / "key").read_bytes() == b"new"
    assert mode(tmp_path / "key") == 0o600
