"""Shell of lending: asks the machine, tells execution and everybody else, and remembers a pause."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

import trio

from ...overlay.bell import Bell
from ...overlay.config import Lending as Rules
from ...overlay.errors import Unavailable
from ...overlay.ports import Host, Store
from .hours import parse
from .idleness import Idleness
from .lending import Act, Lending, reason_against

logger: Final = logging.getLogger("potluck.node")

LOOK_INTERVAL_S: Final = 1.0
"""Between looks at clock and owner: by so much a rule may come into force too late."""
_PAUSED: Final = ("lending", b"paused")


class LendingService:
    """`act` carries out what is to be done to tasks from elsewhere, `tell` says to others why there is no lending."""

    def __init__(
        self, rules: Rules, host: Host, store: Store, act: Callable[[Act, str], None], tell: Callable[[str], None]
    ) -> None:
        self._rules = rules
        self._hours = parse(rules.hours) if rules.hours else None
        self._host = host
        self._store = store
        self._act = act
        self._tell = tell
        self._engine = Lending(rules.grace_s)
        self._idleness: Idleness | None = None
        self._paused = False
        self._stirred = Bell()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts when it is known whether this machine is lent."""
        self._paused = self._store.get(*_PAUSED) is not None
        if self._rules.idle_s:
            self._idleness = Idleness(trio.current_time(), self._rules.idle_s, self._rules.idle_cpus)
        self._judge(trio.current_time())
        task_status.started()
        interval_s = LOOK_INTERVAL_S if self._hours is not None or self._idleness is not None else math.inf
        while True:
            with trio.move_on_at(min(trio.current_time() + interval_s, self._engine.next_s)):
                await self._stirred.heard()
            self._judge(trio.current_time())

    def _judge(self, now_s: float) -> None:
        if self._idleness is not None:
            self._idleness.looked(now_s, self._host.look())
        wall = self._host.wall() if self._hours is not None else None
        reason = reason_against(self._paused, self._hours, wall, self._idleness, now_s)
        before = self._engine.reason
        for act in self._engine.judged(now_s, reason):
            self._act(act, reason)
        if reason != before:
            logger.info("this node %s", f"lends nothing: {reason}" if reason else "lends again")
            self._tell(reason)

    async def pause(self, paused: bool) -> str:
        """At once, whatever the disk says: an owner who wants the machine back is not made to wait for room on it.
        Holds also after a restart; else returns why not. It is written with what is written next, then."""
        if paused:
            self._store.put(*_PAUSED, b"1")
        else:
            self._store.delete(*_PAUSED)
        self._paused = paused
        self._judge(trio.current_time())
        self._stirred.ring()
        try:
            await self._store.commit()
        except Unavailable as error:
            logger.warning("that lending is %s is not remembered: %s", "paused" if paused else "resumed", error)
            return str(error)
        return ""

    def row(self) -> dict[str, object]:
        """For a person."""
        rules = self._rules
        return {
            "lends": not self._engine.reason,
            "reason": self._engine.reason,
            "paused": self._paused,
            "hours": self._hours.text if self._hours is not None else None,
            "only_when_idle_s": rules.idle_s or None,
            "grace_s": rules.grace_s,
            "task_network": rules.network,
        }
