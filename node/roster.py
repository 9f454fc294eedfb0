"""Who is of the mesh, as far as this node has met them: by whom they were let in, and since when it knows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from ..overlay.errors import NotFound, RemoteProtocolError
from ..overlay.identity.certificates import owners_of
from ..overlay.identity.mesh import Identity, mesh_id_of
from ..overlay.identity.rotation import Succession
from ..overlay.ids import ID_BYTES, ID_DIGITS_MIN, NodeId, OwnerId, check_one, is_called
from ..overlay.ports import Store
from ..overlay.wire.codec import decoded
from ..overlay.wire.rotation import Rotation

_TABLE: Final = "roster"
_SUGGESTED_MAX: Final = 3


class Entry(msgspec.Struct, frozen=True, array_like=True):
    name: str
    chain: list[bytes]
    """Verified; read only when somebody asks."""
    since_s: float


_decoder: Final = msgspec.msgpack.Decoder(Entry)


class Roster:
    """Kept on disk with the mesh as part of the key: a node that moves does not take old acquaintances along."""

    def __init__(self, identity: Identity, store: Store, now_s: Callable[[], float]) -> None:
        self._identity = identity
        self._store = store
        self._now_s = now_s
        self._mesh = bytes.fromhex(identity.mesh.mesh_id)

    def carry_over(self, rotation: Rotation) -> None:
        """From the root by whose rotation this one has come: who was kept."""
        succession = Succession(rotation, rotation.former_root)
        former = bytes.fromhex(mesh_id_of(rotation.former_root))
        for key, data in list(self._store.scan(_TABLE, former)):
            entry = self._read(key, data)
            place = None if entry is None else succession.place_of(entry.chain[1:])
            if entry is not None and place is not None and not self.knows(NodeId(key[-ID_BYTES:])):
                moved = Entry(entry.name, [entry.chain[0], *place], entry.since_s)
                self._store.put(_TABLE, self._mesh + key[-ID_BYTES:], msgspec.msgpack.encode(moved))
            self._store.delete(_TABLE, key)

    def met(self, node_id: NodeId, name: str, chain: Sequence[bytes]) -> None:
        """`chain` has been verified."""
        known = self._get(node_id)
        if known is not None and (known.name, known.chain) == (name, list(chain)):
            return
        entry = Entry(name, list(chain), self._now_s() if known is None else known.since_s)
        self._store.put(_TABLE, self._mesh + node_id, msgspec.msgpack.encode(entry))

    def knows(self, node_id: NodeId) -> bool:
        return self._get(node_id) is not None

    def name_of(self, node_id: NodeId) -> str:
        """As this node has met it; of a stranger the beginning of its id."""
        known = self._get(node_id)
        return node_id.hex()[:ID_DIGITS_MIN] if known is None else known.name

    def _get(self, node_id: NodeId) -> Entry | None:
        data = self._store.get(_TABLE, self._mesh + node_id)
        return None if data is None else self._read(self._mesh + node_id, data)

    def _read(self, key: bytes, data: bytes) -> Entry | None:
        """None for one of a damaged disk, which goes: its node will be met again."""
        try:
            return decoded(_decoder, data, "whom this node has met")
        except RemoteProtocolError:
            self._store.delete(_TABLE, key)
            return None

    def entries(self) -> list[tuple[NodeId, Entry]]:
        """This node first, then the others by name."""
        own = self._identity.node_id
        found = [(key, self._read(key, data)) for key, data in list(self._store.scan(_TABLE, self._mesh))]
        entries = [(NodeId(key[-ID_BYTES:]), entry) for key, entry in found if entry is not None]
        return sorted(entries, key=lambda pair: (pair[0] != own, pair[1].name, pair[0]))

    def chains(self) -> Iterator[tuple[NodeId, Sequence[bytes]]]:
        for node_id, entry in self.entries():
            yield node_id, entry.chain

    def owners(self, of: Callable[[Sequence[bytes]], bool]) -> set[OwnerId]:
        """Of the nodes whose chains are such."""
        return {owners_of(chain)[0] for _, chain in self.chains() if of(chain)}

    def owner_chain(self, name: str) -> list[bytes]:
        """Of the owner of the node of this name, or whose id begins like this. Raises NotFound, and UsageError where
        several owners have one."""
        found = [(node_id, entry) for node_id, entry in self.entries() if is_called(node_id, entry.name, name)]
        if not found:
            near = sorted({entry.name for _, entry in self.entries() if name and entry.name.startswith(name)})
            meant = f"is it {' or '.join(near[:_SUGGESTED_MAX])}?" if near else "`potluck mesh members` lists them"
            raise NotFound(f"no member named {name} is known here: {meant}")
        if len({tuple(entry.chain[1:]) for _, entry in found}) > 1:
            check_one(name, [node_id for node_id, _ in found])
        return found[0][1].chain[1:]

    def rows(self, is_banned: Callable[[Sequence[bytes]], bool]) -> list[dict[str, object]]:
        """For people, in the order of `entries`; `is_banned` judges a chain."""
        return [_row(node_id, entry, is_banned(entry.chain)) for node_id, entry in self.entries()]


def _row(node_id: bytes, entry: Entry, banned: bool) -> dict[str, object]:
    owner, *above = owners_of(entry.chain)
    return {
        "name": entry.name,
        "node_id": node_id.hex(),
        "owner": owner.hex(),
        "invited_by": above[0].hex() if above else None,
        "since": round(entry.since_s, 3),
        "banned": banned,
    }
