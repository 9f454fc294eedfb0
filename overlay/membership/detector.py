"""Engine of the failure detector: one table of members, driven by links, probes and gossip.

                 link up, news: alive                     link up (same boot)
    (unknown) ───────────────────────▶ ALIVE ◀──────────────────────────────── SUSPECTED
                                         │  link broke, or silent and a probe unanswered ▲ │
                                         └───────────────────────────────────────────────┘ │
                 said goodbye: LEFT      ◀─┘      refused, or silent for `suspicion_s`: DEAD ◀┘

Only a node's own neighbours judge it: a suspicion is of one's own, a death is told to everyone. A new boot id is a new
life: the old one has died. After SWIM (Das, Gupta, Motivala, 2002) §3.1; what is told of others carries incarnations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..config import Membership as MembershipConfig
from ..ids import NodeId
from ..ports import Address
from ..wire.gossip import MemberNews, Status


@dataclass
class Member:
    node_id: NodeId
    name: str
    address: Address
    boot_id: bytes
    incarnation: int
    status: Status
    since_s: float
    linked: bool = False
    heard_s: float = 0.0
    probed_s: float | None = None
    redialled_s: float = field(default=float("-inf"))
    dials_failed: int = 0
    """Since it was last linked."""

    @property
    def present(self) -> bool:
        return self.status in (Status.ALIVE, Status.SUSPECTED)


@dataclass(frozen=True)
class Changed:
    """For everyone on this node: `event` is one of discovered, joined, suspected, left, died."""

    event: str
    member: Member


@dataclass(frozen=True)
class SendProbe:
    node_id: NodeId


@dataclass(frozen=True)
class Dial:
    """Try to reach it: it is suspected, or heard of and not linked yet."""

    member: Member


@dataclass(frozen=True)
class DropLink:
    node_id: NodeId


@dataclass(frozen=True)
class Tell:
    """Neighbours should hear of this member."""

    member: Member


Effect = Changed | SendProbe | Dial | DropLink | Tell


class Detector:
    def __init__(self, own_id: NodeId, config: MembershipConfig) -> None:
        self._own_id = own_id
        self._config = config
        self._members: dict[NodeId, Member] = {}

    @property
    def members(self) -> Mapping[NodeId, Member]:
        return self._members

    def present(self) -> list[Member]:
        return [member for member in self._members.values() if member.present]

    def link_up(self, now_s: float, news: MemberNews) -> list[Effect]:
        """A proved link: the strongest sign of life there is."""
        effects = self._met(now_s, news)
        member = self._members[NodeId(news.node_id)]
        member.linked, member.heard_s, member.probed_s, member.dials_failed = True, now_s, None, 0
        member.name, member.address = news.name, Address(news.host, news.port)
        if member.status is Status.SUSPECTED:
            self._move(now_s, member, Status.ALIVE)
        return effects

    def link_down(self, now_s: float, node_id: NodeId, boot_id: bytes, *, left: bool) -> list[Effect]:
        member = self._members.get(node_id)
        if member is None or member.boot_id != boot_id or not member.present:
            return []
        member.linked, member.probed_s = False, None
        if left:
            return self._ended(now_s, member, Status.LEFT)
        return self._suspect(now_s, member)

    def dial_failed(self, now_s: float, node_id: NodeId, *, refused: bool) -> list[Effect]:
        """A refused connection says that the process is gone. An unanswered one says nothing of a member we have been
        linked to; one that we only heard of is given up after a few."""
        member = self._members.get(node_id)
        if member is None or member.linked or not member.present:
            return []
        member.dials_failed += 1
        hearsay = member.status is Status.ALIVE and member.dials_failed >= self._config.hearsay_tries
        return self._ended(now_s, member, Status.DEAD) if refused or hearsay else []

    def expelled(self, now_s: float, node_id: NodeId) -> list[Effect]:
        """Banned: dead to us, however well it is."""
        member = self._members.get(node_id)
        return self._ended(now_s, member, Status.DEAD) if member is not None and member.present else []

    def news(self, now_s: float, items: Iterable[MemberNews]) -> list[Effect]:
        """What a neighbour believes. It never outweighs a link of our own."""
        effects: list[Effect] = []
        for item in items:
            if item.node_id == self._own_id:
                continue
            member = self._members.get(NodeId(item.node_id))
            if item.status in (Status.ALIVE, Status.SUSPECTED):
                effects += self._heard_alive(now_s, member, item)
            elif member is not None and member.present and not member.linked and self._same_life(member, item):
                effects += self._ended(now_s, member, item.status)
        return effects

    def tick(self, now_s: float, heard_s: Mapping[NodeId, float]) -> list[Effect]:
        """`heard_s`: when each linked peer was last heard."""
        effects: list[Effect] = []
        for member in list(self._members.values()):
            member.heard_s = max(member.heard_s, heard_s.get(member.node_id, member.heard_s))
            if not member.present:
                if now_s - member.since_s > self._config.forget_s:
                    del self._members[member.node_id]
            elif member.linked:
                effects += self._watch(now_s, member)
            else:
                effects += self._retry(now_s, member)
        return effects

    def check(self) -> None:
        """Every invariant."""
        assert self._own_id not in self._members
        for node_id, member in self._members.items():
            assert member.node_id == node_id
            assert member.present or not member.linked, "the dead have no links"
            assert member.probed_s is None or member.linked

    def _heard_alive(self, now_s: float, member: Member | None, item: MemberNews) -> list[Effect]:
        if member is not None:
            ended = not member.present and self._same_life(member, item)
            if member.linked or ended or item.incarnation <= member.incarnation:
                return []  # our own link knows better; the dead stay dead until they show a link or a later life
        elif sum(not one.linked for one in self._members.values()) >= self._config.hearsay_max:
            return []
        effects = self._met(now_s, item)
        return [*effects, Dial(self._members[NodeId(item.node_id)])] if effects else []

    def _met(self, now_s: float, news: MemberNews) -> list[Effect]:
        """The member exists and lives in this boot; says so where that is new."""
        node_id = NodeId(news.node_id)
        effects: list[Effect] = []
        known = self._members.get(node_id)
        if known is not None and known.present:
            if self._same_life(known, news):
                known.incarnation = max(known.incarnation, news.incarnation)
                return []
            effects += self._ended(now_s, known, Status.DEAD)
        address = Address(news.host, news.port)
        member = Member(node_id, news.name, address, news.boot_id, news.incarnation, Status.ALIVE, now_s, heard_s=now_s)
        self._members[node_id] = member
        if known is None:
            effects.append(Changed("discovered", member))
        return [*effects, Changed("joined", member), Tell(member)]

    def _same_life(self, member: Member, news: MemberNews) -> bool:
        return member.boot_id == news.boot_id

    def _watch(self, now_s: float, member: Member) -> list[Effect]:
        """A linked neighbour: ask when silent, suspect when it does not answer, bury when it never does."""
        config = self._config
        if now_s - member.heard_s < config.probe_interval_s:
            member.probed_s = None
            if member.status is Status.SUSPECTED:
                self._move(now_s, member, Status.ALIVE)
            return []
        if member.probed_s is None:
            member.probed_s = now_s
            return [SendProbe(member.node_id)]
        if member.status is Status.SUSPECTED:
            if now_s - member.since_s >= config.suspicion_s:
                member.linked = False
                return [DropLink(member.node_id), *self._ended(now_s, member, Status.DEAD)]
            return []
        if now_s - member.probed_s >= config.probe_timeout_s:
            return self._suspect(now_s, member)
        return []

    def _retry(self, now_s: float, member: Member) -> list[Effect]:
        """Not linked. One we are linked to no more is suspected; one only heard of is its neighbours' to judge."""
        suspected = member.status is Status.SUSPECTED
        if suspected and now_s - member.since_s >= self._config.suspicion_s:
            return self._ended(now_s, member, Status.DEAD)
        pause_s = self._config.probe_timeout_s if suspected else self._config.suspicion_s
        if now_s - member.redialled_s >= pause_s:
            member.redialled_s = now_s
            return [Dial(member)]
        return []

    def _suspect(self, now_s: float, member: Member) -> list[Effect]:
        if member.status is Status.SUSPECTED:
            return []
        self._move(now_s, member, Status.SUSPECTED)
        effects: list[Effect] = [Changed("suspected", member)]
        if not member.linked:
            member.redialled_s = now_s
            effects.append(Dial(member))
        return effects

    def _ended(self, now_s: float, member: Member, status: Status) -> list[Effect]:
        self._move(now_s, member, status)
        member.linked, member.probed_s = False, None
        return [Changed("left" if status is Status.LEFT else "died", member), Tell(member)]

    def _move(self, now_s: float, member: Member, status: Status) -> None:
        member.status = status
        member.since_s = now_s
