"""Scenario `agreement`: the engines of registers alone, against everything that can happen between them.

Groups of five nodes operate on registers: messages are lost, doubled and overtake each other, disks write late, nodes
die and come back with what was on their disks, acceptors are replaced. Nothing here waits, so that a hundred thousand
operations take about a minute. Every register's history is checked for linearizability, and no ballot may carry two
values.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from ..overlay.registers.acceptor import Acceptor, Write
from ..overlay.registers.changes import ContentStep, Move, Settle, Step, unchanged
from ..overlay.registers.proposer import Done, Effect, Proposer, Register, Retry, Send
from ..overlay.registers.quorums import FIRST, is_changing
from ..overlay.wire.registers import Accept, Accepted, Ballot, Configuration, Prepare, Promise, State
from .checks import Check, check
from .entropy import named_stream
from .linearizability import Operation, TooMany, fault

GROUP: Final = 5
OPERATIONS_PER_NODE: Final = 1000
OPERATIONS_PER_REGISTER: Final = 60
STEPS_MAX: Final = 200
"""Per operation. A register that is not through by then is left as it is: no liveness is claimed under such faults."""
_UNANSWERED_MAX: Final = 8
"""Operations lost by crashes, for each register: each leaves the checker more to try."""

Node = bytes


@dataclass
class Running:
    """One operation of one node, from call to answer."""

    node: Node
    proposer: Proposer
    operation: Operation | None
    """None: a change of acceptors, which no history shows."""
    waiting: bool = False
    """Between two attempts."""


@dataclass(frozen=True)
class Parcel:
    """A message under way: a question, or the answer to one."""

    running: int
    sender: Node
    to: Node
    message: Prepare | Accept | Promise | Accepted


@dataclass
class Machine:
    acceptor: Acceptor = field(default_factory=Acceptor)
    disk: dict[bytes, bytes] = field(default_factory=dict)
    unwritten: list[tuple[Write, Parcel]] = field(default_factory=list)
    """What waits for the disk, each with the answer that waits for it."""
    boots: int = 0
    counter: int = 0


class Group:
    """Nodes and what is under way between them. Every method is one thing that may happen next; whoever calls them
    decides the order."""

    def __init__(self, register: bytes, acceptors: int) -> None:
        self.nodes = [bytes([number]) * 20 for number in range(GROUP)]
        self.machines = {node: Machine() for node in self.nodes}
        self.register = Register(b"founding", register)
        self.first = Configuration(FIRST, list(self.nodes[:acceptors]))
        self.known = dict.fromkeys(self.nodes, self.first)
        self.running: dict[int, Running] = {}
        self.under_way: list[Parcel] = []
        self.history: list[Operation] = []
        self.faults: list[str] = []
        self.now = 0
        self._numbers = 0
        self._values: dict[Ballot, State] = {}

    # Operations

    def call(self, node: Node, operation: Operation) -> None:
        self._numbers += 1
        token = self._numbers.to_bytes(8, "big")
        called = replace(operation, called_at=self._tick())
        self._begin(node, ContentStep(token, _content(called)), called)

    def move(self, node: Node, acceptors: list[Node]) -> None:
        self._begin(node, Move(lambda _: acceptors), None)

    def settle(self, node: Node) -> None:
        """Has the change of acceptors chosen that is under way, if one is; what follows comes with its end."""
        self._begin(node, unchanged, None, confirm=True)

    def _begin(self, node: Node, step: Step, operation: Operation | None, *, confirm: bool = False) -> None:
        machine = self.machines[node]

        def next_ballot(above: int) -> Ballot:
            machine.counter = max(machine.counter, above) + 1
            return Ballot(machine.counter, node + machine.boots.to_bytes(8, "big"))

        self._numbers += 1
        proposer = Proposer(self.register, self.known[node], step, next_ballot, confirm=confirm)
        self.running[self._numbers] = Running(node, proposer, operation)
        self._perform(self._numbers, proposer.begin())

    def again(self, number: int) -> None:
        """The pause after an attempt that failed is over."""
        running = self.running[number]
        running.waiting = False
        self._perform(number, running.proposer.begin())

    def _perform(self, number: int, effects: list[Effect]) -> None:
        for effect in effects:
            running = self.running[number]
            match effect:
                case Send(to, message):
                    if isinstance(message, Accept):
                        self._watch(message)
                    self.under_way.append(Parcel(number, running.node, to, message))
                case Retry():
                    running.waiting = True
                    running.proposer.learned(self.first)
                case Done(state, answer):
                    del self.running[number]
                    self.known[running.node] = state.configuration
                    self._end(running, state, answer)

    def _watch(self, message: Accept) -> None:
        if self._values.setdefault(message.ballot, message.state) != message.state:
            self.faults.append(f"ballot {message.ballot.counter} carries two values")

    def _end(self, running: Running, state: State, answer: Any) -> None:
        if running.operation is None:
            if answer is not None and is_changing(state.configuration):
                self._begin(running.node, Settle(state.configuration), None)
        elif isinstance(answer, Exception):
            self.history.append(running.operation)  # in doubt, as it says
        else:
            self.history.append(replace(running.operation, returned_at=self._tick(), answer=answer))

    def _tick(self) -> float:
        self.now += 1
        return self.now

    # What may happen to messages

    def deliver(self, place: int, *, keep: bool = False) -> None:
        """`keep`: it will come a second time."""
        parcel = self.under_way[place] if keep else self._take(place)
        machine = self.machines[parcel.to]
        match message := parcel.message:
            case Prepare():
                self._answer(parcel, machine, *machine.acceptor.prepare(message))
            case Accept():
                self._answer(parcel, machine, *machine.acceptor.accept(message))
            case Promise() if parcel.running in self.running:
                self._perform(parcel.running, self.running[parcel.running].proposer.promised(parcel.sender, message))
            case Accepted() if parcel.running in self.running:
                self._perform(parcel.running, self.running[parcel.running].proposer.accepted(parcel.sender, message))

    def _answer(self, parcel: Parcel, machine: Machine, answer: Promise | Accepted, write: Write | None) -> None:
        back = Parcel(parcel.running, parcel.to, parcel.sender, answer)
        if write is None:
            self.under_way.append(back)
        else:
            machine.unwritten.append((write, back))

    def lose(self, place: int) -> None:
        """The message is gone; whoever asked will learn that there is no answer."""
        parcel = self._take(place)
        running = self.running.get(parcel.running)
        if running is not None:
            silent = parcel.to if isinstance(parcel.message, Prepare | Accept) else parcel.sender
            self._perform(parcel.running, running.proposer.failed(silent, parcel.message.ballot))

    def _take(self, place: int) -> Parcel:
        """Order means nothing here, so that the last may fill the gap."""
        last = self.under_way.pop()
        if place == len(self.under_way):
            return last
        parcel, self.under_way[place] = self.under_way[place], last
        return parcel

    def flush(self, node: Node) -> None:
        """The disk has written everything; the answers go out."""
        machine = self.machines[node]
        for (key, value), answer in machine.unwritten:
            machine.disk[key] = value
            self.under_way.append(answer)
        machine.unwritten.clear()

    def crash(self, node: Node) -> None:
        """The node dies and starts again with what is on its disk. Its operations will never be answered."""
        machine = self.machines[node]
        for number, running in list(self.running.items()):
            if running.node == node:
                del self.running[number]
                if running.operation is not None:
                    self.history.append(running.operation)
        silent = [answer for _, answer in machine.unwritten]
        machine.unwritten.clear()
        machine.boots += 1
        machine.counter = 0
        machine.acceptor = Acceptor()
        machine.acceptor.load(machine.disk.items())
        self.known[node] = self.first
        for answer in silent:
            self.under_way.append(answer)
            self.lose(len(self.under_way) - 1)

    def verdict(self) -> list[str]:
        """Everything that is wrong; operations still under way have had no answer."""
        lost = [one.operation for one in self.running.values() if one.operation is not None]
        found = fault([*self.history, *lost])
        return self.faults + ([] if found is None else [f"no order explains {found}"])


_packed: Final = msgspec.msgpack.Decoder(int | None)


def _content(operation: Operation) -> Callable[[bytes | None], tuple[bytes | None, Any]]:
    def change(content: bytes | None) -> tuple[bytes | None, Any]:
        value = None if content is None else _packed.decode(content)
        after, answer = operation.apply(value)
        return (content if after == value else msgspec.msgpack.encode(after)), answer

    return change


class Campaign:
    """One register in one group, every choice drawn."""

    def __init__(self, name: bytes, draws: random.Random) -> None:
        self._draws = draws
        self.group = Group(name, draws.choice((3, 4, 5)))
        self._lossy = draws.choice((0.0, 0.01, 0.1))
        self._deadly = draws.choice((0.0, 0.0003, 0.001))
        self._busy = draws.choice((1, 2, 5))
        self._seen: list[int | None] = [None]
        self._called = 0

    def run(self, operations: int) -> None:
        group = self.group
        for _ in range(STEPS_MAX * operations):
            if self._called >= operations and not group.running:
                return
            self._step(operations)

    def _step(self, operations: int) -> None:
        group, draws = self.group, self._draws
        if self._called < operations and len(group.running) < self._busy:
            self._call()
        elif draws.random() < self._deadly and self._unanswered() < _UNANSWERED_MAX:
            group.crash(draws.choice(group.nodes))
        elif draws.random() < 0.0005:
            group.move(draws.choice(group.nodes), draws.sample(group.nodes, draws.choice((3, 4, 5))))
        elif draws.random() < 0.001:
            group.settle(draws.choice(group.nodes))
        else:
            self._move_messages()

    def _unanswered(self) -> int:
        return sum(not one.returned for one in self.group.history)

    def _move_messages(self) -> None:
        group, draws = self.group, self._draws
        waiting = [number for number, running in group.running.items() if running.waiting]
        if waiting and (draws.random() < 0.1 or not group.under_way):
            group.again(draws.choice(waiting))
        elif not group.under_way or draws.random() < 0.3:
            busy = [node for node in group.nodes if group.machines[node].unwritten]
            if busy:
                group.flush(draws.choice(busy))
        elif draws.random() < self._lossy:
            group.lose(draws.randrange(len(group.under_way)))
        else:
            keep = draws.random() < self._lossy / 2
            group.deliver(draws.randrange(len(group.under_way)), keep=keep)

    def _call(self) -> None:
        draws, group = self._draws, self.group
        self._called += 1
        self._seen += [one.answer for one in group.history[-1:] if type(one.answer) is int]
        kind = draws.choice(("read", "add", "compare_and_set", "compare_and_set"))
        operation = Operation("read", 0)
        if kind == "add":
            operation = Operation("add", 0, amount=draws.choice((1, 1000)))
        elif kind == "compare_and_set":
            expected = self._seen[-1] if draws.random() < 0.8 else draws.choice(self._seen)
            new = 1_000_000 * self._called
            operation = Operation("compare_and_set", 0, expected=expected, new=new)
            self._seen.append(new)
        group.call(draws.choice(group.nodes), operation)


def play(nodes: int, seed: int) -> tuple[list[Check], dict[str, object]]:
    """A thousand operations for each node, in groups of five."""
    wanted = nodes * OPERATIONS_PER_NODE
    done = unanswered = registers = boots = moves = undecided = 0
    faults: list[str] = []
    while done < wanted:
        campaign = Campaign(registers.to_bytes(4, "big"), named_stream(seed, f"agreement/{registers}"))
        registers += 1
        campaign.run(OPERATIONS_PER_REGISTER)
        group = campaign.group
        answered = sum(one.returned_at != math.inf for one in group.history)
        done += answered
        unanswered += len(group.history) - answered
        boots += sum(machine.boots for machine in group.machines.values())
        moves += max(configuration.number for configuration in group.known.values()) - FIRST
        try:
            faults += [f"register {registers - 1}: {one}" for one in group.verdict()]
        except TooMany:
            undecided += 1
    checks = [
        check("every history is linearizable and no ballot carries two values", faults, f"{done} operations"),
        check("histories were few enough to judge", [f"{undecided} were not"] if undecided else [], f"{registers}"),
    ]
    figures: dict[str, object] = {
        "operations": done,
        "unanswered": unanswered,
        "registers": registers,
        "crashes": boots,
        "configurations": moves,
    }
    return checks, figures
