"""Engine of the bans: a grow-only set of signed records. Sets merge by union, in any order, any number of times.

What is banned is a *place*: an owner as let in along one path from the root. Whoever was let in from there lies below
and falls too; an owner whom somebody else has let in as well keeps that other place. Hence

    writer     the root's key, or an owner above the banned place, who could as well not have let it in. Certificates
               for keys of other people, which everybody who may invite can make, give no power over their real places.
    founders   stand directly below the root because they hold its secret: they cannot be banned, only rotated away.

A liar who may invite can ban as many owners of its own invention as it likes. So a writer has `BY_ONE_MAX` bans and
the set `BANS_MAX`; of more, those by writers nearer to the root stand, then the smaller digests. That choice is itself
a union: what a larger set drops, no part of it would bring back.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from ..errors import NotAllowed, RemoteProtocolError
from ..ids import NodeId
from ..wire.bans import Ban
from .certificates import public_keys_of, verify_owners
from .keys import KeyPair, signed_by

BY_ONE_MAX: Final = 256
BANS_MAX: Final = 4096
_NODES_MAX: Final = 8192
_SIGNED_AS: Final = b"potluck ban 1\0"
_NO_BANS: Final = b"potluck bans"


class _Held(NamedTuple):
    depth: int
    """Of the writer; the root's is 0."""
    digest: bytes
    place: bytes
    writer: bytes
    ban: Ban


def make_ban(owner_chain: Sequence[bytes], writer: KeyPair, root_der: bytes) -> Ban:
    """Bans the owner whose certificate comes first. Raises NotAllowed unless the writer is the root's key or that of
    an owner above."""
    if len(owner_chain) < 2:
        raise NotAllowed(
            "who holds the secret of the mesh cannot be banned: `potluck mesh rotate --without` leaves them"
        )
    above = [*public_keys_of(owner_chain)[1:], *public_keys_of([root_der])]
    if writer.public not in above:
        raise NotAllowed("only who let an owner in, those above them, and founders may ban it")
    place = above.index(writer.public) + 1
    return Ban(list(owner_chain), place, writer.sign(_signed_bytes(owner_chain, place, root_der)))


def _signed_bytes(owner_chain: Sequence[bytes], writer: int, root_der: bytes) -> bytes:
    return _SIGNED_AS + msgspec.msgpack.encode((list(owner_chain), writer, hashlib.sha256(root_der).digest()))


class BanSet:
    """Of one mesh. `grown` hears of every ban that is new.

    What bans this node itself, the one below `own_chain`, is no part of the set: the node has nobody left to tell it
    to, and goes on with what it has. It is kept aside, and `fell` hears of the first."""

    def __init__(self, root_der: bytes, own_chain: Sequence[bytes] = ()) -> None:
        self._root_der = root_der
        self._own_places = frozenset(places_of(own_chain, root_der))
        self.against_this_node: Ban | None = None
        self.fell: list[Callable[[], None]] = []
        self._held: dict[bytes, _Held] = {}
        self._places: frozenset[bytes] = frozenset()
        self.digest = hashlib.sha256(_NO_BANS).digest()
        """Of the whole set: two nodes that hold the same one need not compare further."""
        self.nodes: set[NodeId] = set()
        """Banned nodes that have been judged by their chains."""
        self.grown: list[Callable[[Sequence[Ban]], None]] = []

    def __iter__(self) -> Iterator[Ban]:
        return iter([held.ban for held in self._held.values()])

    def __len__(self) -> int:
        return len(self._held)

    def beyond(self, known: Iterable[Ban]) -> list[Ban]:
        """Those that somebody who knows these lacks."""
        digests = {_digest(ban) for ban in known}
        return [held.ban for digest, held in self._held.items() if digest not in digests]

    def learn(self, bans: Iterable[Ban]) -> list[Ban]:
        """Takes them in; returns those that are new. Raises RemoteProtocolError for one that nobody can have written
        rightly, and has changed nothing then."""
        unknown = {digest: ban for ban in bans if (digest := _digest(ban)) not in self._held}
        if not unknown:
            return []
        read = [self._read(digest, ban) for digest, ban in unknown.items()]
        if own := [held for held in read if held.place in self._own_places]:
            read = [held for held in read if held not in own]
            self._falls(own[0].ban)
        self._held = {held.digest: held for held in _standing([*self._held.values(), *read])}
        new = [ban for digest, ban in unknown.items() if digest in self._held]
        if new:
            self._places = frozenset(held.place for held in self._held.values())
            self.digest = hashlib.sha256(b"".join([_NO_BANS, *sorted(self._held)])).digest()
            for hear in self.grown:
                hear(new)
        return new

    def concern_this_node(self, bans: Iterable[Ban]) -> bool:
        """Whether any of these, which were learned, is of a place of its own."""
        return any(self._place_of(ban) in self._own_places for ban in bans)

    def _place_of(self, ban: Ban) -> bytes:
        return places_of(ban.chain, self._root_der)[-1]

    def _places_above(self, chain: Sequence[bytes]) -> list[bytes]:
        return places_of(chain[1:], self._root_der)

    def _falls(self, ban: Ban) -> None:
        if self.against_this_node is None:
            self.against_this_node = ban
            for hear in self.fell:
                hear()

    def _read(self, digest: bytes, ban: Ban) -> _Held:
        depth = len(ban.chain) - ban.writer
        if depth < 0:
            raise RemoteProtocolError("a ban by nobody of its chain")
        try:
            verify_owners(ban.chain, self._root_der)
        except NotAllowed as error:
            raise RemoteProtocolError(f"a ban of nobody in this mesh: {error}") from error
        writer = public_keys_of([*ban.chain, self._root_der])[ban.writer]
        if not signed_by(writer, ban.signature, _signed_bytes(ban.chain, ban.writer, self._root_der)):
            raise RemoteProtocolError("the signature of a ban is wrong")
        return _Held(depth, digest, places_of(ban.chain, self._root_der)[-1], writer, ban)

    def is_banned(self, chain: Sequence[bytes]) -> bool:
        """Whether a node's verified chain stands at a banned place or below one."""
        return self.is_owner_banned(chain[1:])

    def is_known_banned(self, chain: Sequence[bytes]) -> bool:
        """For a person: also by what bans this node, by which it judges nobody."""
        own = self.against_this_node
        return self.is_banned(chain) or (own is not None and self._place_of(own) in self._places_above(chain))

    def is_owner_banned(self, owner_chain: Sequence[bytes]) -> bool:
        return bool(self._places) and not self._places.isdisjoint(places_of(owner_chain, self._root_der))

    def against(self, chain: Sequence[bytes]) -> list[Ban]:
        """What a node of this verified chain is banned by."""
        places = frozenset(self._places_above(chain))
        return [held.ban for held in self._held.values() if held.place in places]

    def judge(self, node_id: NodeId, chain: Sequence[bytes]) -> bool:
        """Whether the node of this chain is banned; it is then known by its id, too, until it shows another chain."""
        banned = self.is_banned(chain)
        if not banned:
            self.nodes.discard(node_id)
        elif len(self.nodes) < _NODES_MAX:
            self.nodes.add(node_id)
        return banned

    def check(self, node_id: NodeId, chain: Sequence[bytes]) -> None:
        """Raises NotAllowed for a banned node."""
        if self.judge(node_id, chain):
            raise NotAllowed(f"node {node_id.hex()[:8]} is banned from this mesh")


def lies_below(owner_chain: Sequence[bytes], banned: Sequence[bytes], root_der: bytes) -> bool:
    """Whether a ban of the owner whose chain is `banned` would take that owner down, too."""
    return places_of(banned, root_der)[-1] in places_of(owner_chain, root_der)


def _standing(held: list[_Held]) -> list[_Held]:
    """Those that the limits leave."""
    counts: Counter[bytes] = Counter()
    standing = []
    for one in sorted(held, key=lambda one: (one.depth, one.digest)):
        counts[one.writer] += 1
        if counts[one.writer] <= BY_ONE_MAX:
            standing.append(one)
    return standing[:BANS_MAX]


def _digest(ban: Ban) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(ban)).digest()


def places_of(owner_chain: Sequence[bytes], root_der: bytes) -> list[bytes]:
    """What names the places on the way from the root's first owner down to the one whose certificate comes first."""
    place = hashlib.sha256(root_der).digest()
    places = []
    for public_key in reversed(public_keys_of(owner_chain)):
        place = hashlib.sha256(place + public_key).digest()
        places.append(place)
    return places
