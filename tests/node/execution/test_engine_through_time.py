"""The execution engine through every order of events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from potluck.node.execution import events
from potluck.node.execution.suspending import can_be
from potluck.node.execution.tasks import Task
from potluck.node.scheduling.catalogue import make
from potluck.overlay.errors import (
    LinkLost,
    NotLent,
    TaskFailed,
    WorkerLost,
)
from potluck.overlay.wire.needs import NO_NEEDS, Needs
from potluck.overlay.wire.work import (
    CancelInstructions,
    Fault,
    Finished,
    Inline,
    Reference,
    Returned,
    TaskComplete,
    TasksSought,
)

from .engine_world import MASTERS, OTHER, OWN, World

LENT_BYTES, GPUS = 3, 2
LASTING = "j3"


class ExecutionThroughTime(RuleBasedStateMachine):
    policy = "fcfs"
    needs: Mapping[str, Needs] = {}
    """By job."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(policy=self.policy, lent_bytes=LENT_BYTES, gpus=GPUS)
        self.ended: set[tuple[bytes, str]] = set()
        self.left = False
        self.held = False
        """By the machine's owner."""
        self.suspended: set[int] = set()
        """By number of the process."""
        self.seats = {OWN: (b"master-0", 1), OTHER: (b"master-1", 1)}
        """By owner, who is master of what lasts, and in which epoch."""
        self.orphaned: set[bytes] = set()
        """Owners of lasting jobs whose master is gone."""

    masters = st.sampled_from([b"master-0", b"master-1"])
    jobs = st.sampled_from(["j1", "j2", "j3"])

    @rule(
        master=masters,
        job=jobs,
        indexes=st.lists(st.integers(0, 12), min_size=1, max_size=8, unique=True),
        attempt=st.sampled_from([0, 0, 0, 1, 2]),
        letter=st.sampled_from("pq"),
        timeout_s=st.sampled_from([None, None, 0.5]),
        by_reference=st.sampled_from([False, False, False, True]),
        priority=st.integers(-1, 1),
    )
    def assign(
        self,
        master: bytes,
        job: str,
        indexes: list[int],
        attempt: int,
        letter: str,
        timeout_s: Any,
        by_reference: bool,
        priority: int,
    ) -> None:
        owner, epoch = MASTERS[master], 1
        if job == LASTING:
            master, epoch = self.seats[owner]
        if (owner, job) not in self.ended and not (job == LASTING and owner in self.orphaned):
            arguments = Reference(b"o" * 16, 5, b"h" * 20) if by_reference else Inline(b"arguments")
            self.world.assign(
                master,
                job,
                indexes,
                attempt=attempt,
                letter=letter,
                timeout_s=timeout_s,
                arguments=arguments,
                priority=priority,
                needs=self.needs.get(job, NO_NEEDS),
                epoch=epoch,
                lasting=job == LASTING,
            )

    @rule(master=masters, job=jobs, indexes=st.lists(st.integers(0, 12), max_size=6))
    def ask_back(self, master: bytes, job: str, indexes: list[int]) -> None:
        for report in self.world.step(events.CancelAsked(master, CancelInstructions(job, 1, indexes, True))):
            assert isinstance(report, Returned) and report.index in indexes

    @rule(master=masters, job=jobs, indexes=st.lists(st.integers(0, 12), max_size=6))
    def cancel(self, master: bytes, job: str, indexes: list[int]) -> None:
        for report in self.world.step(events.CancelAsked(master, CancelInstructions(job, 1, indexes))):
            assert not isinstance(report, Returned)

    @rule(master=masters, job=jobs)
    def complete(self, master: bytes, job: str) -> None:
        owner, epoch = MASTERS[master], 1
        if job == LASTING:
            master, epoch = self.seats[owner]
        self._forget(owner, job)
        self.ended.add((owner, job))
        self.world.step(events.JobCompleted(master, TaskComplete(job, epoch)))

    @rule(master=masters)
    def master_goes(self, master: bytes) -> None:
        owner = MASTERS[master]
        for job in ("j1", "j2"):
            self._forget(owner, job)
            self.ended.add((owner, job))
        self.world.step(events.AssignerGone(master))
        if self.seats[owner][0] == master:
            self._orphan(owner)

    @rule(owner=st.sampled_from([OWN, OTHER]))
    def later_master_goes(self, owner: bytes) -> None:
        master, _ = self.seats[owner]
        if master == b"master-2":  # master of nothing else
            self.world.step(events.AssignerGone(master))
            self._orphan(owner)
        else:
            self.master_goes(master)

    @rule(owner=st.sampled_from([OWN, OTHER]))
    def master_passes_on_what_lasts(self, owner: bytes) -> None:
        master, epoch = self.seats[owner]
        self.world.step(events.JobCompleted(master, TaskComplete(LASTING, epoch, passed_on=True)))
        self._orphan(owner)

    def _orphan(self, owner: bytes) -> None:
        """What has begun goes on."""
        self.orphaned.add(owner)
        left = {task.index for task in self._lasting(owner)}
        for key in [key for key in self.world.open if key[:2] == (owner, LASTING) and key[2] not in left]:
            del self.world.open[key]
        assert all(task.begun_s is not None for task in self._lasting(owner))

    def _lasting(self, owner: bytes) -> list[Task]:
        job = self.world.engine.jobs.get((owner, LASTING))
        return [] if job is None else list(job.tasks.values())

    @rule(owner=st.sampled_from([OWN, OTHER]), another=st.booleans())
    def master_of_what_lasts_is_followed(self, owner: bytes, another: bool) -> None:
        """By another node, or by the same one in its next life; before this one hears that it is gone, or after."""
        master, epoch = self.seats[owner]
        if another and owner == OWN:
            master = b"master-2" if master == b"master-0" else b"master-0"
        begun = {task.index for task in self._lasting(owner) if task.begun_s is not None}
        self.seats[owner] = master, epoch + 1
        self.orphaned.discard(owner)
        held = self.world.seek(master, LASTING, epoch + 1)
        assert begun <= set(held) and len(held) == len(set(held))
        assert {task.index for task in self._lasting(owner)} == begun, "what has not begun is placed anew"

    @rule(owner=st.sampled_from([OWN, OTHER]))
    def a_master_of_before_is_not_obeyed(self, owner: bytes) -> None:
        _, epoch = self.seats[owner]
        if owner not in self.orphaned and epoch > 1:
            before = {task.index: task.attempt for task in self._lasting(owner)}
            self.world.step(events.Sought(b"stale", owner, TasksSought(0, LASTING, epoch)))
            assert not self.world.engine.orphans.held(b"stale", owner, LASTING)
            assert {task.index: task.attempt for task in self._lasting(owner)} == before

    @invariant()
    def nobody_waits_for_ever_for_what_has_no_master(self) -> None:
        for owner in self.orphaned:
            if (owner, LASTING) not in self.world.engine.jobs:
                self._forget(owner, LASTING)

    def _forget(self, owner: bytes, job: str) -> None:
        for key in [key for key in self.world.open if key[:2] == (owner, job)]:
            del self.world.open[key]

    @precondition(lambda self: self.world.fetches)
    @rule(result=st.sampled_from([Inline(b"x"), Inline(b"y"), LinkLost("gone")]))
    def fetched(self, result: Any) -> None:
        self.world.step(events.Fetched(self.world.fetches.pop(0), result))

    @precondition(lambda self: any(not process.ready for process in self.world.processes.values()))
    @rule(data=st.data())
    def worker_starts(self, data: st.DataObject) -> None:
        starting = [number for number, process in self.world.processes.items() if not process.ready]
        self.world.start(data.draw(st.sampled_from(starting)))

    @precondition(lambda self: any(not process.ready for process in self.world.processes.values()))
    @rule()
    def worker_does_not_start(self) -> None:
        starting = [number for number, process in self.world.processes.items() if not process.ready]
        self.world.end(starting[0], "no such program")

    @precondition(lambda self: self.world.busy())
    @rule(
        data=st.data(),
        count=st.integers(1, 9),
        elapsed_s=st.sampled_from([1e-5, 1e-5, 0.01, 1e15]),
        fault=st.sampled_from([None, None, Fault(TaskFailed.wire_code, "boom"), Fault(WorkerLost.wire_code, "lie")]),
    )
    def worker_replies(self, data: st.DataObject, count: int, elapsed_s: float, fault: Fault | None) -> None:
        number = data.draw(st.sampled_from(self.world.busy()))
        for report in self.world.reply(number, count, elapsed_s, fault=fault):
            assert not isinstance(report, Finished) or report.fault is None or report.fault.code != WorkerLost.wire_code

    @precondition(lambda self: any(process.ready for process in self.world.processes.values()))
    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        ready = [number for number, process in self.world.processes.items() if process.ready]
        self.world.end(data.draw(st.sampled_from(ready)), "killed by SIGSEGV")

    @precondition(lambda self: self.world.busy())
    @rule()
    def worker_lies(self) -> None:
        self.world.step(events.WorkerReplied(self.world.busy()[0], [events.Reply(10**9, Inline(b"v"))]))

    @precondition(lambda self: self.world.stopping())
    @rule(data=st.data())
    def worker_stops(self, data: st.DataObject) -> None:
        self.world.stands_still(data.draw(st.sampled_from(self.world.stopping())))

    @rule(act=st.sampled_from(["suspend", "suspend", "resume", "kill"]), data=st.data())
    def somebody_acts_on_processes(self, act: Any, data: st.DataObject) -> None:
        processes = self.world.engine.processes
        if there := list(processes):
            numbers = data.draw(st.lists(st.sampled_from(there), max_size=4))
            told = {number for number in numbers if can_be(act, processes[number])}
            self.world.step(events.ActAsked(act, numbers))
            if act == "suspend":
                self.suspended |= told
            else:
                self.suspended -= told

    @rule()
    def packages_are_installed(self) -> None:
        self.world.step(events.Installed())

    @rule(act=st.sampled_from(["hold", "hold", "hand back", "go on"]))
    def owner_comes_or_goes(self, act: Any) -> None:
        if (act == "hold") == self.held or (act == "go on" and not self.held):
            return
        begun = len([task for task in self.world.engine.processes.values() if task.begun_s is not None])
        reports = self.world.step(events.OwnerSaid(act, "its owner is using it"))
        self.held = act != "go on"
        returned = [report for report in reports if isinstance(report, Returned)]
        assert all(report.code == NotLent.wire_code for report in returned)
        assert sum(report.begun for report in returned) <= (begun if act == "hand back" else 0)

    @invariant()
    def nothing_runs_while_the_owner_is_there(self) -> None:
        """Here everything is from elsewhere."""
        if self.held:
            running = [one for one in self.world.processes.values() if one.queue and not one.killed]
            assert all(one.stopped for one in running)
            states = {task.process.state.name for task in self.world.engine.processes.values()}
            assert states <= {"SUSPENDED"} | ({"READY", "RUNNING", "WAITING"} if self._being_ended() else set())

    @invariant()
    def only_what_somebody_has_suspended_stands_still_while_nobody_is_there(self) -> None:
        for number, task in self.world.engine.processes.items():
            if not (self.held or (task.worker is not None and task.worker.dying)):
                assert (task.process.state.name == "SUSPENDED") == (number in self.suspended)

    def _being_ended(self) -> bool:
        return any(worker.dying for worker in self.world.engine.pool.workers.values())

    @rule(spec=st.sampled_from(["fcfs", "sjf", "priority", "rr", "mlfq", "fair"]))
    def policy_changes(self, spec: str) -> None:
        if self.policy != "fcfs":
            self.world.engine.change_policy(self.world.now_s, make(spec))
            self.world.step(events.Tick())

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.06, 0.6, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def deadline_comes(self) -> None:
        deadline_s = self.world.engine.next_deadline_s(self.world.now_s)
        if deadline_s < math.inf:
            assert deadline_s > self.world.now_s, "a deadline that has passed was acted on"
            self.world.now_s = deadline_s
            self.world.step(events.Tick())

    @rule(chance=st.integers(0, 30))
    def node_leaves(self, chance: int) -> None:
        if not chance:
            self.world.step(events.HandBack())

    @invariant()
    def slots_are_not_exceeded(self) -> None:
        """What stands still holds none."""
        running = [one for one in self.world.processes.values() if one.queue and (one.stopping or not one.stopped)]
        assert len(running) <= self.world.slots
        assert len([one for one in self.world.processes.values() if not one.killed]) <= 3 * 30

    @invariant()
    def nothing_is_had_twice(self) -> None:
        """As the processes have it that live: a killed one has what it had until it is gone."""
        at_work = [(number, one) for number, one in self.world.processes.items() if one.queue]
        gpus = [gpu for _, one in at_work for gpu in one.gpus]
        assert len(gpus) == len(set(gpus)) <= GPUS
        workers = self.world.engine.pool.workers
        cores = [core for number, _ in at_work if workers[number].active for core in workers[number].cores]
        assert len(cores) == len(set(cores)) <= self.world.slots
        asked = [self.needs.get(one.owner_and_job[1], NO_NEEDS) for _, one in at_work if one.owner_and_job]
        assert sum(needs.memory_bytes for needs in asked) <= LENT_BYTES
        for number, one in at_work:
            if self.needs and one.ready and not one.killed and workers[number].goes:
                assert one.cores == workers[number].cores, "whoever runs does so where it may"
                assert one.owner_and_job is not None
                needs = self.needs.get(one.owner_and_job[1], NO_NEEDS)
                assert (len(one.cores), len(one.gpus)) == (needs.cpus, needs.gpus)

    def teardown(self) -> None:
        """Without further faults everything that is owed comes."""
        world = self.world
        for owner in sorted(self.orphaned):
            self.master_of_what_lasts_is_followed(owner, True)
        if self.held:
            world.step(events.OwnerSaid("go on", ""))
        for _ in range(2_000):
            if not world.open:
                break
            for number in [number for number, process in world.processes.items() if process.killed]:
                world.end(number)
            while world.fetches:
                world.step(events.Fetched(world.fetches.pop(0), Inline(b"x")))
            world.ready()
            world.step(events.ActAsked("resume", list(world.engine.processes)))
            for number in world.stopping():
                world.stands_still(number)
            for number in world.busy():
                world.reply(number)
            world.advance(0.001 if world.busy() else 40.0)
        assert not world.open, "everything assigned is confirmed in the end"
        assert not world.engine.unfinished
        for number in list(world.processes):
            world.end(number)
        load = world.engine.load()
        assert (load.busy, load.gpus_free, world.grants.free_bytes) == (0, GPUS, LENT_BYTES), "nothing has leaked"


class PreemptiveExecution(ExecutionThroughTime):
    policy = "rr:time_quantum_ms=20"


class ExecutionByPriority(ExecutionThroughTime):
    policy = "priority"


class ExecutionWithNeeds(ExecutionThroughTime):
    policy = "rr:time_quantum_ms=20"
    needs = {"j1": Needs(cpus=2), "j2": Needs(memory_bytes=2), "j3": Needs(cpus=1, memory_bytes=1, gpus=1)}


TestExecutionWithNeeds = ExecutionWithNeeds.TestCase
TestPreemptiveExecution = PreemptiveExecution.TestCase
TestExecutionByPriority = ExecutionByPriority.TestCase
TestExecutionThroughTime = ExecutionThroughTime.TestCase
TestExecutionThroughTime.settings = settings(max_examples=settings().max_examples * 3 // 2, stateful_step_count=40)
