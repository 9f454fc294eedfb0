"""A task in execution: its control block, and the states that it goes through.

    NEW ──everything is here──▶ READY ⇄ RUNNING ──▶ WAITING ──▶ READY
    NEW, READY, RUNNING, WAITING ⇄ SUSPENDED          and each of them ──▶ TERMINATED

NEW        what it needs is being fetched
READY      it could run and does not: there is no slot for it, or others have their turn
RUNNING    it has a slot
WAITING    it waits for what it has submitted, and has given its slot back
SUSPENDED  somebody has said so: it stands still, holds no slot and comes into no queue until somebody says otherwise
TERMINATED it has ended, or was handed back; the last ones to end are shown for a while (`ended`)

`LEGAL` is the only place that says which moves there are; a move that is not in it is a fault of ours.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from ..scheduling.times import Times


class State(StrEnum):  # whose hash, unlike Enum's, is no call: every task takes it several times
    NEW = "NEW"
    READY = "READY"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    SUSPENDED = "SUSPENDED"
    TERMINATED = "TERMINATED"


LEGAL: Final = {
    State.NEW: {State.READY, State.SUSPENDED, State.TERMINATED},
    State.READY: {State.RUNNING, State.WAITING, State.SUSPENDED, State.TERMINATED},
    State.RUNNING: {State.READY, State.WAITING, State.SUSPENDED, State.TERMINATED},
    State.WAITING: {State.READY, State.SUSPENDED, State.TERMINATED},
    State.SUSPENDED: {State.NEW, State.READY, State.WAITING, State.TERMINATED},
    State.TERMINATED: set[State](),
}


class Origin(msgspec.Struct, frozen=True):
    """What processes of one job have in common."""

    job: str
    type: str
    owner: str
    """Whoever's work it is, in short."""
    parent: str = ""
    """The task that has submitted it, as JOB/INDEX."""
    group: str = ""
    """The job that a program has submitted, from which it comes."""
    network_bytes: int | None = None
    """None where nobody counts them; 0 where there is no way out."""


UNKNOWN: Final = Origin("", "", "")


class Used(NamedTuple):
    """Of the machine, by a process with all that it has started."""

    cpu_s: float
    memory_bytes: int
    memory_most_bytes: int


class Process(msgspec.Struct, eq=False):
    """`number` is unique on its node; with its name it is the PID."""

    number: int
    times: Times
    origin: Origin
    index: int = 0
    """Of the task in its job."""
    priority: int = 0
    state: State = State.NEW
    stops: int = 0
    """How often it was pre-empted."""
    checkpoints: int = 0
    """How many its task has said, in this run of it and those before."""
    used: Used | None = None
    """None while nobody has looked: most tasks are over before anybody does."""

    def measured(self, cpu_s: float, memory_bytes: int) -> None:
        """Of CPU time a look may see less than the one before: with a process goes what it has had."""
        cpu_before_s, _memory, most_bytes = self.used or (0.0, 0, 0)
        self.used = Used(max(cpu_s, cpu_before_s), memory_bytes, max(memory_bytes, most_bytes))

    def move(self, now_s: float, to: State) -> None:
        assert to in LEGAL[self.state], f"process {self.number} is {self.state.name} and cannot become {to.name}"
        self.state = to
        times = self.times
        if to is State.RUNNING:
            times.started(now_s)
        elif to is State.READY:
            times.ready(now_s)
        elif to is State.TERMINATED:
            times.ended(now_s)
        else:
            times.stopped(now_s)
