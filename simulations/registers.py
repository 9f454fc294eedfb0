"""Scenario `registers`: whole nodes operate on the same registers while machines die, lose their cables, are parted,
are switched off one after the other and have their clocks set wrong. Histories must be linearizable, no increment may
be lost or doubled, who is alone must get no answer, and the last two of those who are switched off must get one.

Drawn from the seed: who operates when on what, who dies how and comes back, who is cut off, whose clock jumps, in which
order and how soon after each other they leave and return.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import msgspec
import trio

from ..node.daemon import Node
from ..overlay.errors import PotluckError, Unavailable
from ..overlay.wire import values
from .checks import Check, check
from .entropy import named_stream
from .gathering import all_know_all, start_all, until
from .linearizability import Operation, TooMany, Value, fault
from .world import World

JOIN_S: Final = 20.0
HEALED_S: Final = 60.0
"""After the last fault every register must answer everybody within this time."""
DEATHS_AT_ONCE: Final = 2
"""A majority of five acceptors lives on."""
REPLACED_S: Final = 20.0
"""Detection, settling and the change of acceptors: until then no further death."""
_POLL_S: Final = 0.1
_REGISTERS: Final = 4
_PAUSE_S: Final = 1.0
_COUNTER: Final = "counter"
_ALONE_S: Final = 6.0
_PARTED_S: Final = 8.0
_STAYING: Final = 2
_GOING_S: Final = (1.0, 8.0)
_CLOCK_JUMP_S: Final = 1800.0
_WALL_DECODER: Final = msgspec.msgpack.Decoder(int | None)


class Outcome(msgspec.Struct):
    joined_s: float | None = None
    histories: dict[bytes, list[Operation]] = {}
    added: int = 0
    """Increments of the counter that were acknowledged."""
    in_doubt: int = 0
    sums: list[int] = []
    counted: dict[str, int] = {}
    """The counter in the end, by node."""
    alone: list[str] = []
    """Answers that a node got while it was alone."""
    unhealed: list[str] = []
    unanswered: list[str] = []
    """Of the last two, when the others have left."""
    killed: int = 0


class RegistersScenario:
    def __init__(self, world: World, seed: int, nodes: int, kill: float) -> None:
        self._world = world
        self._draws = named_stream(seed, "scenario registers")
        self._names = [world.add_machine().name for _ in range(nodes)]
        self._kills = round(kill * nodes)
        self._faults_over = False
        self._alone = ""
        self._numbers = 0
        self.outcome = Outcome(histories={b"r\0%d" % number: [] for number in range(_REGISTERS)})

    async def play(self) -> None:
        await self._start_all()
        await self._founded()
        async with trio.open_nursery() as nursery:
            for name in self._names:
                nursery.start_soon(self._operate, name, named_stream(self._draws.getrandbits(64), name))
            await self._do_faults()
            self._faults_over = True
        await self._heal()

    async def _start_all(self) -> None:
        began_s = trio.current_time()
        await start_all(self._world, self._names, self._draws)
        if await until(lambda: all_know_all(self._world), JOIN_S, _POLL_S):
            self.outcome.joined_s = trio.current_time() - began_s

    async def _founded(self) -> None:
        """The mesh's first agreed value comes before the faults: it needs everyone who is known."""
        first = self._names[0]
        try:
            await self._world.node(first).memory.increment(_COUNTER, 0)
        except PotluckError as error:
            self._world.log.note(first, "no answer", error.kind)

    # Operations

    async def _operate(self, name: str, draws: random.Random) -> None:
        """One program on one machine, for as long as there are faults."""
        while not self._faults_over:
            await trio.sleep(draws.uniform(0, _PAUSE_S))
            running = self._world.machines[name].running
            if running is None:
                continue
            if draws.random() < 0.25:
                await self._count(name, running.node)
            else:
                await self._operate_once(name, running.node, draws)

    async def _count(self, name: str, node: Node) -> None:
        began_alone = self._alone == name
        try:
            answered = await node.memory.increment(_COUNTER, 1)
        except PotluckError as error:
            self.outcome.in_doubt += 1
            self._note_error(name, "increment", error, began_alone)
        else:
            self.outcome.added += 1
            assert isinstance(answered["value"], int)
            self.outcome.sums.append(answered["value"])
            self._note_alone(name, "an increment", began_alone)

    def _note_error(self, name: str, what: str, error: PotluckError, began_alone: bool) -> None:
        """Whoever is alone can say that it is, and nothing else: any other error would be an answer, too."""
        self._world.log.note(name, "no answer", f"{what}: {error.kind}")
        if not isinstance(error, Unavailable):
            self._note_alone(name, f"{what}: {error.kind}", began_alone)

    def _note_alone(self, name: str, what: str, began_alone: bool) -> None:
        if began_alone and self._alone == name:
            self.outcome.alone.append(f"{name} was alone and had {what} answered")

    async def _operate_once(self, name: str, node: Node, draws: random.Random) -> None:
        register = draws.choice(list(self.outcome.histories))
        history = self.outcome.histories[register]
        operation = msgspec.structs.replace(self._draw(history, draws), called_at=trio.current_time())
        began_alone = self._alone == name
        try:
            answer = await node.registers.change(register, content_of(operation))
        except PotluckError as error:
            self._note_error(name, operation.kind, error, began_alone)
        else:
            operation = msgspec.structs.replace(operation, returned_at=trio.current_time(), answer=answer)
            self._world.log.note(name, operation.kind, f"{register.decode()[2:]}: {answer}")
            self._note_alone(name, f"a {operation.kind}", began_alone)
        history.append(operation)

    def _draw(self, history: list[Operation], draws: random.Random) -> Operation:
        kind = draws.choice(("read", "add", "compare_and_set"))
        if kind == "read":
            return Operation("read", 0)
        self._numbers += 1
        if kind == "add":
            return Operation("add", 0, amount=1)
        seen: list[Value] = [one.answer for one in history[-3:] if type(one.answer) is int]
        expected = draws.choice(seen) if seen else None
        return Operation("compare_and_set", 0, expected=expected, new=1000 * self._numbers)

    # Faults

    async def _do_faults(self) -> None:
        draws = self._draws
        await trio.sleep(draws.uniform(1, 3))
        await self._jump_clock()
        await self._leave_alone()
        await self._part()
        await self._go_home()
        left = self._kills
        while left > 0 and len(self._names) > 1:
            group = min(left, draws.randint(1, DEATHS_AT_ONCE), (len(self._names) - 1) // 2 or 1)
            await self._die(draws.sample([machine.name for machine in self._world.running()], group))
            left -= group
        await trio.sleep(draws.uniform(1, 3))

    async def _jump_clock(self) -> None:
        name = self._draws.choice(self._names)
        self._world.machines[name].clock.offset_s += self._draws.choice((-1, 1)) * _CLOCK_JUMP_S
        self._world.log.note(name, "clock jumps")

    async def _leave_alone(self) -> None:
        """One node without a cable for longer than it takes to be called dead."""
        if len(self._names) < 3:
            return
        name = self._draws.choice(self._names)
        self._world.unplug(name)
        self._alone = name
        await trio.sleep(_ALONE_S)
        self._alone = ""
        self._world.plug(name)
        await until(lambda: all_know_all(self._world), HEALED_S, _POLL_S)

    async def _part(self) -> None:
        """Two halves, or nearly; a register goes on where a majority of its acceptors is."""
        if len(self._names) < 3:
            return
        side = self._draws.sample(self._names, len(self._names) // 2)
        self._world.ether.partition({self._world.machines[name].address: 1 for name in side})
        self._world.log.note("", "parted", " ".join(sorted(side)))
        await trio.sleep(_PARTED_S)
        self._world.ether.heal()
        self._world.log.note("", "healed")
        await until(lambda: all_know_all(self._world), HEALED_S, _POLL_S)

    async def _go_home(self) -> None:
        """One after the other, until two are left, who still agree; in the morning they come in another order."""
        await trio.sleep(REPLACED_S)
        going = self._draws.sample(self._names, max(0, len(self._names) - _STAYING))
        for name in going:
            await self._world.leave(name)
            await trio.sleep(self._draws.uniform(*_GOING_S))
        for name in [one for one in self._names if one not in going] if going else ():
            for register in self.outcome.histories:
                try:
                    await self._world.node(name).registers.read(register)
                except PotluckError as error:
                    self.outcome.unanswered.append(f"{name}: {error.kind}: {error}")
        for name in self._draws.sample(going, len(going)):
            await self._world.start(name)
            await trio.sleep(self._draws.uniform(*_GOING_S))
        await until(lambda: all_know_all(self._world), HEALED_S, _POLL_S)

    async def _die(self, names: list[str]) -> None:
        for name in names:
            self.outcome.killed += 1
            if self._draws.random() < 0.5:
                self._world.power_off(name)
            else:
                self._world.kill(name)
        await trio.sleep(REPLACED_S)
        for name in names:
            await self._world.start(name)
        await until(lambda: all_know_all(self._world), HEALED_S, _POLL_S)

    # The end

    async def _heal(self) -> None:
        """Everybody reads every register and the counter."""
        limit_s = trio.current_time() + HEALED_S
        async with trio.open_nursery() as nursery:
            for machine in list(self._world.running()):
                nursery.start_soon(self._read_all, machine.name, limit_s)

    async def _read_all(self, name: str, limit_s: float) -> None:
        node = self._world.node(name)
        for register, history in self.outcome.histories.items():
            operation = Operation("read", trio.current_time())
            answer = await self._persist(name, limit_s, partial(node.registers.read, register))
            if answer is not _NONE:
                value = None if answer is None else _WALL_DECODER.decode(answer)  # type: ignore[arg-type]
                history.append(msgspec.structs.replace(operation, returned_at=trio.current_time(), answer=value))
        answer = await self._persist(name, limit_s, lambda: node.memory.get(_COUNTER))
        if isinstance(answer, tuple):
            counted = values.decode_bytes(answer[0])
            assert isinstance(counted, int)
            self.outcome.counted[name] = counted

    async def _persist(self, name: str, limit_s: float, ask: Callable[[], object]) -> object:
        """Asks again until there is an answer or the time is up."""
        while True:
            try:
                return await ask()  # type: ignore[misc]
            except PotluckError as error:
                if trio.current_time() > limit_s:
                    self.outcome.unhealed.append(f"{name}: {error.kind}: {error}")
                    return _NONE
            await trio.sleep(_POLL_S)


_NONE: Final = object()


def content_of(operation: Operation) -> Callable[[bytes | None], tuple[bytes | None, Value | bool]]:
    def change(content: bytes | None) -> tuple[bytes | None, Value | bool]:
        value = None if content is None else _WALL_DECODER.decode(content)
        after, answer = operation.apply(value)
        return (content if after == value else msgspec.msgpack.encode(after)), answer

    return change


def judge(world: World, scenario: RegistersScenario) -> tuple[list[Check], dict[str, object]]:
    outcome = scenario.outcome
    operations = [one for history in outcome.histories.values() for one in history]
    answered = sum(one.returned for one in operations)
    joined = "" if outcome.joined_s is None else f"after {outcome.joined_s:.2f} s"
    checks = [
        check("no node failed", world.failures, f"{len(world.machines)} nodes"),
        check("everyone joined and knows everyone", [] if joined else ["not in time"], joined),
        check("every history is linearizable", _unexplained(outcome), f"{answered} operations"),
        check("no increment is lost or done twice", _miscounted(outcome), f"{outcome.added} increments"),
        check("who is alone gets no answer", outcome.alone, "none was given"),
        check("the last two are answered", outcome.unanswered, "and when the others have left"),
        check("every register answers everybody in the end", outcome.unhealed, f"{len(outcome.counted)} nodes"),
    ]
    figures: dict[str, object] = {
        "joined_s": outcome.joined_s,
        "operations": len(operations) + outcome.added + outcome.in_doubt,
        "answered": answered + outcome.added,
        "killed": outcome.killed,
        "moved": max((_configurations(world)), default=0),
        "events": len(world.log.events),
    }
    return checks, figures


def _configurations(world: World) -> Iterator[int]:
    for machine in world.running():
        assert machine.running is not None
        for _, state in machine.running.node.registers.acceptor:
            yield state.configuration.number


def _unexplained(outcome: Outcome) -> Iterator[str]:
    for register, history in outcome.histories.items():
        try:
            found = fault(history)
        except TooMany:
            found = "too much is open to tell"
        if found is not None:
            yield f"register {register.decode()[2:]}: {found}"


def _miscounted(outcome: Outcome) -> Iterator[str]:
    if len(set(outcome.sums)) != len(outcome.sums):
        yield "two increments had the same sum"
    if len(set(outcome.counted.values())) > 1:
        yield f"nodes read different sums: {outcome.counted}"
    for counted in set(outcome.counted.values()):
        if not outcome.added <= counted <= outcome.added + outcome.in_doubt:
            yield f"{counted} after {outcome.added} increments and {outcome.in_doubt} in doubt"
