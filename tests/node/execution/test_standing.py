"""Tasks that wait for tasks which they have submitted, through every order of events, against a naive model."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from potluck.node.execution import events
from potluck.overlay.config import Execution
from potluck.overlay.errors import LimitExceeded
from potluck.overlay.wire.work import CancelInstructions, Finished, Lineage, Started, TaskComplete
from potluck.overlay.wire.worker import RunTask

from .engine_world import OWN, Process, World

MASTER = b"master-0"


@dataclass
class Family:
    """What one task has submitted: a job with tasks, which ends with it."""

    job: str
    depth: int
    root: str
    children: set[int] = field(default_factory=set)


class Trees(RuleBasedStateMachine):
    """The model: of each process the task at its head, whether that runs, waits or wants a slot, and what it has
    submitted. Whoever is told to go on must have asked, and whoever runs must have a slot."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(slots=2, config=Execution(pipe_window_max=8, waiting_max=1000))
        self.families: dict[int, Family] = {}
        """By the key of the task that has submitted it."""
        self.jobs = 0

    # What the world looks like

    def heads(self, *states: str) -> list[int]:
        """Processes whose first task is in one of these states."""
        alive = self.world.processes.items()
        return [one for one, process in alive if process.queue and not process.killed and process.state in states]

    def head(self, number: int) -> RunTask:
        return self.world.processes[number].queue[0]

    def unfinished(self, family: Family) -> set[int]:
        return {index for owner, job, index in self.world.open if (owner, job) == (OWN, family.job)}

    # What programs do

    @rule(count=st.integers(1, 3))
    def submit(self, count: int) -> None:
        self.jobs += 1
        self.world.assign(MASTER, f"root{self.jobs}", list(range(count)))

    @precondition(lambda self: self.heads("running"))
    @rule(data=st.data(), count=st.integers(1, 3))
    def task_submits(self, data: st.DataObject, count: int) -> None:
        number = data.draw(st.sampled_from(self.heads("running")))
        key = self.head(number).task
        if key in self.families:
            return
        parent = self.world.engine.running_on(number)
        assert parent is not None and parent.key == key
        self.jobs += 1
        family = self.families[key] = Family(f"sub{self.jobs}", parent.depth + 1, parent.job.root)
        family.children = set(range(count))
        lineage = Lineage(f"{parent.job.name}/{parent.index}", family.root, family.depth)
        self.world.assign(MASTER, family.job, sorted(family.children), lineage=lineage)

    @precondition(lambda self: self.heads("running", "resuming"))
    @rule(data=st.data())
    def task_waits(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.heads("running", "resuming")))
        if self.head(number).task in self.families:
            self._wait(number)

    def _wait(self, number: int) -> None:
        process = self.world.processes[number]
        process.state, process.turn = "waiting", process.turn + 1
        reports = self.world.step(events.Waits(number, self.head(number).task, process.turn))
        assert sum(isinstance(one, Started) and one.waits for one in reports) <= 1

    @precondition(lambda self: self.heads("waiting"))
    @rule(data=st.data())
    def task_wants(self, data: st.DataObject) -> None:
        """Also before its children are done: it has waited for one of them, or for a while."""
        self._want(data.draw(st.sampled_from(self.heads("waiting"))))

    def _want(self, number: int) -> None:
        process = self.world.processes[number]
        process.state = "resuming"
        self.world.step(events.Wants(number, self.head(number).task, process.turn))

    @precondition(lambda self: self.heads("running", "waiting", "resuming"))
    @rule(data=st.data(), elapsed_s=st.sampled_from([1e-5, 0.2]))
    def task_ends(self, data: st.DataObject, elapsed_s: float) -> None:
        """In whatever state: one of its threads may end it while others wait."""
        self._end(data.draw(st.sampled_from(self.heads("running", "waiting", "resuming"))), elapsed_s)

    def _end(self, number: int, elapsed_s: float = 1e-5) -> None:
        key = self.head(number).task
        self.world.reply(number, 1, elapsed_s)
        self._bury(key)

    def _bury(self, key: int) -> None:
        """What it has submitted goes with it, and what that has."""
        family = self.families.pop(key, None)
        if family is None:
            return
        job = self.world.engine.jobs.get((OWN, family.job))
        for task in list(job.tasks.values()) if job is not None else ():
            self._bury(task.key)
        for index in self.unfinished(family):
            del self.world.open[OWN, family.job, index]
        self.world.step(events.JobCompleted(MASTER, TaskComplete(family.job, 1)))

    @rule(job=st.integers(1, 8), index=st.integers(0, 2))
    def cancel(self, job: int, index: int) -> None:
        self.world.step(events.CancelAsked(MASTER, CancelInstructions(f"root{job}", 1, [index])))
        self._bury_the_lost()

    # What processes do

    @precondition(lambda self: any(not process.ready for process in self.world.processes.values()))
    @rule(data=st.data())
    def worker_starts(self, data: st.DataObject) -> None:
        starting = [number for number, process in self.world.processes.items() if not process.ready]
        self.world.start(data.draw(st.sampled_from(starting)))

    @precondition(lambda self: any(process.ready for process in self.world.processes.values()))
    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        ready = [number for number, process in self.world.processes.items() if process.ready]
        self.world.end(data.draw(st.sampled_from(ready)), "killed by SIGSEGV")
        self._bury_the_lost()

    @rule(seconds=st.sampled_from([0.001, 0.06, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    def _bury_the_lost(self) -> None:
        there = {task.task for process in self.world.processes.values() if not process.killed for task in process.queue}
        for key in [key for key in self.families if key not in there]:
            self._bury(key)

    # What must hold

    @invariant()
    def no_more_run_than_there_are_slots(self) -> None:
        holding = [process for process in self.world.processes.values() if process.queue and process.state == "running"]
        assert len(holding) <= self.world.slots

    @invariant()
    def whoever_wants_a_slot_waits_for_one_that_is_taken(self) -> None:
        if self.heads("resuming"):
            assert self.world.engine.load().busy == self.world.slots

    def teardown(self) -> None:
        """Everybody who waits is served in the end, with no further faults, however deep the trees."""
        for _ in range(3_000):
            if not self.world.open:
                break
            self._live()
        assert not self.world.open, "everything assigned is confirmed in the end"
        assert not self.world.engine.unfinished

    def _live(self) -> None:
        world = self.world
        for number in [number for number, process in world.processes.items() if process.killed]:
            world.end(number)
        self._bury_the_lost()
        world.ready()
        for number in self.heads("running", "waiting"):
            process: Process | None = world.processes.get(number)
            if process is None or process.killed or not process.queue:
                continue
            family = self.families.get(self.head(number).task)
            waits_for = self.unfinished(family) if family is not None else set()
            if process.state == "waiting" and not waits_for:
                self._want(number)
            elif process.state == "running" and waits_for:
                self._wait(number)
            elif process.state == "running":
                self._end(number)
        world.advance(0.001)


TestTrees = Trees.TestCase
TestTrees.settings = settings(max_examples=settings().max_examples, stateful_step_count=40)


def test_what_is_deepest_comes_first_so_that_few_stand_waiting() -> None:
    """A tree that is ten deep and three wide in one slot: no more stand waiting than one branch is long."""
    trees = Trees()
    trees.world = World(slots=1, config=Execution(pipe_window_max=8))
    trees.world.ready()
    trees.world.assign(MASTER, "root", [0])
    most, done = 0, 0
    for _ in range(100_000):
        trees.world.ready()
        if not trees.world.open:
            break
        for number in trees.heads("running"):
            task = trees.world.engine.running_on(number)
            assert task is not None
            family = trees.families.get(task.key)
            if family is None and task.depth < 6:
                trees.jobs += 1
                family = trees.families[task.key] = Family(f"sub{trees.jobs}", task.depth + 1, "root", {0, 1, 2})
                trees.world.assign(MASTER, family.job, [0, 1, 2], lineage=Lineage("p/0", "root", task.depth + 1))
            if family is not None and trees.unfinished(family):
                trees._wait(number)
            else:
                trees._end(number)
                done += 1
        most = max(most, len(trees.heads("waiting", "resuming")))
        for number in trees.heads("waiting"):
            if not trees.unfinished(trees.families[trees.head(number).task]):
                trees._want(number)
    assert (done, most) == (sum(3**depth for depth in range(7)), 6)


def test_one_that_would_be_one_too_many_to_wait_is_ended_and_says_so() -> None:
    trees = Trees()
    trees.world = World(slots=1, config=Execution(waiting_max=2))
    trees.world.assign(MASTER, "root", [0])
    for depth in range(3):
        trees.world.ready()
        (number,) = trees.heads("running")
        lineage = Lineage("p/0", "root", depth + 1)
        trees.world.assign(MASTER, f"sub{depth}", [0], lineage=lineage)
        trees.world.ready()
        trees.world.step(events.Waits(number, trees.head(number).task, 1))
        trees.world.processes[number].state = "waiting"
    assert trees.world.processes[number].killed
    (report,) = [one for one in trees.world.end(number) if isinstance(one, Finished)]
    assert report.fault is not None and report.fault.code == LimitExceeded.wire_code
    assert "no more may" in report.fault.message
