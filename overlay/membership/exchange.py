"""Engine: what is told to whom in PEER_EXCHANGE, and when.

*News* of members goes to drawn neighbours, as many as 3·log₂ of the mesh, once from everyone who learns it: that many
make it almost certain that an epidemic reaches all (Kermarrec, Massoulié, Ganesh, 2003, §3; SWIM §4.1 repeats as often
to one at a time). In a mesh of ten that is everybody. Whoever is accused hears it from everyone who knows and has a
link to it (Lifeguard §IV.C), so that it can refute. That a link was lost is told once the dial that follows at once has
not settled it either way: a process that has gone refuses it, and its death is all that the others need to hear.

*Load* goes to all neighbours when it has changed, and every `exchange_interval_s` as a keep-alive that carries the
digest of the member list; a neighbour with another list sends its own, once an interval. So whatever news has missed is
made good, and in a mesh at peace lists are never sent.
"""

from __future__ import annotations

import math
import random
from typing import Final

import msgspec

from ..config import Membership as MembershipConfig
from ..ids import NodeId
from ..wire.capabilities import LoadReport
from ..wire.gossip import ACCUSERS_MAX, LoadNews, MemberNews, PeerExchange, Status
from .members import Member, Members, news_of, token_of

NEWS_MAX: Final = 1024
"""In one message."""
TOGETHER_S: Final = 0.2
"""So long who has ended waits for others: a power cut takes many, and all hear of all of them at once."""
_SPREAD: Final = 3
"""Neighbours told, per doubling of the mesh."""


class Tell(msgspec.Struct, frozen=True):
    to: NodeId
    message: PeerExchange


class Self(msgspec.Struct):
    """What a node says of itself."""

    node_id: NodeId
    name: str
    boot_id: bytes
    incarnation: int = 0

    def news(self) -> MemberNews:
        return MemberNews(self.node_id, self.name, "", 0, self.boot_id, self.incarnation, Status.ALIVE)


class Exchange:
    def __init__(self, config: MembershipConfig, own: Self, members: Members, draws: random.Random) -> None:
        self._config = config
        self._own = own
        self._members = members
        self._draws = draws
        self._news: dict[NodeId, float] = {}
        """Of whom, and not before when."""
        self._told_s = -math.inf
        self._ended_due_s = -math.inf
        self._load = LoadReport()
        self._load_due_s = math.inf
        self._load_told_s = -math.inf
        self._digest_due_s = math.inf
        self._listed_s: dict[NodeId, float] = {}

    @property
    def due_s(self) -> float:
        return min(self._news_due_s, self._load_due_s, self._digest_due_s)

    @property
    def _news_due_s(self) -> float:
        return max(self._told_s + self._config.exchange_min_s, min(self._news.values())) if self._news else math.inf

    def begin(self, now_s: float) -> None:
        self._digest_due_s = now_s + self._config.exchange_interval_s

    def news(self, node_id: NodeId, not_before_s: float = -math.inf) -> None:
        """To be told as it is by then; several in a short time go together."""
        self._news[node_id] = min(not_before_s, self._news.get(node_id, math.inf))

    def ended(self, now_s: float, node_id: NodeId) -> None:
        """With all others who end in this moment."""
        if self._ended_due_s <= now_s:
            self._ended_due_s = now_s + TOGETHER_S
        self.news(node_id, self._ended_due_s)

    def retract(self, node_id: NodeId) -> None:
        """What was to be told later has come to nothing."""
        if self._news.get(node_id, -math.inf) > -math.inf:
            del self._news[node_id]

    def load_is(self, now_s: float, load: LoadReport) -> None:
        self._load = load
        self._load_due_s = max(now_s, self._load_told_s + self._config.exchange_load_min_s)

    def greet(self, to: NodeId) -> list[Tell]:
        """To a new neighbour: the load; the digest, so that it sends its list if that is another one; and who is
        suspected, because it may be the way by which they hear of it."""
        by_id = self._members.by_id
        suspected = [news_of(by_id[node_id]) for node_id in sorted(self._members.suspected)[:NEWS_MAX]]
        return [Tell(to, PeerExchange(suspected, [self._load_news()], self._digest()))]

    def part(self, node_id: NodeId) -> None:
        self._listed_s.pop(node_id, None)

    def compared(self, now_s: float, sender: NodeId, digest: int | None) -> list[Tell]:
        """A neighbour whose list differs gets ours: those present, and the dead as those whom we suspect; who lives
        can then refute it before anybody else buries it."""
        if digest is None or digest == self._digest():
            return []
        if now_s - self._listed_s.get(sender, -math.inf) < self._config.exchange_interval_s:
            return []
        self._listed_s[sender] = now_s
        by_id = self._members.by_id
        present = [news_of(member) for member in self._members.present() if member.node_id != sender]
        dead = (by_id[node_id] for node_id in reversed(self._members.ended) if node_id != sender)
        ended = [self.accusation(member) for member in dead if member.status is Status.DEAD]
        return [Tell(sender, PeerExchange([self._own.news(), *present, *ended][:NEWS_MAX]))]

    def accusation(self, member: Member) -> MemberNews:
        """That we suspect it, whatever else we hold."""
        accusers = sorted({self._own.node_id, *member.accusers})[:ACCUSERS_MAX]
        return msgspec.structs.replace(news_of(member), status=Status.SUSPECTED, accusers=accusers)

    def tick(self, now_s: float) -> list[Tell]:
        """Everything that is due."""
        if not self._members.linked:
            self._news.clear()  # nobody hears it, and whoever comes compares lists
        tells = self._tell_news(now_s) if now_s >= self._news_due_s else []
        if now_s >= min(self._load_due_s, self._digest_due_s):
            tells += self._tell_load(now_s)
        return tells

    def _tell_news(self, now_s: float) -> list[Tell]:
        self._told_s = now_s
        chosen = [node_id for node_id, due_s in self._news.items() if due_s <= now_s][:NEWS_MAX]
        for node_id in chosen:
            del self._news[node_id]
        news = [self._news_of(node_id) for node_id in chosen if self._knows(node_id)]
        linked = sorted(self._members.linked)
        told = self._draws.sample(linked, min(len(linked), self._spread()))
        untold = self._members.linked - set(told)
        tells = [Tell(to, PeerExchange([one for one in news if one.node_id != to or _accuses(one)])) for to in told]
        tells += [
            Tell(NodeId(one.node_id), PeerExchange([one])) for one in news if one.node_id in untold and _accuses(one)
        ]
        return [tell for tell in tells if tell.message.members]

    def _tell_load(self, now_s: float) -> list[Tell]:
        digest = None
        if now_s >= self._digest_due_s:
            self._digest_due_s = now_s + self._config.exchange_interval_s
            digest = self._digest()
        self._load_due_s, self._load_told_s = math.inf, now_s
        message = PeerExchange([], [self._load_news()], digest)
        return [Tell(to, message) for to in sorted(self._members.linked)]

    def _spread(self) -> int:
        return math.ceil(_SPREAD * math.log2(len(self._members.present_ids) + 1))

    def _knows(self, node_id: NodeId) -> bool:
        return node_id == self._own.node_id or node_id in self._members.by_id

    def _news_of(self, node_id: NodeId) -> MemberNews:
        return self._own.news() if node_id == self._own.node_id else news_of(self._members.by_id[node_id])

    def _load_news(self) -> LoadNews:
        return LoadNews(self._own.node_id, self._own.boot_id, self._load)

    def _digest(self) -> int:
        own = self._own
        return self._members.digest ^ token_of(own.node_id, own.boot_id, own.incarnation)


def _accuses(news: MemberNews) -> bool:
    return news.status in (Status.SUSPECTED, Status.DEAD)
