"""What lies in the data directory, and the identity of a node made from it.

    mesh.toml    root certificate, tag key, the owner's chain (all public but the tag key)   0600
    secret       256 bits the root key is derived from; founders only. After a rotation the
                 key of the beacon's tags follows, which the mesh has kept                   0600
    owner-key    whose machine this is                                                       0600
    nodes/…/key  one per node                                                                0600

The first start founds a mesh. Nodes of one data directory share it and its owner. A mesh secret handed over by file
makes the machine a founder of the same mesh, with an owner key of its own; `joining` puts it into somebody else's.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec

from ..descriptors import words_of
from ..errors import ConfigError, NotAllowed
from ..ids import NodeId, OwnerId, node_id_of, owner_id_of
from ..ports import Entropy
from ..wire.rotation import Rotation
from .certificates import issue, verify_chain
from .keys import KeyPair, derive
from .privacy import close_to_others, make_private, sync_folder, write_private

SECRET_BYTES: Final = 32
MOVING: Final = "moving"
_LEFT: Final = ("mesh.toml", "secret", "owner-key")
_SECRETS: Final = ("secret", "owner-key", "mesh.toml", "left")


class Mesh(msgspec.Struct, frozen=True):
    """One owner's place in a mesh."""

    root_der: bytes
    tag_key: bytes
    owner: KeyPair
    owner_chain: tuple[bytes, ...]
    """The owner's certificate first, the root left out."""
    alone: bool = False
    """Founded by this data directory, which has let nobody in and met no other owner: it may still join another."""
    rotations: tuple[Rotation, ...] = ()
    """Those by which it has come to this root."""

    @property
    def mesh_id(self) -> str:
        return mesh_id_of(self.root_der)


class Identity(msgspec.Struct, frozen=True, dict=True):
    """One node of an owner, for one run of it."""

    name: str
    key: KeyPair
    chain: tuple[bytes, ...]
    mesh: Mesh
    boot_id: bytes

    @cached_property
    def node_id(self) -> NodeId:
        return node_id_of(self.key.public)

    @cached_property
    def owner_id(self) -> OwnerId:
        return owner_id_of(self.mesh.owner.public)


def mesh_id_of(root_der: bytes) -> str:
    return hashlib.sha256(root_der).hexdigest()[:16]


def root_of(secret: bytes) -> KeyPair:
    return KeyPair.from_seed(derive(secret[:SECRET_BYTES], "root"))


def found(secret: bytes, owner: KeyPair) -> Mesh:
    """The mesh of a secret, with `owner` admitted by its root. The same secret always gives the same root."""
    root = root_of(secret)
    return Mesh(
        root_der=issue(root, root.public, may_issue=True),
        tag_key=secret[SECRET_BYTES:] or derive(secret, "beacon tag"),
        owner=owner,
        owner_chain=(issue(root, owner.public, may_issue=True),),
    )


def root_key(data_dir: Path, mesh: Mesh) -> KeyPair | None:
    """The root's key where this data directory holds the secret of its mesh: its owner is a founder."""
    path = data_dir / "secret"
    if not path.exists():
        return None
    secret = read_secret(path)
    is_of_this_mesh = found(secret, mesh.owner).root_der == mesh.root_der
    return root_of(secret) if is_of_this_mesh else None


def make_identity(mesh: Mesh, name: str, key: KeyPair, entropy: Entropy) -> Identity:
    leaf = issue(mesh.owner, key.public, may_issue=False)
    return Identity(name, key, (leaf, *mesh.owner_chain), mesh, entropy.token(16))


def open_mesh(data_dir: Path, entropy: Entropy, secret_file: Path | None = None) -> Mesh:
    """The mesh of this data directory, founded now if there is none. Raises ConfigError for unusable files."""
    with usable(data_dir), locked(data_dir):
        finish_move(data_dir)
        close_to_others([data_dir, *(data_dir / name for name in _SECRETS)])
        provisioned = read_secret(secret_file) if secret_file else None
        owner = owner_key(data_dir / "owner-key", entropy)
        toml = data_dir / "mesh.toml"
        if toml.exists():
            return read_mesh(toml, owner)
        secret = provisioned or entropy.token(SECRET_BYTES)
        mesh = msgspec.structs.replace(found(secret, owner), alone=provisioned is None)
        write_private(data_dir / "secret", secret.hex().encode() + b"\n")
        write_private(toml, mesh_toml(mesh))
        return mesh


def check_provisioned(data_dir: Path, mesh: Mesh, secret_file: Path) -> None:
    """A script goes on naming the secret that a machine began with, whatever roots the mesh has had since. Raises
    ConfigError for the secret of another mesh."""
    root_der = found(read_secret(secret_file), mesh.owner).root_der
    if root_der not in (mesh.root_der, *(rotation.former_root for rotation in mesh.rotations)):
        raise ConfigError(f"{data_dir} belongs to another mesh than {secret_file}")


def open_identity(mesh: Mesh, node_dir: Path, name: str, entropy: Entropy) -> Identity:
    """The node of this name, made now if it is new; its key and its chain lie as PEM files for TLS in `node_dir`."""
    path = node_dir / "key"
    with usable(node_dir):
        close_to_others([node_dir, path])
        if path.exists():
            key = KeyPair.from_pem(path.read_bytes(), str(path))
        else:
            key = KeyPair.from_seed(entropy.token(32))
            write_private(path, key.to_pem())
        write_private(node_dir / "node.toml", f'name = "{name}"\n'.encode())
    return make_identity(mesh, name, key, entropy)


def finish_move(data_dir: Path) -> None:
    """Carries out a move into another mesh that has been decided: everything the new place needs lies in `moving`.

    Renaming that folder into being is the decision; a crash before it changes nothing, one after it ends here.
    """
    moving = data_dir / MOVING
    if not moving.is_dir():
        return
    files = sorted(moving.iterdir())
    if any(file.name == "mesh.toml" for file in files):  # the first to be put in place, before a new secret
        (data_dir / "secret").unlink(missing_ok=True)  # of the mesh that is left; `left` has it
    for file in files:
        file.replace(data_dir / file.name)
    sync_folder(data_dir)
    moving.rmdir()


def put_in_place(data_dir: Path, before: Mesh | None, files: Mapping[str, bytes]) -> None:
    """These files instead of what made this data directory part of `before`, which is kept in `left`. Needs the lock,
    and no move that is unfinished."""
    if before is not None:
        _keep(data_dir, before)
    part = data_dir / f"{MOVING}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    for name, data in files.items():
        write_private(part / name, data)
    part.rename(data_dir / MOVING)
    sync_folder(data_dir)
    finish_move(data_dir)


def _keep(data_dir: Path, mesh: Mesh) -> None:
    folder = data_dir / "left" / mesh.mesh_id
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, exist_ok=True)
    for name in _LEFT:
        if (data_dir / name).exists():
            write_private(folder / name, (data_dir / name).read_bytes())


def present_mesh(data_dir: Path) -> Mesh | None:
    toml, key = data_dir / "mesh.toml", data_dir / "owner-key"
    return read_mesh(toml, KeyPair.from_pem(key.read_bytes(), str(key))) if toml.exists() and key.exists() else None


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Makes the folder if it is new. Raises ConfigError for what cannot be done in it."""
    try:
        make_private(folder)
        yield
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be used: {words_of(error)}") from error


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Nodes that start at the same moment found one mesh, not two."""
    with (data_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def owner_key(path: Path, entropy: Entropy) -> KeyPair:
    if path.exists():
        return KeyPair.from_pem(path.read_bytes(), str(path))
    owner = KeyPair.from_seed(entropy.token(32))
    write_private(path, owner.to_pem())
    return owner


def read_secret(path: Path) -> bytes:
    """Raises ConfigError."""
    try:
        secret = bytes.fromhex(path.read_text().strip())
    except OSError as error:
        raise ConfigError(f"mesh secret {path}: {error.strerror}") from error
    except ValueError:
        secret = b""
    if len(secret) not in (SECRET_BYTES, 2 * SECRET_BYTES):
        digits = 2 * SECRET_BYTES
        raise ConfigError(f"mesh secret {path}: must hold {digits} hexadecimal digits (after a rotation {2 * digits})")
    return secret


def mesh_toml(mesh: Mesh) -> bytes:
    chain = ", ".join(f'"{der.hex()}"' for der in mesh.owner_chain)
    return (
        f'mesh = "{mesh.mesh_id}"\nroot = "{mesh.root_der.hex()}"\n'
        f'tag_key = "{mesh.tag_key.hex()}"\nowner_chain = [{chain}]\nalone = {str(mesh.alone).lower()}\n'
    ).encode()


def read_mesh(path: Path, owner: KeyPair) -> Mesh:
    try:
        fields = tomllib.loads(path.read_text())
        mesh = Mesh(
            root_der=bytes.fromhex(fields["root"]),
            tag_key=bytes.fromhex(fields["tag_key"]),
            owner=owner,
            owner_chain=tuple(bytes.fromhex(der) for der in fields["owner_chain"]),
            alone=fields.get("alone") is True,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    try:
        check_fits(mesh)
    except NotAllowed as error:
        raise ConfigError(f"{path} does not fit the owner-key beside it: {error}") from error
    return mesh


def check_fits(mesh: Mesh) -> None:
    """Raises NotAllowed unless the owner's nodes would be members."""
    leaf = issue(mesh.owner, mesh.owner.public, may_issue=False)
    verify_chain((leaf, *mesh.owner_chain), mesh.root_der, leaf)
