"""Letting an owner into a mesh, and moving a data directory into the mesh it has been let into.

left/<mesh>/   mesh.toml, secret and owner-key of a mesh this data directory has left
moving/        the files of the new mesh, while they are being put in place
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..errors import NotAllowed
from ..ports import Entropy
from .certificates import issue, may_invite
from .keys import KeyPair
from .mesh import (
    Mesh,
    check_fits,
    finish_move,
    locked,
    mesh_toml,
    owner_key,
    present_mesh,
    put_in_place,
    read_mesh,
    usable,
)
from .privacy import write_private


class Admission(msgspec.Struct, frozen=True):
    """What makes its receiver a member. `owner_key_pem` only for a further machine of the same owner."""

    root_der: bytes
    tag_key: bytes
    owner_chain: tuple[bytes, ...]
    inviter: str
    owner_key_pem: bytes = b""


def check_may_invite(mesh: Mesh, *, mine: bool) -> None:
    """Raises NotAllowed. Another machine of one's own is no other owner: everyone may add that."""
    if not mine and not may_invite(mesh.owner_chain):
        raise NotAllowed(
            "this machine's owner may not let others in: ask the one who invited you, or a founder of the mesh"
        )


def admit(mesh: Mesh, inviter: str, owner_public_key: bytes, *, invites: bool) -> Admission:
    """Lets another owner in; `invites`: that owner may do the same. Raises ValueError for bytes that are no key."""
    certificate = issue(mesh.owner, owner_public_key, may_issue=True, may_invite=invites)
    return Admission(mesh.root_der, mesh.tag_key, (certificate, *mesh.owner_chain), inviter)


def admit_own(mesh: Mesh, inviter: str) -> Admission:
    """A further machine of the same owner."""
    return Admission(mesh.root_der, mesh.tag_key, mesh.owner_chain, inviter, mesh.owner.to_pem())


def open_owner(data_dir: Path, entropy: Entropy) -> tuple[KeyPair, Mesh | None]:
    """Whose machine this is, made now if it is new, and the mesh it is in, if any. Raises ConfigError."""
    with usable(data_dir), locked(data_dir):
        finish_move(data_dir)
        owner = owner_key(data_dir / "owner-key", entropy)
        toml = data_dir / "mesh.toml"
        return owner, read_mesh(toml, owner) if toml.exists() else None


def check_may_move(mesh: Mesh | None) -> None:
    """Raises NotAllowed for a machine whose mesh has, or has had, other members."""
    if mesh is not None and not mesh.alone:
        raise NotAllowed(
            f"this machine is in a mesh with others ({mesh.mesh_id}): `potluck join --anew` leaves it for good"
        )


def mesh_of(admission: Admission, owner: KeyPair) -> Mesh:
    """The place that an admission gives. Raises NotAllowed when it does not make its receiver a member."""
    if admission.owner_key_pem:
        owner = KeyPair.from_pem(admission.owner_key_pem, "the admission")
    mesh = Mesh(admission.root_der, admission.tag_key, owner, admission.owner_chain)
    check_fits(mesh)
    return mesh


def move(data_dir: Path, mesh: Mesh, *, anew: bool = False) -> None:
    """Makes `mesh` the one of this data directory, whole or not at all; what it was in before is kept in `left`.
    `anew`: whoever else is in that, and also where it is the same mesh, in which another owner comes back.

    Raises NotAllowed if it may not move.
    """
    with locked(data_dir):
        finish_move(data_dir)
        before = present_mesh(data_dir)
        if not anew:
            check_may_move(before)
        if before is not None and before.root_der == mesh.root_der and not (anew and _are_different(before, mesh)):
            raise NotAllowed(f"this machine is in that mesh already ({mesh.mesh_id})")
        put_in_place(data_dir, before, {"owner-key": mesh.owner.to_pem(), "mesh.toml": mesh_toml(mesh)})


def _are_different(one: Mesh, other: Mesh) -> bool:
    """As owners."""
    return one.owner.public != other.owner.public


def no_longer_alone(data_dir: Path) -> None:
    """Notes that this mesh has members elsewhere, so that the machine is not moved away from them."""
    with locked(data_dir):
        mesh = present_mesh(data_dir)
        if mesh is not None and mesh.alone:
            write_private(data_dir / "mesh.toml", mesh_toml(msgspec.structs.replace(mesh, alone=False)))
