"""A mesh under a new root, made by whoever holds the secret of the old one: the way to leave a founder behind.

The record is signed by the old root and holds new certificates for the owners that the old root had let in, whoever
rotates first, directly below the new root, the others below that owner: nobody else holds the new secret. What these
owners have signed stays as it is, so that everybody below them is kept without being known here. The key of the
beacon's tags stays, too: by it a member that was away finds the others.

What a data directory goes through, for every record that its root has signed (`former_root` is its root):

             we are kept: `moving.part` is complete               `moving` is put in place
    SETTLED ─────────────────────────────────────────▶ DECIDED ─────────────────────────────▶ SETTLED
    old root                rename to `moving`                        (`finish_move`)         new root
       │                                                                                         │
       └── we are not kept: nothing changes          another record of the old root: noted ──────┘

The rename is the decision; before it a crash leaves the old place whole, after it the next start finishes. The first
record wins. Whoever rotates is DECIDED, new secret included, before anybody is told: a secret that others live under
is never lost with a machine that was about to write it.

    rotation-<mesh>   the record by which that mesh was left
    conflict-<mesh>   another one that was met afterwards: two rotated at once, or the old secret is in other hands
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ..errors import ConfigError, LimitExceeded, NotAllowed, RemoteProtocolError
from ..wire.bans import Ban
from ..wire.codec import decoded
from ..wire.framing import VALUE_BYTES_MAX
from ..wire.rotation import KEPT_MAX, Rotation
from .bans import BanSet, make_ban
from .certificates import issue, may_invite, public_keys_of, verify_owners
from .keys import KeyPair, signed_by
from .mesh import (
    Mesh,
    finish_move,
    found,
    locked,
    mesh_id_of,
    mesh_toml,
    present_mesh,
    put_in_place,
    read_mesh,
    root_of,
    usable,
)
from .privacy import write_private

_SIGNED_AS: Final = b"potluck rotation 1\0"
_RECORD: Final = "rotation-"
_CONFLICT: Final = "conflict-"
_decoder: Final = msgspec.msgpack.Decoder(Rotation)


class Succession:
    """What a record makes of the places under the old root."""

    def __init__(self, rotation: Rotation, former_root: bytes) -> None:
        """Raises RemoteProtocolError unless that root has signed the record and it holds together."""
        self.rotation = rotation
        (signer,) = public_keys_of([former_root])
        if rotation.former_root != former_root or not signed_by(signer, rotation.signature, _signed_bytes(rotation)):
            raise RemoteProtocolError("a rotation that the root of this mesh has not signed")
        try:
            verify_owners([rotation.root], rotation.root)
            verify_owners(rotation.kept[:1], rotation.root)
            for kept in rotation.kept[1:]:
                verify_owners([kept, rotation.kept[0]], rotation.root)
        except NotAllowed as error:
            raise RemoteProtocolError(f"a rotation that does not hold together: {error}") from error
        self._bans = BanSet(rotation.root)
        self._bans.learn(rotation.bans)

    def place_of(self, owner_chain: Sequence[bytes]) -> tuple[bytes, ...] | None:
        """The chain of this owner under the new root; None for who is not kept."""
        chain = _moved(self.rotation.kept, owner_chain)
        if chain is None or self._bans.is_owner_banned(chain):
            return None
        try:
            verify_owners(chain, self.rotation.root)
        except NotAllowed:
            return None  # too deep now
        return chain


def make_rotation(
    mesh: Mesh,
    secret: bytes,
    root: KeyPair,
    known: Iterable[Sequence[bytes]],
    bans: Iterable[Ban],
    without: Collection[bytes] = (),
) -> Rotation:
    """To the root of a new secret (`new_secret`), signed with the old root's key. `known`: the owner chains of
    everybody; `without`: public keys of founders to leave behind. Raises LimitExceeded."""
    new = found(secret, mesh.owner)
    kept = [new.owner_chain[0]]
    founders = {public_keys_of(chain[-1:])[0]: chain[-1] for chain in known}
    for public_key, former in sorted(founders.items()):
        if public_key != mesh.owner.public and public_key not in without:
            kept.append(issue(mesh.owner, public_key, may_issue=True, may_invite=may_invite([former])))
    new_root = root_of(secret)
    places = {_moved(kept, ban.chain) for ban in bans}
    again = [make_ban(place, new_root, new.root_der) for place in sorted(filter(None, places)) if len(place) > 1]
    unsigned = Rotation(mesh.root_der, new.root_der, kept, again, bytes(64))
    rotation = msgspec.structs.replace(unsigned, signature=root.sign(_signed_bytes(unsigned)))
    if len(kept) > KEPT_MAX or len(msgspec.msgpack.encode(rotation)) > VALUE_BYTES_MAX:
        raise LimitExceeded("the mesh has too many founders and bans for one record")
    return rotation


def new_secret(mesh: Mesh, seed: bytes) -> bytes:
    """Of a new root for the same mesh: whoever is given it has the key of its tags, too."""
    return seed + mesh.tag_key


def _moved(kept: Sequence[bytes], owner_chain: Sequence[bytes]) -> tuple[bytes, ...] | None:
    top, *others = public_keys_of([owner_chain[-1], *kept])
    if top not in others:
        return None
    place = others.index(top)
    return (*owner_chain[:-1], kept[place], kept[0]) if place else (*owner_chain[:-1], kept[0])


def _signed_bytes(rotation: Rotation) -> bytes:
    return _SIGNED_AS + msgspec.msgpack.encode((rotation.former_root, rotation.root, rotation.kept, rotation.bans))


# The data directory


def adopt(data_dir: Path, rotation: Rotation, secret: bytes | None = None) -> None:
    """Puts this data directory below the new root, whole or not at all. `secret` is that of whoever rotates.

    Raises NotAllowed when its owner is not kept, RemoteProtocolError, ConfigError.
    """
    with usable(data_dir), locked(data_dir):
        finish_move(data_dir)
        mesh = present_mesh(data_dir)
        if mesh is None or mesh.root_der == rotation.root:
            return  # another node of this owner was first
        place = Succession(rotation, mesh.root_der).place_of(mesh.owner_chain)
        if place is None:
            raise NotAllowed("this mesh has a new root, and this machine's owner was not kept")
        under_new_root = msgspec.structs.replace(mesh, root_der=rotation.root, owner_chain=place)
        files = {
            "mesh.toml": mesh_toml(under_new_root),
            f"{_RECORD}{mesh.mesh_id}": msgspec.msgpack.encode(rotation),
        }
        if secret is not None:
            files["secret"] = secret.hex().encode() + b"\n"
        put_in_place(data_dir, mesh, files)


def rotations_to(data_dir: Path, root_der: bytes) -> tuple[Rotation, ...]:
    """Those by which this data directory has come to its root, the latest first. Raises ConfigError."""
    held = {one.root: one for one in _records(data_dir, _RECORD)}
    steps: list[Rotation] = []
    while (step := held.pop(root_der, None)) is not None:
        steps.append(step)
        root_der = step.former_root
    return tuple(steps)


def conflicts_in(data_dir: Path) -> tuple[Rotation, ...]:
    """Other rotations of roots that it has left: parts of the mesh went another way."""
    return _records(data_dir, _CONFLICT)


def former_chain(data_dir: Path, rotation: Rotation, owner: KeyPair) -> tuple[bytes, ...]:
    """This owner's below the root that was left, as it is kept in `left`. Raises ConfigError."""
    return read_mesh(data_dir / "left" / mesh_id_of(rotation.former_root) / "mesh.toml", owner).owner_chain


def note_conflict(data_dir: Path, rotation: Rotation) -> bool:
    """Whether it is another rotation of a root that this data directory has left; it is kept then, the first one."""
    for held in _records(data_dir, _RECORD):
        if held.former_root == rotation.former_root and held.root != rotation.root:
            Succession(rotation, held.former_root)
            path = data_dir / f"{_CONFLICT}{mesh_id_of(held.former_root)}"
            if not path.exists():
                write_private(path, msgspec.msgpack.encode(rotation))
            return True
    return False


def _records(data_dir: Path, prefix: str) -> tuple[Rotation, ...]:
    records = []
    for path in sorted(data_dir.glob(prefix + "[0-9a-f]" * 16)):
        try:
            records.append(decoded(_decoder, path.read_bytes(), "a rotation"))
        except (OSError, RemoteProtocolError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
    return tuple(records)
