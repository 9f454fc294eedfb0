"""Scenario `agreement`: the engines of registers alone, against everything that can happen between them.

Groups of five nodes operate on registers: messages are lost, doubled and overtake each other, disks write late, nodes
stand still for a while, die and come back with what was on their disks, are parted from each other in one direction or
both, acceptors are replaced, and told by others what these have accepted. No engine here reads a clock: a clock that
jumps is no more than another order of events, and every order is drawn. Nothing waits, so that a hundred thousand
operations take a minute or two.

What must hold: every register's history is linearizable; no ballot carries two values; and of an operation that began
during a partition, whoever has no majority of the acceptors on their side, or sees the other side answer, is answered
only once the partition is over.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
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
ENDING: Final = 0.005
"""How likely a partition or a pause is over at a step: it lasts for a handful of operations."""
RUNNING_MAX: Final = 8
_UNANSWERED_MAX: Final = 6
"""Operations lost by crashes, for each register: each leaves the checker more to try."""

Node = bytes


class Partition(msgspec.Struct, eq=False):
    """While it lasts, nothing that `side` says is heard by the others; nor the other way, unless `one_way`."""

    side: frozenset[Node]
    one_way: bool
    answered: set[bool] = set()
    """Whether somebody of `side`, and of the others, was answered what they asked during it."""

    def cuts(self, sender: Node, to: Node) -> bool:
        return (sender in self.side) != (to in self.side) and (sender in self.side or not self.one_way)


class Running(msgspec.Struct):
    """One operation of one node, from call to answer."""

    node: Node
    proposer: Proposer
    operation: Operation | None
    """None: a change of acceptors, which no history shows."""
    partition: Partition | None
    """That it began in."""
    waiting: bool = False
    """Between two attempts."""


class Parcel(msgspec.Struct, frozen=True):
    """A message under way: a question, or the answer to one."""

    running: int
    sender: Node
    to: Node
    message: Prepare | Accept | Promise | Accepted


class Machine(msgspec.Struct):
    acceptor: Acceptor = msgspec.field(default_factory=Acceptor)
    disk: dict[bytes, bytes] = {}
    unwritten: list[tuple[Write, Parcel]] = []
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
        self.partition: Partition | None = None
        self.paused: set[Node] = set()
        self.history: list[Operation] = []
        self.faults: list[str] = []
        self.now = 0
        self._numbers = 0
        self._values: dict[Ballot, State] = {}

    # Operations

    def call(self, node: Node, operation: Operation) -> None:
        self._numbers += 1
        token = self._numbers.to_bytes(8, "big")
        called = msgspec.structs.replace(operation, called_at=self._tick())
        self._begin(node, ContentStep(token, _content(called)), called)

    def move(self, node: Node, acceptors: list[Node]) -> None:
        self._begin(node, Move(lambda _: acceptors), None)

    def settle(self, node: Node) -> None:
        """Has the change of acceptors chosen that is under way, if one is; what follows comes with its end."""
        self._begin(node, unchanged, None, confirm=True)

    def pass_on(self, node: Node, to: Node) -> None:
        """An acceptor tells another what it has accepted. Whatever is answered, nobody waits for it."""
        accept = self.machines[node].acceptor.accepted(self.register.founding, self.register.name)
        if accept is not None and node not in self.paused:
            self.under_way.append(Parcel(0, node, to, accept))

    def _begin(self, node: Node, step: Step, operation: Operation | None, *, confirm: bool = False) -> None:
        machine = self.machines[node]

        def next_ballot(above: int) -> Ballot:
            machine.counter = max(machine.counter, above) + 1
            return Ballot(machine.counter, node + machine.boots.to_bytes(8, "big"))

        self._numbers += 1
        proposer = Proposer(self.register, self.known[node], step, next_ballot, confirm=confirm)
        self.running[self._numbers] = Running(node, proposer, operation, self.partition)
        self._perform(self._numbers, proposer.begin())

    def again(self, number: int) -> None:
        """The time after an attempt that failed is over."""
        running = self.running[number]
        if running.node in self.paused:
            return
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
            self._judge_side(running, state.configuration)
            self.history.append(msgspec.structs.replace(running.operation, returned_at=self._tick(), answer=answer))

    def _judge_side(self, running: Running, configuration: Configuration) -> None:
        """What began in the present partition was agreed on one side of it."""
        partition = self.partition
        if partition is None or running.partition is not partition:
            return
        inside = running.node in partition.side
        near = sum((node in partition.side) == inside for node in configuration.acceptors)
        if 2 * near <= len(configuration.acceptors):
            self.faults.append(f"{near} of {len(configuration.acceptors)} acceptors have answered")
        partition.answered.add(inside)
        if len(partition.answered) == 2:
            self.faults.append("both sides of a partition have answered")

    def _tick(self) -> float:
        self.now += 1
        return self.now

    # What may happen to messages

    def deliver(self, place: int, *, keep: bool = False) -> None:
        """`keep`: it will come a second time. To a node that stands still it comes when that goes on."""
        parcel = self.under_way[place]
        if parcel.to in self.paused:
            return
        if self.partition is not None and self.partition.cuts(parcel.sender, parcel.to):
            self.lose(place)
            return
        if not keep:
            self._take(place)
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
        """The message is gone; whoever asked learns that there is no answer, unless it stands still."""
        running = self.running.get(self.under_way[place].running)
        if running is not None and running.node in self.paused:
            return
        parcel = self._take(place)
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
        if node in self.paused:
            return
        machine = self.machines[node]
        for (key, value), answer in machine.unwritten:
            machine.disk[key] = value
            self.under_way.append(answer)
        machine.unwritten.clear()

    # What may happen to nodes

    def part(self, side: Iterable[Node], *, one_way: bool) -> None:
        self.partition = Partition(frozenset(side), one_way)

    def heal(self) -> None:
        self.partition = None

    def pause(self, node: Node) -> None:
        """It stands still, and what is said to it waits."""
        self.paused.add(node)

    def resume(self, node: Node) -> None:
        self.paused.discard(node)

    def crash(self, node: Node) -> None:
        """The node dies and starts again with what is on its disk. Its operations will never be answered."""
        self.resume(node)
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
        self._deadly = draws.choice((0.0, 0.0005, 0.005))
        self._parting = draws.choice((0.0, 0.0005, 0.001))
        self._pausing = draws.choice((0.0, 0.0005, 0.001))
        self._busy = draws.choice((1, 2, 5))
        self._seen: list[int | None] = [None]
        self._called = 0
        self.tally = Counter[str]()

    def run(self, operations: int) -> None:
        group = self.group
        for _ in range(STEPS_MAX * operations):
            if self._called >= operations and not group.running:
                return
            self._step(operations)

    def _step(self, operations: int) -> None:
        group, draws = self.group, self._draws
        if self._called < operations and self._has_room():
            self._call()
        elif draws.random() < self._deadly and self._unanswered() < _UNANSWERED_MAX:
            group.crash(draws.choice(group.nodes))
        elif draws.random() < 0.0005:
            group.move(draws.choice(group.nodes), draws.sample(group.nodes, draws.choice((3, 4, 5))))
        elif draws.random() < 0.001:
            group.settle(draws.choice(group.nodes))
        elif draws.random() < 0.005:
            group.pass_on(*draws.sample(group.nodes, 2))
        elif draws.random() < self._parting:
            self._part()
        elif draws.random() < self._pausing:
            self._pause()
        elif draws.random() < ENDING:
            group.heal()
        elif group.paused and draws.random() < ENDING:
            group.resume(draws.choice(sorted(group.paused)))
        else:
            self._move_messages()

    def _part(self) -> None:
        draws = self._draws
        self.tally["partitions"] += 1
        self.group.part(draws.sample(self.group.nodes, draws.choice((1, 2))), one_way=draws.random() < 0.3)

    def _pause(self) -> None:
        self.tally["pauses"] += 1
        self.group.pause(self._draws.choice(self.group.nodes))

    def _has_room(self) -> bool:
        """Who is cut off waits for long, and keeps nobody else from asking."""
        running, partition = self.group.running, self.group.partition
        cut_off = 0 if partition is None else sum(one.node in partition.side for one in running.values())
        return len(running) - cut_off < self._busy and len(running) < RUNNING_MAX

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
        node = draws.choice(group.nodes)
        self.tally["called_in_smaller_part"] += group.partition is not None and node in group.partition.side
        group.call(node, operation)


def play(nodes: int, seed: int) -> tuple[list[Check], dict[str, object]]:
    """A thousand operations for each node, in groups of five."""
    wanted = nodes * OPERATIONS_PER_NODE
    registers = 0
    tally = Counter[str]()
    faults: list[str] = []
    while tally["operations"] < wanted:
        campaign = Campaign(registers.to_bytes(4, "big"), named_stream(seed, f"agreement/{registers}"))
        campaign.run(OPERATIONS_PER_REGISTER)
        tally += _count(campaign)
        try:
            faults += [f"register {registers}: {one}" for one in campaign.group.verdict()]
        except TooMany:
            tally["undecided"] += 1
        registers += 1
    undecided, done, apart = tally.pop("undecided", 0), tally["operations"], tally["called_in_smaller_part"]
    rules = "every history is linearizable, no ballot carries two values, and no minority answers"
    checks = [
        check(rules, faults, f"{done} operations, {apart} in the smaller part"),
        check("histories were few enough to judge", [f"{undecided} were not"] if undecided else [], f"{registers}"),
    ]
    return checks, {"registers": registers, **tally}


def _count(campaign: Campaign) -> Counter[str]:
    group = campaign.group
    answered = sum(one.returned for one in group.history)
    return campaign.tally + Counter(
        operations=answered,
        unanswered=len(group.history) - answered,
        crashes=sum(machine.boots for machine in group.machines.values()),
        configurations=max(configuration.number for configuration in group.known.values()) - FIRST,
    )
