"""Engine of the failure detector: links, answers and news in; joined, suspected, cleared, left and died out.

                 link up, news: alive                     heard again, or it refutes
    (unknown) ───────────────────────▶ ALIVE ◀──────────────────────────────────────── SUSPECTED
                                         │ link lost, or asked directly and through others without answer ▲ │
                                         │ (of one who is no neighbour: others say so)                    │ │
                                         └────────────────────────────────────────────────────────────────┘ │
         said goodbye: LEFT ◀────────────┘      a dial is refused, or nobody acquits it for `suspicion_s`: DEAD ◀┘

A node judges its own neighbours itself: what others say of one makes it ask at once, and shortens a suspicion of its
own, no more. Of everybody else it believes its neighbours, by the precedence in `members`. A suspicion is told to all
and to the suspect first of all, which refutes it by a higher incarnation (SWIM §4.2). DEAD is told; a new boot id is a
new life, and the old one has died.

Three things keep the living alive: a node that was stopped lets nobody else pay for the time (its deadlines move), one
that hears little waits longer (`health`), and whoever has died all the same is back with its next word.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from ..config import Links as LinksConfig
from ..config import Membership as MembershipConfig
from ..ids import NodeId
from ..ports import Address
from ..wire.capabilities import LoadReport
from ..wire.gossip import MemberNews, PeerExchange, Reach, Status
from .dialling import Dial, Dialling
from .exchange import Exchange, Self, Tell
from .health import ENOUGH_OTHERS, LocalHealth, suspicion_s
from .members import INCARNATION_MAX, LIFE, Member, Members, news_of
from .neighbours import Neighbours
from .probing import AskThrough, Prober, Question

_ENOUGH: Final = 1 << 10
"""Confirmations of somebody who has judged."""
_LOOK_AGAIN_S: Final = 0.2
"""While anybody is suspected: no longer can a stop go unnoticed that swallows the time for a refutation."""
_LATE_S: Final = 0.05


class Changed(msgspec.Struct, frozen=True):
    """For everyone on this node: `event` is one of discovered, joined, suspected, cleared (of that suspicion), left,
    died; or `returned`: this node itself was held for dead by others, as the member says, and has missed what they
    agreed on without it."""

    event: str
    member: Member


class DropLink(msgspec.Struct, frozen=True):
    node_id: NodeId


class Unheard(msgspec.Struct, frozen=True):
    """It answers others, and not this node, though there is a link."""

    node_id: NodeId


Effect = Changed | Dial | DropLink | Tell | Question | Unheard


class Detector:
    """`due_s` is when it next wants `tick`."""

    def __init__(self, own: Self, config: MembershipConfig, links: LinksConfig, draws: random.Random) -> None:
        self._own = own
        self._config = config
        self._members = Members()
        self._health = LocalHealth(config)
        self._neighbours = Neighbours(own.node_id, links, self._members)
        self._prober = Prober(config, self._members, self._health, self._neighbours.of, draws)
        self._dialling = Dialling(own.node_id, config, self._members, self._neighbours)
        self._exchange = Exchange(config, own, self._members, draws)
        self._burial_s = math.inf
        """Not after the first burial that is due."""
        self.due_s = math.inf

    @property
    def members(self) -> Mapping[NodeId, Member]:
        return self._members.by_id

    @property
    def incarnation(self) -> int:
        return self._own.incarnation

    def present(self) -> list[Member]:
        return self._members.present()

    @property
    def present_count(self) -> int:
        return len(self._members.present_ids)

    # Events

    def begin(self, now_s: float, boots: int) -> None:
        """This life of the node, the `boots`-th."""
        self._own.incarnation = boots * LIFE
        self._prober.begin(now_s)
        self._exchange.begin(now_s)
        self._told(now_s, [])

    def tick(self, now_s: float, heard_s: Mapping[NodeId, float]) -> list[Effect]:
        """`heard_s`: when each linked peer was last heard."""
        self._woke(now_s)
        effects = [*self._hear(heard_s, heard_s), *self._prober.tick(now_s), *self._judge(now_s)]
        if now_s >= self._burial_s:
            effects += self._bury(now_s)
        self._dialling.changed(now_s)
        return self._told(now_s, [*effects, *self._dialling.tick(now_s)])

    def link_up(self, now_s: float, news: MemberNews) -> list[Effect]:
        """A proved link: the strongest sign of life there is. Also of one that has taken the place of another."""
        self._woke(now_s)
        node_id = NodeId(news.node_id)
        effects: list[Effect] = [*self._reproach(node_id, news), *self._met(now_s, news)]
        member = self._members.by_id[node_id]
        self._prober.drop(node_id)
        effects += self._cleared(now_s, member)
        self._members.link(member)
        member.heard_s, member.unanswered, member.dials_failed = now_s, False, 0
        member.name, member.address = news.name, Address(news.host, news.port)
        effects += self._exchange.greet(node_id)
        return self._told(now_s, effects)

    def superfluous(self, now_s: float, used_s: Mapping[NodeId, float]) -> list[NodeId]:
        """Of the linked peers, with when each link was last used: those to part with."""
        return self._neighbours.superfluous(now_s, used_s)

    def link_down(
        self, now_s: float, node_id: NodeId, boot_id: bytes, *, left: bool, parted: bool = False
    ) -> list[Effect]:
        """`parted`: one of the two needed the link no more, which says nothing of how the other is."""
        self._woke(now_s)
        member = self._members.by_id.get(node_id)
        if member is None or member.boot_id != boot_id or not member.linked:
            return []
        self._unlink(member)
        if left:
            return self._told(now_s, self._ended(now_s, member, Status.LEFT))
        settled_s = now_s + self._config.probe_timeout_s
        effects = [] if parted else self._accuse(now_s, member, [self._own.node_id], settled_s)
        self._dialling.lost(now_s)
        return self._told(now_s, [*effects, *self._dialling.tick(now_s)])

    def dial_failed(self, now_s: float, node_id: NodeId, *, refused: bool) -> list[Effect]:
        """Of one whose link was lost, a refused connection says that the process is gone. Of one that we only heard of
        it says little: the address may be good for others only. After a few tries they are asked."""
        self._woke(now_s)
        member = self._members.by_id.get(node_id)
        if member is None or member.linked or not member.present:
            return []
        member.dials_failed += 1
        if refused and self._own.node_id in member.accusers:
            return self._told(now_s, self._ended(now_s, member, Status.DEAD))
        effects: list[Effect] = []
        if member.status is Status.ALIVE and member.dials_failed >= self._config.hearsay_tries:
            effects += self._prober.ask(now_s, member)
            effects += self._judge(now_s)
        return self._told(now_s, effects)

    def expelled(self, now_s: float, node_id: NodeId) -> list[Effect]:
        """Banned: dead to us, however well it is."""
        self._woke(now_s)
        member = self._members.by_id.get(node_id)
        return (
            [] if member is None or not member.present else self._told(now_s, self._ended(now_s, member, Status.DEAD))
        )

    def exchanged(
        self, now_s: float, sender: NodeId, message: PeerExchange, heard_s: Mapping[NodeId, float]
    ) -> list[Effect]:
        """What a neighbour believes. Only when those were heard is looked up for whom it can make a difference: in a
        large mesh many exchanges come each second, and each about few."""
        self._woke(now_s)
        accused = [NodeId(item.node_id) for item in message.members if item.status is not Status.ALIVE]
        effects = self._hear(heard_s, [sender, *sorted(self._members.suspected), *accused])
        for item in message.members:
            if item.incarnation > INCARNATION_MAX:
                continue
            if item.node_id == self._own.node_id:
                effects += self._of_me(sender, item)
            else:
                effects += self._of_another(now_s, sender, item)
        effects += self._exchange.compared(now_s, sender, message.digest)
        return self._told(now_s, effects)

    def answered(self, now_s: float, sender: NodeId, number: int) -> list[Effect]:
        self._woke(now_s)
        effects: list[Effect] = [
            *self._hear({sender: now_s}, [sender]),
            *self._prober.answered(sender, number),
            *self._judge(now_s),
        ]
        return self._told(now_s, effects)

    def answered_for(self, now_s: float, question: AskThrough, reach: Reach) -> list[Effect]:
        self._woke(now_s)
        questions = self._prober.answered_for(now_s, question.helper, question.target, question.number, reach)
        return self._told(now_s, [*questions, *self._judge(now_s)])

    def asked_for(self, now_s: float, asker: NodeId, request: int, target: NodeId) -> list[Effect]:
        self._woke(now_s)
        return self._told(now_s, list(self._prober.asked_for(now_s, asker, request, target)))

    def moved(self, now_s: float) -> list[Effect]:
        """This node is reached elsewhere. News with a higher incarnation bring that to those who have no link to it;
        and who was not reached from where it was is tried again."""
        self._woke(now_s)
        self._own.incarnation += 1
        self._exchange.news(self._own.node_id)
        for member in self._members.by_id.values():
            member.dials_failed = 0
        self._dialling.lost(now_s)
        return self._told(now_s, [])

    def load_is(self, now_s: float, load: LoadReport) -> list[Effect]:
        """This node's own, to be told to its neighbours."""
        self._woke(now_s)
        self._exchange.load_is(now_s, load)
        return self._told(now_s, [])

    def check(self) -> None:
        """Every invariant."""
        assert self._own.node_id not in self._members.by_id
        self._members.check()
        self._prober.check()

    # What was heard

    def _woke(self, now_s: float) -> None:
        """A node that comes later than it wanted was stopped. Nobody else pays for that time."""
        late_s = now_s - self.due_s
        if not self._config.local_health or late_s <= _LATE_S:
            return
        self._health.worse(late_s > self._config.stall_s)
        self._prober.delay(late_s)
        self._burial_s += late_s
        for member in self._members.by_id.values():
            member.accused_s += late_s

    def _hear(self, heard_s: Mapping[NodeId, float], whom: Iterable[NodeId]) -> list[Effect]:
        effects: list[Effect] = []
        for node_id in whom:
            member, at_s = self._members.by_id.get(node_id), heard_s.get(node_id, -math.inf)
            if member is None or not member.linked or at_s <= member.heard_s:
                continue
            member.heard_s, member.unanswered = at_s, False
            effects += self._cleared(at_s, member)
        return effects

    def _cleared(self, now_s: float, member: Member) -> list[Effect]:
        """It lives; says so where that was doubted."""
        if member.status is not Status.SUSPECTED:
            return []
        self._members.move(member, Status.ALIVE, now_s)
        self._exchange.retract(member.node_id)
        return [Changed("cleared", member)]

    def _is_fresh(self, now_s: float, member: Member) -> bool:
        return now_s - member.heard_s < self._config.probe_interval_s

    def _of_me(self, sender: NodeId, item: MemberNews) -> list[Effect]:
        """Who holds less of this life than the truth is told by a higher incarnation, and so is everybody."""
        own = self._own
        alive = item.status is Status.ALIVE and item.boot_id == own.boot_id
        if alive and item.incarnation <= own.incarnation:
            return []
        effects: list[Effect] = []
        if item.incarnation < own.incarnation:
            effects.append(Tell(sender, PeerExchange([own.news()])))
        else:
            own.incarnation = item.incarnation + 1
            self._exchange.news(own.node_id)
            self._health.worse()
        parted = item.status is Status.DEAD or not self._members.linked.issuperset(map(NodeId, item.accusers))
        if parted and (teller := self._members.by_id.get(sender)) is not None:
            effects.append(Changed("returned", teller))
        return effects

    def _of_another(self, now_s: float, sender: NodeId, item: MemberNews) -> list[Effect]:
        member = self._members.by_id.get(NodeId(item.node_id))
        if member is None or member.boot_id != item.boot_id:
            return self._of_a_life(now_s, sender, member, item)
        if item.incarnation < member.incarnation or member.status is Status.LEFT:
            return []
        match item.status:
            case Status.ALIVE:
                return self._refuted(now_s, member, item)
            case Status.SUSPECTED:
                return self._accused(now_s, member, item, item.accusers or [sender])
            case Status.DEAD if member.linked:
                effects = self._accused(now_s, member, item, [sender])
                member.condemned = bool(member.accusers)
                return effects
            case Status.LEFT if member.linked:
                return []  # its goodbye is on the way, or is a lie
        return self._over(now_s, member, item)

    def _of_a_life(self, now_s: float, sender: NodeId, known: Member | None, item: MemberNews) -> list[Effect]:
        """One that we have not heard of. Beyond our own links, the later one is the present one."""
        if known is None and len(self._members.by_id) - len(self._members.linked) >= self._config.hearsay_max:
            return []
        if known is not None and (known.linked or item.incarnation <= known.incarnation):
            return []
        if known is None and item.status is Status.SUSPECTED:
            return []  # the dead are spoken of like this, too: if it lives, it will say so
        if item.status in (Status.ALIVE, Status.SUSPECTED):
            effects = self._met(now_s, item) if item.host else []
            if effects and item.status is Status.SUSPECTED:
                member = self._members.by_id[NodeId(item.node_id)]
                effects += self._accuse(now_s, member, item.accusers or [sender])
            return effects
        return [] if known is None or not known.present else self._ended(now_s, known, Status.DEAD)

    def _refuted(self, now_s: float, member: Member, item: MemberNews) -> list[Effect]:
        if item.incarnation <= member.incarnation:
            return []
        self._members.renew(member, item.incarnation)
        if item.host and not member.linked:
            member.name, member.address = item.name, Address(item.host, item.port)
        member.dials_failed = 0
        self._exchange.news(member.node_id)
        if member.status is Status.ALIVE:
            return []
        member.checked_s = now_s
        if member.present:
            return self._cleared(now_s, member)
        self._members.move(member, Status.ALIVE, now_s)
        return [Changed("joined", member)]

    def _accused(self, now_s: float, member: Member, item: MemberNews, accusers: Collection[bytes]) -> list[Effect]:
        """A neighbour is asked, unless it was heard just now: then it is told, so that it refutes."""
        if not member.present:
            return []
        if member.linked and self._is_fresh(now_s, member):
            return [Tell(member.node_id, PeerExchange([item]))]
        if item.incarnation > member.incarnation:
            self._members.renew(member, item.incarnation)
        if not member.linked or member.unanswered or member.status is Status.SUSPECTED:
            return self._accuse(now_s, member, accusers)
        member.accuse(now_s, accusers)
        return list(self._prober.ask(now_s, member))

    def _over(self, now_s: float, member: Member, item: MemberNews) -> list[Effect]:
        """Of one that is not linked, dead or gone."""
        if member.present:
            return self._ended(now_s, member, item.status)
        if item.status is Status.LEFT:
            self._members.move(member, Status.LEFT, now_s)
        return []

    # What follows

    def _reproach(self, node_id: NodeId, news: MemberNews) -> list[Tell]:
        """Whoever links and was held for less than alive, or for a later life, is told, and refutes it to all."""
        held = self._members.by_id.get(node_id)
        if held is None:
            return []
        if held.boot_id == news.boot_id and held.status is Status.DEAD:
            return [Tell(node_id, PeerExchange([news_of(held)]))]
        accused = held.boot_id != news.boot_id or held.status is not Status.ALIVE
        if not accused or held.incarnation < news.incarnation:
            return []
        return [Tell(node_id, PeerExchange([self._exchange.accusation(held)]))]

    def _met(self, now_s: float, news: MemberNews) -> list[Effect]:
        """The member exists and lives in this boot; says so where that is new."""
        node_id = NodeId(news.node_id)
        effects: list[Effect] = []
        known = self._members.by_id.get(node_id)
        same = known is not None and known.boot_id == news.boot_id
        incarnation = max(news.incarnation, known.incarnation) if known is not None and same else news.incarnation
        if known is not None and known.present:
            if same:
                if incarnation > known.incarnation:
                    self._members.renew(known, incarnation)
                    self._exchange.news(node_id)
                return []
            effects += self._ended(now_s, known, Status.DEAD)
        address = Address(news.host, news.port)
        member = Member(node_id, news.name, address, news.boot_id, incarnation, Status.ALIVE, now_s, heard_s=now_s)
        self._members.add(member)
        self._exchange.news(node_id)
        if known is None:
            effects.append(Changed("discovered", member))
        return [*effects, Changed("joined", member)]

    def _judge(self, now_s: float) -> list[Effect]:
        """Acts on the checks that have ended."""
        effects: list[Effect] = []
        verdicts, self._prober.verdicts = self._prober.verdicts, []
        for verdict in verdicts:
            member = self._members.by_id[verdict.target]
            if verdict.reached:
                effects += self._reached(now_s, member)
            elif member.linked or verdict.confirming:
                effects += self._accuse(now_s, member, sorted({self._own.node_id, *verdict.confirming}))
            elif not verdict.silent:
                effects += self._ended(now_s, member, Status.DEAD)  # nobody has a link to it
            for helper in sorted(verdict.silent & self._members.linked - self._members.suspected):
                if not self._is_fresh(now_s, self._members.by_id[helper]):
                    effects += self._prober.ask(now_s, self._members.by_id[helper])
        return effects

    def _reached(self, now_s: float, member: Member) -> list[Effect]:
        member.dials_failed = 0
        if member.status is Status.ALIVE:
            member.acquit()
        silent_s = now_s - member.heard_s
        if member.linked and silent_s > self._config.link_silent_s:
            self._unlink(member)
            self._dialling.lost(now_s)
            return [DropLink(member.node_id)]
        return [Unheard(member.node_id)] if member.linked and silent_s > self._config.probe_interval_s else []

    def _accuse(
        self, now_s: float, member: Member, accusers: Collection[bytes], told_s: float = -math.inf
    ) -> list[Effect]:
        """The others hear of it not before `told_s`."""
        effects: list[Effect] = []
        grown = member.accuse(now_s, accusers)
        if member.status is Status.ALIVE:
            self._members.move(member, Status.SUSPECTED, now_s)
            effects.append(Changed("suspected", member))
        if grown:
            self._exchange.news(member.node_id, told_s)
        self._burial_s = min(self._burial_s, self._burial_of(member))
        return effects

    def _burial_of(self, member: Member) -> float:
        confirmations = _ENOUGH if member.condemned else len(member.accusers) - 1
        ours = self._own.node_id in member.accusers
        judges = self._members.alive_since(member.heard_s if ours else member.accused_s, ENOUGH_OTHERS)
        return member.accused_s + suspicion_s(self._config, self._members.alive_count, judges, confirmations)

    def _bury(self, now_s: float) -> list[Effect]:
        """Looked at again soon while anybody is suspected: who else is decides how many could confirm."""
        effects: list[Effect] = []
        for node_id in sorted(self._members.suspected):
            member = self._members.by_id[node_id]
            if self._burial_of(member) <= now_s:
                effects += [DropLink(node_id)] if member.linked else []
                effects += self._ended(now_s, member, Status.DEAD)
        dues = [self._burial_of(self._members.by_id[node_id]) for node_id in self._members.suspected]
        self._burial_s = min([now_s + _LOOK_AGAIN_S, *dues]) if dues else math.inf
        return effects

    def _ended(self, now_s: float, member: Member, status: Status) -> list[Effect]:
        self._unlink(member)
        self._members.move(member, status, now_s)
        self._exchange.ended(now_s, member.node_id)
        self._dialling.ended(now_s, member)
        return [Changed("left" if status is Status.LEFT else "died", member)]

    def _unlink(self, member: Member) -> None:
        self._members.unlink(member)
        self._prober.drop(member.node_id)
        self._exchange.part(member.node_id)

    def _told(self, now_s: float, effects: list[Effect]) -> list[Effect]:
        """The end of every event: what is to be told by now, and when something is due next."""
        effects += self._exchange.tick(now_s)
        self._dialling.changed(now_s)
        self.due_s = min(self._prober.due_s, self._exchange.due_s, self._dialling.due_s, self._burial_s)
        return effects
