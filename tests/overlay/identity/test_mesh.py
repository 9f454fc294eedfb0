"""What lies in the data directory: founded once, private, and refused with one line where it is broken."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.errors import ConfigError
from potluck.overlay.identity.certificates import verify_chain
from potluck.overlay.identity.mesh import check_provisioned, found, open_identity, open_mesh
from potluck.simulations.entropy import SeededEntropy

from ...strategies.identities import key

SECRET = "5a" * 32


def entropy(owner: object) -> SeededEntropy:
    return SeededEntropy(1, str(owner))


def test_the_first_start_founds_a_mesh_and_later_ones_find_it(tmp_path: Path) -> None:
    first = open_mesh(tmp_path / "data", entropy("first"))
    again = open_mesh(tmp_path / "data", entropy("again"))
    assert (again.root_der, again.tag_key, again.owner_chain) == (first.root_der, first.tag_key, first.owner_chain)
    assert again.owner.public == first.owner.public
    assert again.mesh_id == first.mesh_id != open_mesh(tmp_path / "other", entropy("other")).mesh_id


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    mesh = open_mesh(tmp_path / "data", entropy("first"))
    for folder in (tmp_path / "file" / "data", tmp_path / "file", Path("/proc/nope")):
        with pytest.raises(ConfigError, match=f"{folder} cannot be used: "):
            open_mesh(folder, entropy("first"))
        with pytest.raises(ConfigError, match=f"{folder} cannot be used: "):
            open_identity(mesh, folder, "ant", entropy("ant"))


def test_nodes_that_start_at_the_same_moment_found_one_mesh(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def start(n: int) -> bytes:
        together.wait()
        return open_mesh(tmp_path, entropy(n)).root_der

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(start, range(8)))) == 1


def test_everything_written_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        data_dir = tmp_path / "data"
        mesh = open_mesh(data_dir, entropy("a"))
        open_identity(mesh, data_dir / "nodes" / "m-a", "a", entropy("b"))
    finally:
        os.umask(before)
    modes = {path.relative_to(data_dir).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in data_dir.rglob("*")}
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert modes["nodes/m-a"] == 0o700
    secrets = ("secret", "owner-key", "mesh.toml", "nodes/m-a/key", "nodes/m-a/node.toml")
    assert {name: modes[name] for name in secrets} == dict.fromkeys(secrets, 0o600)
    assert not [name for name in modes if name.endswith(".part")]


def test_a_node_keeps_its_key_and_gets_a_new_life_at_every_start(tmp_path: Path) -> None:
    mesh = open_mesh(tmp_path, entropy("a"))
    one = open_identity(mesh, tmp_path / "nodes" / "m-a", "a", entropy("one"))
    two = open_identity(mesh, tmp_path / "nodes" / "m-a", "a", entropy("two"))
    other = open_identity(mesh, tmp_path / "nodes" / "m-b", "b", entropy("three"))
    assert one.node_id == two.node_id != other.node_id
    assert one.owner_id == other.owner_id
    assert one.boot_id != two.boot_id
    assert one.chain == two.chain
    assert verify_chain(one.chain, mesh.root_der, one.chain[0]).node_id == one.node_id


@given(secret=st.binary(min_size=32, max_size=32))
def test_the_same_secret_is_the_same_mesh_whoever_holds_it(secret: bytes) -> None:
    one, other = found(secret, key(1)), found(secret, key(2))
    assert one.root_der == other.root_der
    assert one.tag_key == other.tag_key
    assert one.owner_chain != other.owner_chain
    assert secret not in one.root_der + one.tag_key


@pytest.mark.parametrize("text", [SECRET, SECRET + "\n", f"  {SECRET.upper()}\r\n"])
def test_a_mesh_secret_from_a_file_makes_founders_of_one_mesh(tmp_path: Path, text: str) -> None:
    (tmp_path / "given").write_text(text)
    one, other = (open_mesh(tmp_path / name, entropy(name), tmp_path / "given") for name in ("a", "b"))
    assert one.root_der == other.root_der == found(bytes.fromhex(SECRET), key(1)).root_der
    assert one.owner.public != other.owner.public
    assert open_mesh(tmp_path / "a", entropy("c"), tmp_path / "given").root_der == one.root_der
    assert open_mesh(tmp_path / "a", entropy("d")).root_der == one.root_der


@pytest.mark.parametrize(
    "content", [b"", b"5a", b"5a" * 33, b"zz" * 32, b"\xff\xfe" * 32, "٣".encode() * 64, b"\0" * 64], ids=repr
)
def test_a_bad_mesh_secret_is_one_clear_line_and_founds_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "given").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        open_mesh(tmp_path / "data", entropy("a"), tmp_path / "given")
    assert "\n" not in str(caught.value)
    assert "must hold 64 hexadecimal digits" in str(caught.value)
    assert not (tmp_path / "data" / "mesh.toml").exists()


def test_a_mesh_secret_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(ConfigError, match="mesh secret"):
            open_mesh(tmp_path / "data", entropy("a"), path)


def test_the_secret_of_another_mesh_is_refused(tmp_path: Path) -> None:
    data_dir, given = tmp_path / "data", tmp_path / "given"
    given.write_text(SECRET)
    open_mesh(data_dir, entropy("a"))
    with pytest.raises(ConfigError, match="belongs to another mesh"):
        check_provisioned(data_dir, open_mesh(data_dir, entropy("a"), given), given)


@pytest.mark.parametrize("name", ["mesh.toml", "owner-key"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xff", b"x = [", b"root = 3\n", b'root = "zz"', b"-----BEGIN PRIVATE KEY-----\nAAAA\n", b"\0" * 50],
    ids=repr,
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, name: str, content: bytes) -> None:
    open_mesh(tmp_path, entropy("a"))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        open_mesh(tmp_path, entropy("b"))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_mesh_file_that_does_not_fit_its_owner_key_is_one_clear_line(tmp_path: Path) -> None:
    """As after a half-restored backup: found out at once, not at the first handshake."""
    for name in ("a", "b"):
        open_mesh(tmp_path / name, entropy(name))
    (tmp_path / "a" / "owner-key").write_bytes((tmp_path / "b" / "owner-key").read_bytes())
    with pytest.raises(ConfigError, match=r"mesh\.toml"):
        open_mesh(tmp_path / "a", entropy("c"))
    (tmp_path / "b" / "mesh.toml").write_text('root = "00"\ntag_key = "00"\nowner_chain = ["00"]\n')
    with pytest.raises(ConfigError, match=r"mesh\.toml"):
        open_mesh(tmp_path / "b", entropy("c"))


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"], ids=repr)
def test_a_broken_node_key_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    mesh = open_mesh(tmp_path, entropy("a"))
    open_identity(mesh, tmp_path / "n", "a", entropy("b"))
    (tmp_path / "n" / "key").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        open_identity(mesh, tmp_path / "n", "a", entropy("c"))
    assert "\n" not in str(caught.value)
