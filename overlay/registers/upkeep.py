"""Keeps registers with acceptors that live.

When membership has changed and settled, the nearest living acceptor of each register that lacks one replaces it; should
it not, because it knows nothing of the register, the next nearest does. So it goes with a register that is begun after
its first acceptors were agreed, when there may have been fewer. Who they are to be: `choosing`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Final

import trio

from ..errors import PotluckError
from ..ids import distance
from ..membership.detector import Changed
from ..wire.registers import FOUNDING_BYTES, Configuration, State
from .changes import ROOT, Entry, Move, Settle, directory_for, report
from .choosing import ACCEPTORS, Standing, choose, spare
from .quorums import is_changing, members
from .service import Registers, place_of

logger = logging.getLogger("potluck.registers")

SETTLE_S: Final = 5.0
"""A node that restarts is back by then, and keeps its place."""
FAREWELL_S: Final = 0.5
"""Where none of the others could follow, who has said goodbye is not waited for."""
_AGAIN_S: Final = 10.0


class Upkeep:
    def __init__(self, registers: Registers) -> None:
        self._registers = registers
        self._settled_s = math.inf
        """When who has come or died is looked after."""
        self._farewell_s = math.inf
        """When who has left is, where it is urgent."""
        self._rest = trio.CancelScope()
        self._returned: set[bytes] = set()
        """Who has come since the registers were last gone through."""
        self._patience = 0
        """How many nearer acceptors have had their chance."""
        self._doubted = False
        """Somebody had no place only because it is suspected."""
        registers.begun.append(self._begun)

    def member_changed(self, change: Changed) -> None:
        if change.event == "joined":
            self._returned.add(change.member.node_id)
        if change.event == "left":
            self._farewell_s = min(self._farewell_s, trio.current_time() + FAREWELL_S)
        if change.event in ("joined", "left", "died"):
            self.look_again()

    def _begun(self, name: bytes, configuration: Configuration) -> None:
        if self._is_due(name, configuration):
            self.look_again()

    def look_again(self, after_s: float = SETTLE_S) -> None:
        """Somebody has come or gone."""
        self._settled_s = min(self._settled_s, trio.current_time() + after_s)
        self._wait()

    def _wait(self) -> None:
        self._rest.deadline = min(self._settled_s, self._farewell_s)

    async def run(self) -> None:
        while True:
            with trio.CancelScope() as self._rest:
                self._wait()
                await trio.sleep_forever()
            now_s = trio.current_time()
            if now_s >= self._farewell_s:
                self._farewell_s = math.inf
                await self._all(urgent=True)
            if now_s >= self._settled_s:
                self._settled_s = math.inf
                await self._look_after_all()

    async def _look_after_all(self) -> None:
        returned, self._returned = self._returned, set()
        await self._restore(returned)
        self._doubted = False
        done = await self._all()
        self._patience = 0 if done else self._patience + 1
        if self._doubted or not done:
            self.look_again(_AGAIN_S)

    async def _all(self, *, urgent: bool = False) -> bool:
        """Whether nothing is left to do."""
        done = True
        for name, state in self._held():
            configuration = state.configuration
            if urgent and spare(configuration.acceptors, self._registers.standing) > 0:
                continue
            if not self._is_due(name, configuration):
                continue
            if not self._is_mine(name, configuration):
                done = False
                continue
            try:
                await self._care_for(name)
            except PotluckError as error:
                logger.debug("the acceptors of a register were not changed: %s", error)
                done = False
        return done

    async def _restore(self, returned: set[bytes]) -> None:
        """What those who have come should hold, they are told again, as by a message that comes late: it was accepted
        here under that ballot. Of those who tell them, at least one has the newest value that was chosen. To whom most
        have come, it was itself away."""
        for name, state in self._held():
            acceptors = members(state.configuration)
            come = [one for one in acceptors if one in returned]
            most = len(acceptors) // 2
            if self._registers.own_id not in acceptors or len(come) > most:
                continue
            if self._nearer(name, set(acceptors).difference(come)) <= most:
                for one in come:
                    await self._registers.pass_on(name, one)

    def _held(self) -> list[tuple[bytes, State]]:
        """Registers of this founding with a value here."""
        founding = self._registers.founding.known
        if founding is None:
            return []
        slots = [(key[FOUNDING_BYTES:] or ROOT, key, state) for key, state in self._registers.acceptor]
        return [(name, state) for name, key, state in slots if key == b"" or key.startswith(founding)]

    def _is_due(self, name: bytes, configuration: Configuration) -> bool:
        """Whether there is something to do for one who is an acceptor now; who is none any more has an old view."""
        if self._registers.own_id not in members(configuration):
            return False
        return is_changing(configuration) or set(self._choose(name, configuration)) != set(configuration.acceptors)

    def _is_mine(self, name: bytes, configuration: Configuration) -> bool:
        """Whether those living acceptors that are nearer to the place have had their chance."""
        return self._nearer(name, members(configuration)) <= self._patience

    def _nearer(self, name: bytes, acceptors: Iterable[bytes]) -> int:
        """How many of these are alive and nearer to the register's place than this node."""
        place = place_of(name)
        own = distance(self._registers.own_id, place)
        return sum(distance(one, place) < own for one in acceptors if self._registers.standing(one) is Standing.HERE)

    def _choose(self, name: bytes, configuration: Configuration) -> list[bytes]:
        """Places that are free are for others whom nobody doubts, the nearest first."""
        registers, acceptors = self._registers, configuration.acceptors
        nearest = registers.nearest(name, ACCEPTORS + len(acceptors))
        others = [one for one in nearest if one not in acceptors]
        undoubted = [one for one in others if registers.is_alive(one)]
        self._doubted |= len(undoubted) < len(others) and len(acceptors) < ACCEPTORS
        return choose(acceptors, registers.standing, undoubted)

    async def _care_for(self, name: bytes) -> None:
        registers = self._registers
        state, _ = await registers.operate(name, Move(lambda configuration: self._choose(name, configuration)))
        if is_changing(state.configuration):
            state, _ = await registers.operate(name, Settle(state.configuration))
        logger.debug("a register is now with %d acceptors", len(state.configuration.acceptors))
        if name != ROOT and not is_changing(state.configuration):
            entry = Entry(state.configuration.number, state.configuration.acceptors)
            await registers.change(directory_for(name), report(name, entry))
