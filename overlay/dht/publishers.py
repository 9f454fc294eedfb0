"""Whose records this node keeps: the chains that prove publishers members, kept for as long as their records.

A publisher may be long gone when its record moves to another node. Therefore whoever holds a record holds its
publisher's chain too, and is asked for it by those that take the record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ..errors import NotAllowed
from ..identity.certificates import verify_chain
from ..identity.mesh import Identity
from ..ids import OwnerId
from ..ports import Store
from ..sealing import opened, sealed
from ..wire.opening import CertificateDer

_TABLE: Final = "publishers"
PUBLISHERS_MAX: Final = 4096
_decoder: Final = msgspec.msgpack.Decoder(list[CertificateDer])

Chain = tuple[bytes, ...]


class Publishers:
    """`in_use(public_key)`: whether this node has a record of that publisher."""

    def __init__(self, identity: Identity, store: Store, in_use: Callable[[bytes], bool]) -> None:
        self._root_der = identity.mesh.root_der
        self._own = identity.key.public
        self._store = store
        self._in_use = in_use
        self._owners: dict[bytes, OwnerId] = {identity.key.public: identity.owner_id}
        self._nodes: dict[OwnerId, set[bytes]] = {identity.owner_id: {identity.key.public}}
        self._chains: dict[bytes, Chain] = {identity.key.public: tuple(identity.chain)}
        self._written: dict[bytes, Chain] = {}

    def load(self) -> None:
        for public_key, written in list(self._store.scan(_TABLE)):
            if public_key == self._own:
                continue  # its chain is this life's, and may be another than that of its last one
            encoded = opened(written)
            if encoded is None or not self._in_use(public_key) or not self.prove(public_key, _decoder.decode(encoded)):
                self._store.delete(_TABLE, public_key)

    def owner_of(self, public_key: bytes) -> OwnerId | None:
        """None for one that nobody has proved a member."""
        return self._owners.get(public_key)

    def of_owner(self, owner_id: OwnerId) -> set[bytes]:
        """Its nodes."""
        return self._nodes.get(owner_id, set())

    def chain_of(self, public_key: bytes) -> Chain:
        return self._chains.get(public_key, ())

    def chains(self) -> list[tuple[bytes, Chain]]:
        return list(self._chains.items())

    def know(self, public_key: bytes, owner_id: OwnerId, chain: Sequence[bytes]) -> None:
        """A member whose chain has been verified."""
        if public_key not in self._owners and len(self._owners) >= PUBLISHERS_MAX:
            self._forget_unused()
        self._owners[public_key] = owner_id
        self._nodes.setdefault(owner_id, set()).add(public_key)
        self._chains[public_key] = tuple(chain)

    def prove(self, public_key: bytes, chain: Sequence[bytes]) -> bool:
        """Whether this chain shows that the key is a member's; it is known then."""
        try:
            member = verify_chain(chain, self._root_der, chain[0] if chain else b"")
        except NotAllowed:
            return False
        if member.node_public_key != public_key:
            return False
        self.know(public_key, member.owner_id, chain)
        return True

    def keep(self, public_key: bytes) -> None:
        """A lasting record of it goes to disk, and its chain with it, by the same commit."""
        if self._written.get(public_key) != self._chains[public_key]:
            self._written[public_key] = self._chains[public_key]
            self._store.put(_TABLE, public_key, sealed(msgspec.msgpack.encode(self._chains[public_key])))

    def _forget_unused(self) -> None:
        for public_key in [one for one in self._owners if one != self._own and not self._in_use(one)]:
            self._nodes[self._owners.pop(public_key)].discard(public_key)
            del self._chains[public_key]
            if self._written.pop(public_key, None) is not None:
                self._store.delete(_TABLE, public_key)
