"""The table of members, and which of two things said of one of them stands.

Of one life (one boot id), after SWIM (Das, Gupta, Motivala, 2002) §4.2, where `i` is the incarnation:

    said           replaces
    ALIVE i        ALIVE, SUSPECTED and DEAD of a lower incarnation
    SUSPECTED i    ALIVE of i or lower, SUSPECTED of lower; of the same incarnation the accusers are united
    DEAD i         ALIVE and SUSPECTED of i or lower
    LEFT           everything: a life that said goodbye is over, whatever is still on its way about it

In the paper nothing follows death. Here whoever was buried alive, or slept, says so with a higher incarnation; the dead
cannot. A node begins each life with an incarnation above those of its earlier ones, so that what is said of an earlier
life is known as such.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from itertools import islice
from typing import Final

import msgspec

from ..ids import NodeId
from ..ports import Address
from ..wire.gossip import ACCUSERS_MAX, MemberNews, Status

LIFE: Final = 1 << 20
"""Incarnations of one life: the first of the n-th is n times this."""
INCARNATION_MAX: Final = 1 << 52
"""Higher ones are not believed: half of what the wire carries stays free for refuting them."""
ENDED_MAX: Final = 2048
"""Dead and departed that are remembered; the oldest go first."""


class Member(msgspec.Struct):
    node_id: NodeId
    name: str
    address: Address
    boot_id: bytes
    incarnation: int
    status: Status
    since_s: float
    came_s: float = -math.inf
    """Since when it has been present, suspected now and then or not."""
    linked: bool = False
    heard_s: float = -math.inf
    checked_s: float = -math.inf
    """When it was last asked directly or through others, whatever came of it."""
    unanswered: bool = False
    """It has been asked for another one since it was last heard, in vain."""
    accusers: set[NodeId] = set()
    """Who has had no answer from it in this incarnation, as far as is known."""
    accused_s: float = math.inf
    """Since when there are accusers."""
    condemned: bool = False
    """Somebody else has buried it."""
    redialled_s: float = -math.inf
    dials_failed: int = 0
    """Since it was last linked, or said to live by somebody who is."""

    @property
    def present(self) -> bool:
        return self.status in (Status.ALIVE, Status.SUSPECTED)

    def acquit(self) -> None:
        """Nothing is held against it any more."""
        self.accusers.clear()
        self.accused_s = math.inf
        self.condemned = False

    def accuse(self, now_s: float, accusers: Collection[bytes]) -> bool:
        """Whether that was news."""
        known = len(self.accusers)
        self.accusers.update(NodeId(one) for one in list(accusers)[: ACCUSERS_MAX - known])
        self.accused_s = min(self.accused_s, now_s)
        return len(self.accusers) > known


class Members:
    """Everybody a node has heard of, but not itself. All changes of status and incarnation go through it."""

    def __init__(self) -> None:
        self.by_id: dict[NodeId, Member] = {}
        self.linked: set[NodeId] = set()
        self.suspected: set[NodeId] = set()
        self.ended: dict[NodeId, None] = {}
        """In the order in which they ended."""
        self.digest = 0
        """Of all present: equal tables have equal ones, unequal tables practically never."""
        self.version = 0
        """Grows when somebody comes or goes."""
        self._tokens: dict[NodeId, int] = {}

    def present(self) -> list[Member]:
        return [self.by_id[node_id] for node_id in self._tokens]

    @property
    def present_ids(self) -> Collection[NodeId]:
        return self._tokens.keys()

    @property
    def alive_count(self) -> int:
        return len(self._tokens) - len(self.suspected)

    def alive_since(self, since_s: float, count_max: int) -> int:
        """How many of the alive were present by then already, up to so many."""
        there = (one for one in self._tokens if one not in self.suspected and self.by_id[one].came_s <= since_s)
        return sum(1 for _ in islice(there, count_max))

    def add(self, member: Member) -> None:
        """In place of what was known of this node."""
        self.ended.pop(member.node_id, None)
        self.by_id[member.node_id] = member
        self.move(member, member.status, member.since_s)

    def move(self, member: Member, status: Status, now_s: float) -> None:
        node_id = member.node_id
        member.status, member.since_s = status, now_s
        if member.present and node_id not in self._tokens:
            member.came_s = now_s
        if status is Status.SUSPECTED:
            self.suspected.add(node_id)
        else:
            member.acquit()
            self.suspected.discard(node_id)
        if member.present:
            self.ended.pop(node_id, None)
        else:
            self.unlink(member)
            self.ended.setdefault(node_id)
            if len(self.ended) > ENDED_MAX:
                self.forget(next(iter(self.ended)))
        self._count(member)

    def renew(self, member: Member, incarnation: int) -> None:
        """What was held against it before is refuted."""
        member.incarnation = incarnation
        member.acquit()
        self._count(member)

    def link(self, member: Member) -> None:
        member.linked = True
        self.linked.add(member.node_id)

    def unlink(self, member: Member) -> None:
        member.linked = False
        self.linked.discard(member.node_id)

    def forget(self, node_id: NodeId) -> None:
        """Of one that has ended."""
        del self.by_id[node_id]
        del self.ended[node_id]

    def _count(self, member: Member) -> None:
        old = self._tokens.pop(member.node_id, None)
        if member.present:
            self._tokens[member.node_id] = token_of(member.node_id, member.boot_id, member.incarnation)
        if (old is None) is member.present:
            self.version += 1
        self.digest ^= (old or 0) ^ self._tokens.get(member.node_id, 0)

    def check(self) -> None:
        """Every invariant."""
        digest = 0
        for node_id, member in self.by_id.items():
            assert member.node_id == node_id
            assert member.linked is (node_id in self.linked)
            assert member.present or not member.linked, "the dead have no links"
            assert (member.status is Status.SUSPECTED) is (node_id in self.suspected)
            assert member.present is (node_id in self._tokens)
            assert member.present is (node_id not in self.ended)
            assert len(member.accusers) <= ACCUSERS_MAX
            assert bool(member.accusers) is (member.accused_s < math.inf)
            if member.present:
                digest ^= token_of(node_id, member.boot_id, member.incarnation)
        assert digest == self.digest
        assert len(self.ended) <= ENDED_MAX


def token_of(node_id: bytes, boot_id: bytes, incarnation: int) -> int:
    """What a present member adds to the digest."""
    said = node_id + boot_id + incarnation.to_bytes(8, "big")
    return int.from_bytes(hashlib.blake2b(said, digest_size=6).digest(), "big")


def news_of(member: Member) -> MemberNews:
    """What is told of a member."""
    return MemberNews(
        member.node_id,
        member.name,
        member.address.host,
        member.address.port,
        member.boot_id,
        member.incarnation,
        member.status,
        sorted(member.accusers),
    )
