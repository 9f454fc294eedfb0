"""Engine of one operation on one register: prepare, apply the change to the newest value found, have it accepted.

Whom to ask grows with what is found: a value that names other acceptors than were asked has them asked too, under the
same ballot. What decides is always the configuration of the newest value found: those who have answered must be a
quorum of it. A value under new acceptors alone exists only after the change to them was chosen, so that nobody who has
such a quorum can miss what others have agreed (`changes.Settle`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Any, Final

import msgspec

from ..wire.registers import Accept, Accepted, Ballot, Configuration, Prepare, Promise, State
from .changes import ROOT, Step
from .quorums import FIRST, FOUNDERS, is_quorum, members


class Send(msgspec.Struct, frozen=True):
    """Ask this node, which may be oneself; then tell the answer, or that there will be none."""

    to: bytes
    message: Prepare | Accept


class Done(msgspec.Struct, frozen=True):
    """The state is chosen, by others before or by this operation, and this is what it answers."""

    state: State
    answer: Any


class Retry(msgspec.Struct, frozen=True):
    """This attempt has failed: pause, then `begin` again. `starved`: too few have answered; else others were ahead."""

    starved: bool


Effect = Send | Done | Retry

_COUNTER_MAX: Final = 1 << 48
"""What a peer claims to have promised may outrun us only so far."""


class _Phase(Enum):
    IDLE = auto()
    PREPARING = auto()
    ACCEPTING = auto()


class Register(msgspec.Struct, frozen=True):
    """What is operated on: its name, and the founding it belongs to."""

    founding: bytes
    name: bytes


class Proposer:
    """`next_ballot(counter)`: a ballot never used before, with a counter above this one.

    `confirm`: the answer has to follow from an accept round of this operation's own, also when nothing changes.
    """

    def __init__(
        self,
        register: Register,
        known: Configuration,
        step: Step,
        next_ballot: Callable[[int], Ballot],
        *,
        confirm: bool = False,
    ) -> None:
        self._register = register
        self._known = known
        self._contacts: list[bytes] = members(known)
        self._step = step
        self._next_ballot = next_ballot
        self._confirm = confirm
        self._counter = 0
        self._ballot = Ballot()
        self._phase = _Phase.IDLE
        self._promises: dict[bytes, Promise] = {}
        self._accepted: set[bytes] = set()
        self._asked: set[bytes] = set()
        self._silent: set[bytes] = set()
        self._outrun = False
        self._next: tuple[State, Any] | None = None
        self._needed: tuple[Configuration, ...] = ()

    def begin(self) -> list[Effect]:
        """A new attempt, under a new ballot."""
        self._ballot = self._next_ballot(self._counter)
        self._phase = _Phase.PREPARING
        self._promises, self._accepted, self._asked, self._silent = {}, set(), set(), set()
        self._outrun = False
        return self._ask(self._contacts)

    def learned(self, configuration: Configuration) -> None:
        """Another place where the register may be; counts from the next attempt on."""
        self._known = configuration
        self._contacts = list(dict.fromkeys([*members(configuration), *self._contacts]))

    def _ask(self, nodes: Iterable[bytes]) -> list[Effect]:
        fresh = [node for node in nodes if node not in self._asked]
        self._asked.update(fresh)
        prepare = Prepare(0, self._register.founding, self._register.name, self._ballot)
        return [Send(node, prepare) for node in fresh]

    def promised(self, node: bytes, promise: Promise) -> list[Effect]:
        if self._phase is not _Phase.PREPARING or promise.ballot != self._ballot or node in self._promises:
            return []
        if promise.promised != self._ballot:
            return self._refused(node, promise.promised)
        self._promises[node] = promise
        return self._weigh()

    def accepted(self, node: bytes, accepted: Accepted) -> list[Effect]:
        if self._phase is not _Phase.ACCEPTING or accepted.ballot != self._ballot:
            return []
        if accepted.promised != self._ballot:
            return self._refused(node, accepted.promised)
        self._accepted.add(node)
        if all(is_quorum(needed, self._accepted) for needed in self._needed):
            assert self._next is not None
            return self._done(*self._next)
        return []

    def failed(self, node: bytes, ballot: Ballot) -> list[Effect]:
        """This node will not answer what was asked of it under this ballot."""
        if self._phase is _Phase.IDLE or ballot != self._ballot:
            return []
        self._silent.add(node)
        return self._unless_hopeless()

    def _refused(self, node: bytes, promised: Ballot) -> list[Effect]:
        self._counter = max(self._counter, min(promised.counter, _COUNTER_MAX))
        self._outrun = self._outrun or promised > self._ballot
        self._silent.add(node)
        return self._unless_hopeless()

    def _unless_hopeless(self) -> list[Effect]:
        able = self._asked - self._silent
        needed = self._needed if self._phase is _Phase.ACCEPTING else (self._deciding(),)
        if all(is_quorum(configuration, able) for configuration in needed):
            return []
        self._phase = _Phase.IDLE
        return [Retry(starved=not self._outrun)]

    def _best(self) -> Promise | None:
        found = [promise for promise in self._promises.values() if promise.accepted is not None]
        return max(found, key=lambda promise: promise.accepted or Ballot(), default=None)

    def _deciding(self) -> Configuration:
        best = self._best()
        return self._known if best is None or best.state is None else best.state.configuration

    def _weigh(self) -> list[Effect]:
        deciding = self._deciding()
        if not is_quorum(deciding, self._promises):
            found = members(deciding)
            self._contacts = list(dict.fromkeys([*self._contacts, *found]))
            effects = self._ask(found)
            return effects or self._unless_hopeless()
        best = self._best()
        if best is not None and best.state is not None:
            return self._propose(best.state)
        first = FOUNDERS if self._register.name == ROOT else FIRST
        if deciding.number != first:
            self._phase = _Phase.IDLE  # whoever named these acceptors was not believed by a majority of them
            return [Retry(starved=True)]
        return self._propose(State(deciding))

    def _propose(self, state: State) -> list[Effect]:
        following, answer = self._step(state, self._ballot)
        if following is state and not self._confirm and self._is_chosen(state):
            return self._done(state, answer)
        self._confirm = True  # from here on an attempt of ours may come back: no answer before it is overruled
        self._phase = _Phase.ACCEPTING
        self._next = following, answer
        self._needed = state.configuration, following.configuration
        self._silent = set()
        self._asked = set(members(state.configuration)) | set(members(following.configuration))
        accept = Accept(0, self._register.founding, self._register.name, self._ballot, following)
        return [Send(node, accept) for node in sorted(self._asked)]

    def _is_chosen(self, state: State) -> bool:
        """A quorum has accepted it under one ballot."""
        best = self._best()
        if best is None:
            return False
        same = [node for node, promise in self._promises.items() if promise.accepted == best.accepted]
        return is_quorum(state.configuration, same)

    def _done(self, state: State, answer: Any) -> list[Effect]:
        self._phase = _Phase.IDLE
        return [Done(state, answer)]
