"""Engine: who is asked whether it is there, and what comes of it. SWIM (Das, Gupta, Motivala, 2002) §3.1.

One neighbour a period, in rounds of a drawn order (§4.3), so that not all ask the same one; nobody who was heard within
the period, so that traffic saves probes. A node's messages do not grow with the mesh.

               ask                  no answer in `probe_timeout_s`              nor in `indirect_timeout_s`
    (silent) ───────▶ asked directly ─────────────────────▶ asked through k others ─────────────▶ unreached
                           │ it answers, or says anything at all  │ one of them says it answers
                           └──────────────▶ reached ◀─────────────┘

Those others probe it themselves and say so when they have no answer either: they confirm, and whoever says nothing at
all counts against the health of the one who asks (Lifeguard, 2018, §IV.A), as does a failure that nobody confirms. The
paper draws them at random; here they are those of the target's own neighbours that were heard last, because in a large
mesh not everybody is linked to it, and because their links work. One that says nothing is asked itself: so a node that
is cut off from many finds that out at once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from ..config import Membership as MembershipConfig
from ..ids import NodeId
from ..wire.gossip import Reach
from .health import LocalHealth
from .members import Member, Members

RELAYS_MAX: Final = 64
"""Probes for others that are under way."""
_RELAY_SHARE: Final = 0.75
"""Of the time that whoever asks waits for an answer: the rest is for the way back."""

_SOONEST_S: Final = 0.05
"""After a period in which nobody had been silent."""


class Ask(msgspec.Struct, frozen=True):
    """Probe it; its answer is `answered` with the number."""

    to: NodeId
    number: int
    within_s: float


class AskThrough(msgspec.Struct, frozen=True):
    """Have a neighbour probe the target; its answer is `answered_for` with the number."""

    helper: NodeId
    number: int
    target: NodeId
    within_s: float


class Answer(msgspec.Struct, frozen=True):
    """To a neighbour that had asked through us."""

    to: NodeId
    request: int
    reach: Reach


Question = Ask | AskThrough | Answer


class Check(msgspec.Struct):
    target: NodeId
    number: int
    began_s: float
    deadline_s: float
    indirect: bool = False
    unanswered: set[NodeId] = set()
    """Helpers that have said nothing yet."""
    confirming: set[NodeId] = set()
    """Helpers that had no answer either."""


class Relay(msgspec.Struct):
    asker: NodeId
    request: int
    target: NodeId
    deadline_s: float


class Verdict(msgspec.Struct, frozen=True):
    """The end of a check."""

    target: NodeId
    reached: bool
    confirming: frozenset[NodeId] = frozenset()
    silent: frozenset[NodeId] = frozenset()
    """Helpers that said nothing at all."""


class Prober:
    """Verdicts that are reached in an event wait in `verdicts` until whoever caused it takes them."""

    def __init__(
        self,
        config: MembershipConfig,
        members: Members,
        health: LocalHealth,
        neighbours_of: Callable[[NodeId], Collection[NodeId]],
        draws: random.Random,
    ) -> None:
        self._config = config
        self._members = members
        self._health = health
        self._neighbours_of = neighbours_of
        self._checks: dict[NodeId, Check] = {}
        self._relays: dict[int, Relay] = {}
        self._numbers = 0
        self._draws = draws
        self._round: list[NodeId] = []
        self._round_s = math.inf
        self.verdicts: list[Verdict] = []

    @property
    def due_s(self) -> float:
        due_s = self._round_s
        for check in self._checks.values():
            due_s = min(due_s, check.deadline_s)
        for relay in self._relays.values():
            due_s = min(due_s, relay.deadline_s)
        return due_s

    def begin(self, now_s: float) -> None:
        self._round_s = now_s + self._draws.uniform(0, self._config.probe_interval_s)

    def delay(self, late_s: float) -> None:
        """This node has not run for so long: nobody is held to have been silent in that time."""
        for check in self._checks.values():
            check.deadline_s += late_s
        for relay in self._relays.values():
            relay.deadline_s += late_s

    def ask(self, now_s: float, member: Member) -> list[Question]:
        """Out of turn; once at a time."""
        if member.node_id in self._checks:
            return []
        member.checked_s = now_s
        within_s = self._config.probe_timeout_s * self._health.scale
        check = Check(member.node_id, self._next_number(), now_s, now_s + within_s)
        self._checks[member.node_id] = check
        if member.linked:
            return [Ask(member.node_id, check.number, within_s)]
        return self._ask_others(now_s, check)

    def drop(self, node_id: NodeId) -> None:
        """It does not matter any more."""
        self._checks.pop(node_id, None)

    def tick(self, now_s: float) -> list[Question]:
        questions: list[Question] = []
        for check in [one for one in self._checks.values() if one.deadline_s <= now_s]:
            questions += self._overdue(now_s, check)
        for number, relay in [one for one in self._relays.items() if one[1].deadline_s <= now_s]:
            del self._relays[number]
            if (target := self._members.by_id.get(relay.target)) is not None:
                target.unanswered = True
            questions.append(Answer(relay.asker, relay.request, Reach.SILENT))
        if now_s >= self._round_s:
            self._round_s = now_s + self._config.probe_interval_s * self._health.scale
            questions += self._next_of_round(now_s)
        return questions

    def answered(self, sender: NodeId, number: int) -> list[Question]:
        """It answers: our own question, or one that somebody has asked through us."""
        relay = self._relays.get(number)
        if relay is not None and relay.target == sender:
            del self._relays[number]
            return [Answer(relay.asker, relay.request, Reach.ANSWERED)]
        check = self._checks.get(sender)
        if check is not None and check.number == number:
            self._end(check, reached=True)
        return []

    def answered_for(self, now_s: float, helper: NodeId, target: NodeId, number: int, reach: Reach) -> list[Question]:
        check = self._checks.get(target)
        if check is None or check.number != number or helper not in check.unanswered:
            return []
        check.unanswered.discard(helper)
        if reach is Reach.ANSWERED:
            self._end(check, reached=True)
        elif reach is Reach.SILENT:
            check.confirming.add(helper)
        if not check.unanswered and check.target in self._checks:
            check.deadline_s = min(check.deadline_s, now_s)  # there is nobody left to wait for
            return self._overdue(now_s, check)
        return []

    def asked_for(self, now_s: float, asker: NodeId, request: int, target: NodeId) -> list[Question]:
        """A neighbour hears nothing of the target. What we last heard of it ourselves does not count, for it was
        earlier."""
        if target not in self._members.linked or len(self._relays) >= RELAYS_MAX:
            return [Answer(asker, request, Reach.NOT_LINKED)]
        number = self._next_number()
        within_s = self._config.indirect_timeout_s * _RELAY_SHARE
        self._relays[number] = Relay(asker, request, target, now_s + within_s)
        return [Ask(target, number, within_s)]

    def check(self) -> None:
        """Every invariant."""
        assert len(self._relays) <= RELAYS_MAX
        for target, check in self._checks.items():
            assert check.target == target
            assert self._members.by_id[target].present
            assert not check.unanswered & check.confirming

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _next_of_round(self, now_s: float) -> list[Question]:
        """The next that has been silent, of rounds in a drawn order (§4.3); the suspected have been asked."""
        members = self._members
        around = members.linked - members.suspected
        self._round = [one for one in self._round if one in around]
        self._round += self._draws.sample(sorted(around), len(around)) if len(self._round) < len(around) else []
        shortest_s = math.inf
        for place, node_id in enumerate(self._round):
            member = members.by_id[node_id]
            silent_s = now_s - max(member.heard_s, member.checked_s)
            if silent_s >= self._config.probe_interval_s:
                del self._round[: place + 1]
                return self.ask(now_s, member)
            shortest_s = min(shortest_s, self._config.probe_interval_s - silent_s)
        if shortest_s < math.inf:
            self._round_s = min(self._round_s, now_s + max(shortest_s, _SOONEST_S))
        return []

    def _overdue(self, now_s: float, check: Check) -> list[Question]:
        member = self._members.by_id[check.target]
        if member.linked and member.heard_s > check.began_s:
            self._end(check, reached=True)
            return []
        if not check.indirect:
            return self._ask_others(now_s, check)
        self._end(check, reached=False)
        return []

    def _ask_others(self, now_s: float, check: Check) -> list[Question]:
        check.indirect = True
        helpers = self._helpers(check.target)
        if not helpers:
            self._end(check, reached=False)
            return []
        within_s = self._config.indirect_timeout_s * self._health.scale
        check.deadline_s = now_s + within_s
        check.unanswered.update(helpers)
        return [AskThrough(helper, check.number, check.target, within_s) for helper in helpers]

    def _helpers(self, target: NodeId) -> list[NodeId]:
        members = self._members
        able = (members.linked - members.suspected - self._checks.keys()) & set(self._neighbours_of(target))
        by_heard = sorted(able, key=lambda node_id: (-members.by_id[node_id].heard_s, node_id))
        return by_heard[: self._config.helpers]

    def _end(self, check: Check, *, reached: bool) -> None:
        del self._checks[check.target]
        if reached:
            self._health.better()
        else:
            self._health.worse(len(check.unanswered) + (not check.confirming))
        self.verdicts.append(Verdict(check.target, reached, frozenset(check.confirming), frozenset(check.unanswered)))
