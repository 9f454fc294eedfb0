"""Tasks that say what they go on from, on nodes that crash, leave, and are told what to do: a real master, real
execution engines, and beside them what a person would expect."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from potluck.node.execution import events
from potluck.node.execution.engine import Engine
from potluck.node.execution.intake import Place
from potluck.node.jobs import effects as doings
from potluck.node.jobs.master import Master
from potluck.node.jobs.placement import Worker
from potluck.node.lending.quotas import Quotas
from potluck.node.processes.process import State
from potluck.node.resources.grants import Grants
from potluck.node.resources.slots import Slots
from potluck.node.scheduling.catalogue import make
from potluck.overlay.config import Execution, Jobs, Quota
from potluck.overlay.errors import NotAllowed, PotluckError
from potluck.overlay.ids import NodeId
from potluck.overlay.wire import values
from potluck.overlay.wire.capabilities import Capabilities, Guarantees
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.work import Checkpoint, Finished, Inline, Program, Started
from potluck.overlay.wire.worker import RunTask, WithdrawTasks

OWNER, MASTER = b"owner", b"master"
TASKS, STEPS = 3, 6
NODES = {name: NodeId(name.encode() * 20) for name in ("a", "b", "c")}
CODE = Program(bytes(32), "function", "f", body=Inline(b"code"))


@dataclass
class Run:
    """One process that runs a task: what its task has in its state."""

    key: int
    state: list[int]


@dataclass
class Process:
    stopped: bool = False
    queue: deque[RunTask] = field(default_factory=deque)
    run: Run | None = None


class Node:
    def __init__(self, name: str, boot: int) -> None:
        self.name, self.boot = name, boot
        self.engine = Engine(
            Execution(),
            make("fcfs"),
            slots=Slots(2, range(2)),
            places=[Place(for_others=True)],
            own_owner=OWNER,
            grants=Grants(1 << 30, 0),
            quotas=Quotas(Quota()),
        )
        self.processes: dict[int, Process] = {}
        self.happens: deque[events.Event] = deque()
        self.cut = False
        """Nothing of what it says arrives."""

    @property
    def worker(self) -> Worker:
        able = Capabilities(slots=2, cpus=2, python="3.11")
        return Worker(NODES[self.name], self.name, bytes([self.boot]) * 16, able, own=True, here=self.name == "a")

    def running(self) -> list[tuple[int, Run]]:
        return [(n, one.run) for n, one in self.processes.items() if one.run is not None and not one.stopped]


class GoingOn(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.boots = 0
        self.master = Master(Jobs(), "3.11", Random(0))
        self.nodes: dict[str, Node] = {}
        self.outcomes: dict[int, list[int]] = {}
        self.noted: dict[int, Checkpoint] = {}
        self.suspended: set[int] = set()
        """Of which a person has said so last, and this has arrived."""
        self.due: dict[int, int] = {}
        """How many steps the next run of a task has behind it, where that is certain."""

    @initialize()
    def submit(self) -> None:
        for name in NODES:
            self._up(name)
        self.master.open("j", JobOptions(retries=99))
        specs = [TaskSpec(index, values.encode(index)) for index in range(TASKS)]
        self._carry_out(self.master.submit(self.now_s, "j", CODE, specs))

    # What happens

    @rule(data=st.data())
    def says_a_checkpoint(self, data: st.DataObject) -> None:
        runs = [(node, number, run) for node in self.nodes.values() for number, run in node.running()]
        if not runs:
            return
        node, number, run = data.draw(st.sampled_from(runs))
        run.state.append(len(run.state) + 1)
        self._tell(node, events.Saved(number, run.key, values.encode_bytes(run.state), pickled=False))

    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        runs = [(node, number, run) for node in self.nodes.values() for number, run in node.running()]
        runs = [one for one in runs if len(one[2].state) >= STEPS]
        if runs:
            self._end(*data.draw(st.sampled_from(runs)))

    @rule(data=st.data())
    def a_process_is_killed(self, data: st.DataObject) -> None:
        all_of = [(node, number) for node in self.nodes.values() for number, one in node.processes.items() if one.run]
        if not all_of:
            return
        node, number = data.draw(st.sampled_from(all_of))
        run = node.processes.pop(number).run
        assert run is not None
        task = self._task(node, run.key)
        if not node.cut and task is not None and NODES[node.name] in self._at(task):
            self.due[task] = len(run.state)
        self._tell(node, events.WorkerGone(number, "killed"))

    @rule(name=st.sampled_from(["b", "c"]))
    def a_node_crashes(self, name: str) -> None:
        self.due.clear()
        self._carry_out(self.master.worker_gone(self.now_s, NODES[name], "died"))
        self._up(name)

    @rule(name=st.sampled_from(["b", "c"]))
    def a_node_leaves(self, name: str) -> None:
        node = self.nodes[name]
        self.master.leaves(NODES[name])
        for last in (False, True):
            self._tell(node, events.HandBack(begun=last))
        assert not node.engine.processes
        self._carry_out(self.master.worker_gone(self.now_s, NODES[name], "left"))
        self._up(name)

    @rule(act=st.sampled_from(["suspend", "resume"]), data=st.data())
    def a_person_says(self, act: str, data: st.DataObject) -> None:
        here = [(node, number) for node in self.nodes.values() if not node.cut for number in node.engine.processes]
        if not here:
            return
        node, number = data.draw(st.sampled_from(here))
        index = node.engine.processes[number].index
        before = node.engine.processes[number].process.state
        self._tell(node, events.ActAsked(act, [number]))  # type: ignore[arg-type]
        if NODES[node.name] in self._at(index) and before is not State.TERMINATED:
            (self.suspended.add if act == "suspend" else self.suspended.discard)(index)

    @rule(to=st.sampled_from(sorted(NODES)), data=st.data())
    def a_person_moves(self, to: str, data: st.DataObject) -> None:
        here = [(node, number) for node in self.nodes.values() if not node.cut for number in node.engine.processes]
        if not here:
            return
        node, number = data.draw(st.sampled_from(here))
        index = node.engine.processes[number].index
        state = [
            run.state for one in node.processes.values() if (run := one.run) and self._task(node, run.key) == index
        ]
        try:
            self.master.bind("j", index, NODES[node.name], to)
        except NotAllowed:
            assert to == node.name
            return
        except PotluckError:
            assert NODES[node.name] not in self._at(index) or self.nodes[to].worker.leaving
            return
        self._tell(node, events.ActAsked("migrate", [number]))
        assert self._at(index) == (NODES[to],), "it is where it was to go"
        if state and not self.nodes[to].cut:
            moved = [task for task in self.nodes[to].engine.processes.values() if task.index == index]
            assert [task.checkpoint.number if task.checkpoint else 0 for task in moved] == [len(state[0])]

    @rule(name=st.sampled_from(["b", "c"]))
    def a_link_breaks_or_comes_back(self, name: str) -> None:
        node = self.nodes[name]
        node.cut = not node.cut
        if not node.cut:
            self._carry_out(self.master.worker_up(self.now_s, node.worker))

    @rule(seconds=st.sampled_from([0.01, 0.5, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        for node in list(self.nodes.values()):
            self._tell(node, events.Tick())
        self._carry_out(self.master.tick(self.now_s))

    # What must hold

    @invariant()
    def who_is_suspended_stands_still_wherever_it_is(self) -> None:
        for node in self.nodes.values():
            for number, run in node.running():
                index = self._task(node, run.key)
                cut_off = node.cut or NODES[node.name] not in self._at(index)
                assert index is None or cut_off or index not in self.suspended, (node.name, number)

    @invariant()
    def tables_are_sound(self) -> None:
        self.master.check()
        for node in self.nodes.values():
            node.engine.check()

    @precondition(lambda self: self.nodes)
    @rule()
    def in_the_end_every_step_has_had_its_effect_once(self) -> None:
        for _ in range(200):
            for node in list(self.nodes.values()):
                if node.cut:
                    node.cut = False
                    self._carry_out(self.master.worker_up(self.now_s, node.worker))
                self._tell(node, events.ActAsked("resume", list(node.engine.processes)))
            self.suspended.clear()
            for node in list(self.nodes.values()):
                for number, run in node.running():
                    while len(run.state) < STEPS:
                        run.state.append(len(run.state) + 1)
                        self._tell(node, events.Saved(number, run.key, values.encode_bytes(run.state), pickled=False))
                    self._end(node, number, run)
            self.time_passes(1.0)
            if len(self.outcomes) == TASKS:
                break
        assert len(self.outcomes) == TASKS
        assert all(state == list(range(1, len(state) + 1)) for state in self.outcomes.values())
        self.outcomes.clear()
        self.noted.clear()
        self.due.clear()
        self._carry_out(self.master.close(self.now_s, "j"))
        self.master.open("j", JobOptions(retries=99))
        specs = [TaskSpec(index, values.encode(index)) for index in range(TASKS)]
        self._carry_out(self.master.submit(self.now_s, "j", CODE, specs))

    # How it is carried out

    def _up(self, name: str) -> None:
        self.boots += 1
        node = self.nodes[name] = Node(name, self.boots % 256)
        self._tell(node, events.Tick())
        self._carry_out(self.master.worker_up(self.now_s, node.worker))

    def _end(self, node: Node, number: int, run: Run) -> None:
        process = node.processes[number]
        process.run = None
        reply = events.Reply(run.key, value=values.encode(run.state))
        self._tell(node, events.WorkerReplied(number, [reply]))
        self._begin_next(process)

    def _task(self, node: Node, key: int) -> int | None:
        return next((task.index for task in node.engine.processes.values() if task.key == key), None)

    def _at(self, index: int | None) -> tuple[NodeId, ...]:
        job = self.master.jobs["j"]
        return job.tasks[index].nodes if index in job.tasks else ()

    def _carry_out(self, told: Iterable[doings.Effect]) -> None:
        for effect in told:
            if isinstance(effect, doings.Tell):
                for report in effect.reports:
                    assert not isinstance(report, Started) or report.checkpoint is None
                    if isinstance(report, Finished):
                        assert report.fault is None, report.fault
                        self.outcomes[report.index] = values.decode(report.value)  # type: ignore[assignment,arg-type]
                        self.suspended.discard(report.index)
            elif isinstance(effect, doings.Note):
                if effect.checkpoint is not None:
                    known = self.noted.get(effect.index)
                    assert known is None or known.number < effect.checkpoint.number, "it never goes back"
                    self.noted[effect.index] = effect.checkpoint
            elif not isinstance(effect, doings.Drop):
                self._send(effect)

    def _send(self, effect: doings.Assign | doings.CancelAt | doings.Release) -> None:
        node = self.nodes[next(name for name, node_id in NODES.items() if node_id == effect.node_id)]
        if node.cut:
            return
        if isinstance(effect, doings.Assign):
            self._tell(node, events.Assigned(MASTER, OWNER, effect.assignment))
        elif isinstance(effect, doings.CancelAt):
            self._tell(node, events.CancelAsked(MASTER, effect.message))
        else:
            self._tell(node, events.JobCompleted(MASTER, effect.message))

    def _tell(self, node: Node, event: events.Event) -> None:
        node.happens.append(event)
        if len(node.happens) > 1:
            return  # it is being told
        while node.happens:
            for effect in node.engine.step(self.now_s, node.happens[0]):
                self._happen(node, effect)
            node.happens.popleft()

    def _happen(self, node: Node, effect: events.Effect) -> None:
        match effect:
            case events.StartWorker(number):
                node.processes[number] = Process()
                node.happens.append(events.WorkerStarted(number, Guarantees()))
            case events.KillWorker(number):
                if node.processes.pop(number, None) is not None:
                    node.happens.append(events.WorkerGone(number, "killed"))
            case events.StopWorker(number):
                if number in node.processes:
                    node.processes[number].stopped = True
                    node.happens.append(events.WorkerStopped(number))
            case events.ResumeWorker(number):
                if number in node.processes:
                    node.processes[number].stopped = False
            case events.Send(number, messages):
                if number in node.processes:
                    self._arrive(node.processes[number], messages)
            case events.Confirm(_, message):
                if not node.cut and self.nodes[node.name] is node:
                    self._carry_out(
                        self.master.confirmed(self.now_s, NODES[node.name], "j", message.epoch, message.reports)
                    )
            case _:
                pass

    def _arrive(self, process: Process, messages: Iterable[events.Sent]) -> None:
        for message in messages:
            if isinstance(message, RunTask):
                process.queue.append(message)
            elif isinstance(message, WithdrawTasks):
                process.queue = deque(one for one in process.queue if one.task not in message.tasks)
        self._begin_next(process)

    def _begin_next(self, process: Process) -> None:
        if process.run is not None or not process.queue:
            return
        begun = process.queue.popleft()
        state: list[int] = []
        if begun.checkpoint is not None:
            state = values.decode_bytes(begun.checkpoint.state)  # type: ignore[assignment]
            assert state == list(range(1, begun.checkpoint.number + 1)), "each step's effect, once"
        process.run = Run(begun.task, state)
        index = values.decode(begun.arguments)  # type: ignore[arg-type]
        assert len(state) >= self.due.pop(index, 0), "nothing that was said before its process was lost is lost"  # type: ignore[call-overload]


TestGoingOn = GoingOn.TestCase
