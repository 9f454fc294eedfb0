"""What users' programs do on every machine while everything goes wrong, and what came of it.

One program per boot: it sets, gets and deletes plain keys, increments and compares-and-sets agreed ones, operates on
registers, and has jobs done, one thing after another. Everything is written down as a `Deed`, so that the checks can
tell afterwards what was promised. A value says which deed has written it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import msgspec
import trio

from ..node.daemon import Node
from ..overlay.dht.restating import moved_version
from ..overlay.errors import NotFound, PotluckError
from ..overlay.wire import values
from ..overlay.wire.control import JobOptions
from .entropy import named_stream
from .jobs import FUNCTION, Job
from .linearizability import Operation, Value
from .registers import content_of
from .world import Machine, World

PLAIN_KEYS: Final = 10
COUNTERS: Final = 2
CELLS: Final = 2
REGISTERS: Final = 2
"""In use at a time: new ones with every storm, so that histories stay short enough to be checked."""
_PAUSE_S: Final = (0.1, 1.5)
_JOB_S: Final = 60.0
"""A program waits so long for a job, then does other things; the job goes on."""
_RETRIES: Final = 50
_POLL_S: Final = 0.1


class Deed(msgspec.Struct):
    """One operation of one program, from call to answer."""

    kind: str
    key: str
    node: str
    called_s: float
    value: bytes | None = None
    """What it writes; None for reading and deleting."""
    returned_s: float = math.inf
    """Infinite while there is none: its node has died first."""
    version: int = 0
    answer: Any = None
    error: str = ""
    reason: str = ""
    of_two: bool = False
    """It failed at a node that knew of one other at most, and of nobody who was missing."""

    @property
    def acknowledged(self) -> bool:
        return self.returned_s != math.inf and not self.error

    def shown(self) -> str:
        return f"{self.kind} {self.key} at {self.node}, called at {self.called_s:.3f} s"


class Diary(msgspec.Struct):
    """Everything that programs did."""

    deeds: list[Deed] = []
    histories: dict[str, list[Operation]] = {}
    jobs: list[tuple[Node, Job]] = []
    """With the boot that submitted it, whose end is the job's."""

    def of(self, *kinds: str) -> Iterator[Deed]:
        return (deed for deed in self.deeds if deed.kind in kinds)


class Programs:
    """One program for every boot of the world's machines. `over` ends them between two deeds."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._seed = seed
        self._values = 0
        self._generation = 0
        self.over = False
        self.running = 0
        self.diary = Diary()

    def begin(self) -> None:
        """On all that run, and on all that start."""
        self._world.on_start.append(self._begin)
        for machine in self._world.running():
            self._begin(machine)

    def next_generation(self) -> None:
        """From now on on other registers."""
        self._generation += 1

    def _begin(self, machine: Machine) -> None:
        assert machine.running is not None and machine.running.programs is not None
        node, began_s = machine.running.node, trio.current_time()
        node.mesh_time.stepped.append(partial(self._restate, node, began_s))
        draws = named_stream(self._seed, f"program/{machine.name}/{len(machine.lives)}")
        machine.running.programs.start_soon(self._program, machine.name, node, draws)

    def _restate(self, node: Node, began_s: float, step_s: float) -> None:
        """What was acknowledged to a program of this life, when the node takes on the mesh's time."""
        if abs(step_s) > node.config.dht.clock_ahead_max_s:
            for deed in self.diary.of("set", "delete"):
                if deed.node == node.name and deed.called_s >= began_s and deed.version:
                    deed.version = moved_version(deed.version, step_s)

    async def _program(self, name: str, node: Node, draws: random.Random) -> None:
        deeds: list[tuple[Callable[[str, Node, random.Random], Awaitable[None]], int]] = [
            (self._set, 6),
            (self._get, 6),
            (self._delete, 1),
            (self._increment, 3),
            (self._compare_and_set, 3),
            (self._operate, 4),
            (self._have_done, 1),
        ]
        kinds, weights = zip(*deeds, strict=True)
        self.running += 1
        try:
            while not self.over:
                await trio.sleep(draws.uniform(*_PAUSE_S))
                await draws.choices(kinds, weights)[0](name, node, draws)
        finally:
            self.running -= 1

    @contextmanager
    def _deed(self, kind: str, key: str, node: str, value: bytes | None = None) -> Iterator[Deed]:
        """Writes it down; an error of ours is an answer, everything else is a bug and ends the node."""
        deed = Deed(kind, key, node, trio.current_time(), value)
        self.diary.deeds.append(deed)
        try:
            yield deed
        except PotluckError as error:
            deed.error, deed.reason = error.kind, str(error)
            running = self._world.machines[node].running
            deed.of_two = running is not None and _knows_one_at_most(running.node)
        deed.returned_s = trio.current_time()
        self._world.log.note(node, kind, f"{key} {deed.error or deed.answer or deed.version}")

    def _value(self) -> bytes:
        self._values += 1
        return values.encode_bytes(self._values)

    # Memory

    async def _set(self, name: str, node: Node, draws: random.Random) -> None:
        await self.write(name, node, _one_of("plain", PLAIN_KEYS, draws))

    async def write(self, name: str, node: Node, key: str) -> Deed:
        with self._deed("set", key, name, self._value()) as deed:
            assert deed.value is not None
            deed.version = _version(await node.memory.set(deed.key, deed.value, None))
        return deed

    async def _delete(self, name: str, node: Node, draws: random.Random) -> None:
        with self._deed("delete", _one_of("plain", PLAIN_KEYS, draws), name) as deed:
            deed.version = _version(await node.memory.delete(deed.key))

    async def _get(self, name: str, node: Node, draws: random.Random) -> None:
        await self.read(name, node, _one_of("plain", PLAIN_KEYS, draws))

    async def read(self, name: str, node: Node, key: str, kind: str = "get") -> Deed:
        with self._deed(kind, key, name) as deed:
            try:
                deed.answer, deed.version = await node.memory.get(key)
            except NotFound:
                deed.answer = None
        return deed

    async def _increment(self, name: str, node: Node, draws: random.Random) -> None:
        await self.increment(name, node, _one_of("counter", COUNTERS, draws))

    async def increment(self, name: str, node: Node, key: str) -> Deed:
        with self._deed("increment", key, name) as deed:
            deed.answer = (await node.memory.increment(key, 1))["value"]
        return deed

    async def _compare_and_set(self, name: str, node: Node, draws: random.Random) -> None:
        read = await self.read(name, node, _one_of("cell", CELLS, draws))
        if read.acknowledged:
            with self._deed("compare and set", read.key, name, self._value()) as deed:
                assert deed.value is not None
                deed.answer = read.version  # the version it replaces
                deed.version = _version(await node.memory.set(deed.key, deed.value, None, read.version))

    # Registers

    async def _operate(self, name: str, node: Node, draws: random.Random) -> None:
        register = f"register{self._generation}.{draws.randrange(REGISTERS)}"
        history = self.diary.histories.setdefault(register, [])
        operation = msgspec.structs.replace(self._draw(history, draws), called_at=trio.current_time())
        place = len(history)
        history.append(operation)  # without an answer, should the node die under it
        with self._deed(operation.kind, register, name) as deed:
            deed.answer = await node.registers.change(b"r\0" + register.encode(), content_of(operation))
            history[place] = msgspec.structs.replace(operation, returned_at=trio.current_time(), answer=deed.answer)

    def _draw(self, history: list[Operation], draws: random.Random) -> Operation:
        kind = draws.choice(("read", "add", "compare_and_set"))
        if kind == "read":
            return Operation("read", 0)
        if kind == "add":
            return Operation("add", 0, amount=1)
        self._values += 1
        seen: list[Value] = [one.answer for one in history[-3:] if type(one.answer) is int]
        expected = draws.choice(seen) if seen else None
        return Operation("compare_and_set", 0, expected=expected, new=1000 * self._values)

    # Jobs

    async def _have_done(self, name: str, node: Node, draws: random.Random) -> None:
        """A job of one batch. It is closed when it is done; else it goes on while the program does."""
        job = Job(name, (), survives=True)
        job.job_id = node.jobs.open(JobOptions(retries=_RETRIES), job.take)
        self.diary.jobs.append((node, job))
        node.jobs.submit(job.job_id, FUNCTION, job.next_tasks(draws, node))
        self._world.log.note(name, "job", f"{job.job_id} of {len(job.expected)} tasks")
        with trio.move_on_after(_JOB_S):
            while not job.done:  # noqa: ASYNC110 - a submitter's sink is a plain function
                await trio.sleep(_POLL_S)
            node.jobs.close(job.job_id)


def _knows_one_at_most(node: Node) -> bool:
    return len(node.membership.present()) <= 1 and not node.membership.somebody_is_missing()


def _one_of(what: str, count: int, draws: random.Random) -> str:
    return f"{what}{draws.randrange(count)}"


def _version(written: dict[str, object]) -> int:
    version = written["version"]
    assert isinstance(version, int)
    return version
