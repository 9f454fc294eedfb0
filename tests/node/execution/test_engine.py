"""The execution engine through time: nothing is lost, nothing is confirmed twice, no sandbox is shared."""

from __future__ import annotations

import msgspec
import pytest
from potluck.node.execution import events
from potluck.overlay.config import Execution
from potluck.overlay.errors import (
    Cancelled,
    LinkLost,
    NotFound,
    NoWorker,
    SandboxUnavailable,
    TaskTimedOut,
    WorkerLost,
)
from potluck.overlay.parcels import seal
from potluck.overlay.wire.work import (
    CancelInstructions,
    Finished,
    Inline,
    Lineage,
    Reference,
    Returned,
    Started,
    TaskComplete,
)

from .engine_world import OTHER, OWN, World


@pytest.fixture
def world() -> World:
    one = World()
    one.ready()
    return one


M = b"master-0"


def test_a_repeated_assignment_is_answered_and_not_run_again(world: World) -> None:
    world.assign(M, "j", [1])
    (finished,) = world.reply(world.busy()[0])
    assert world.assign(M, "j", [1]) == [finished]
    assert not world.busy()


def test_a_repeated_assignment_of_a_running_task_says_that_it_runs(world: World) -> None:
    world.assign(M, "j", [1])
    assert world.assign(M, "j", [1]) == []
    for told in (world.advance(1.0), world.assign(M, "j", [1])):
        assert told == [Started(1, 0, ran_s=pytest.approx(1.0))]


def test_short_tasks_are_reported_once_and_long_ones_are_announced(world: World) -> None:
    world.assign(M, "j", [1, 2])
    first, second = world.busy()
    assert world.advance(0.04) == []
    assert [type(report) for report in world.reply(first)] == [Finished]
    assert world.advance(0.011) == [Started(2, 0, ran_s=pytest.approx(0.051))]
    assert [type(report) for report in world.reply(second)] == [Finished]


def test_short_tasks_are_handed_ahead_and_long_ones_are_not(world: World) -> None:
    world.assign(M, "j", list(range(50)))
    worker = world.busy()[0]
    assert len(world.processes[worker].queue) == 1
    world.reply(worker, elapsed_s=1e-5)
    assert len(world.processes[worker].queue) == 8
    world.assign(M, "k", list(range(50)), letter="q")
    for _ in range(100):
        for busy in world.busy():
            world.reply(busy, elapsed_s=0.1)
            assert len(world.processes[busy].queue) <= 8
        world.now_s += 0.1
    assert all(len(process.queue) <= 1 for process in world.processes.values())


def test_what_waits_behind_a_long_task_moves_to_free_slots(world: World) -> None:
    world.assign(M, "j", list(range(2)))
    one, other = world.busy()
    world.reply(one), world.reply(other)
    world.assign(M, "j", list(range(2, 10)))
    assert {len(world.processes[number].queue) for number in (one, other)} == {4}
    world.reply(other, 4)
    assert len(world.processes[one].queue) == 4
    world.advance(0.06)
    assert len(world.processes[one].queue) == 1
    assert len(world.processes[other].queue) == 3


def test_a_timeout_ends_the_running_task_and_spares_those_behind_it(world: World) -> None:
    world.assign(M, "j", list(range(2)))
    one, other = world.busy()
    world.reply(one), world.reply(other)
    world.assign(M, "j", list(range(2, 8)), timeout_s=0.04)
    world.now_s = world.engine.next_deadline_s(world.now_s)
    world.advance(0.0)
    world.now_s += 0.04
    world.advance(0.0)
    assert world.processes[one].killed and world.processes[other].killed
    reports = world.end(one) + world.end(other)
    faults = [report.fault.code for report in reports if isinstance(report, Finished)]
    assert faults == [TaskTimedOut.wire_code] * 2
    world.ready()
    for number in world.busy():
        world.reply(number, 9)
    assert not world.open


def test_a_dead_worker_is_named_for_the_task_it_ran_only(world: World) -> None:
    world.assign(M, "j", [0, 1])
    one, other = world.busy()
    world.reply(one), world.reply(other)
    world.assign(M, "j", list(range(2, 8)))
    (report,) = world.end(one, "killed by SIGSEGV")
    assert report.fault.code == WorkerLost.wire_code
    assert "SIGSEGV" in report.fault.message
    assert (report.stdout, report.stderr) == (b"out", b"err")
    world.ready()
    while world.busy():
        for number in world.busy():
            assert all(report.fault is None for report in world.reply(number))
    assert not world.open


def test_cancelling_confirms_the_unstarted_at_once_and_the_running_when_it_is_gone(world: World) -> None:
    world.assign(M, "j", [0, 1, 2, 3])
    reports = world.step(events.CancelAsked(M, CancelInstructions("j", 1, [0, 3])))
    assert [(report.index, report.fault.code) for report in reports] == [(3, Cancelled.wire_code)]
    (killed,) = [number for number, process in world.processes.items() if process.killed]
    (report,) = world.end(killed)
    assert (report.index, report.fault.code) == (0, Cancelled.wire_code)


def test_what_is_asked_back_is_returned_unless_it_has_begun(world: World) -> None:
    world.assign(M, "j", list(range(4)))
    reports = world.step(events.CancelAsked(M, CancelInstructions("j", 1, [0, 2, 3, 9], unbegun_only=True)))
    assert [(type(report), report.index) for report in reports] == [(Returned, 2), (Returned, 3)]
    assert {report.code for report in reports} == {Cancelled.wire_code}
    assert not [number for number, process in world.processes.items() if process.killed]
    assert sorted(report.index for number in world.busy() for report in world.reply(number)) == [0, 1]
    assert not world.engine.unfinished
    world.assign(M, "j", [2])
    assert [report.index for report in world.reply(world.busy()[0])] == [2], "it may come again"


def test_the_work_of_others_needs_a_sandbox_that_holds() -> None:
    world = World(places=(False,))
    (report,) = world.assign(b"master-1", "j", [1])
    assert (type(report), report.code) == (Returned, SandboxUnavailable.wire_code)
    assert world.assign(M, "j", [1]) == []
    mixed = World(places=(False, True))
    mixed.assign(b"master-1", "j", [1])
    mixed.assign(M, "j", [1])
    mixed.ready()
    assert {(mixed.processes[n].sandbox, mixed.processes[n].owner_and_job[0]) for n in mixed.busy()} == {
        (1, OTHER),
        (0, OWN),
    }


def test_what_an_owners_node_gives_out_for_somebody_else_runs_as_the_work_of_others() -> None:
    """A guest's task has submitted it there."""
    lineage = Lineage("above/0", "above", 1)
    bare = World(places=(False,))
    (report,) = bare.assign(M, "j", [1], owner=OTHER, lineage=lineage)
    assert (type(report), report.code) == (Returned, SandboxUnavailable.wire_code)
    mixed = World(places=(False, True))
    mixed.assign(M, "guests", [1], owner=OTHER, lineage=lineage)
    mixed.assign(M, "ours", [1], owner=OWN, lineage=lineage)
    mixed.ready()
    assert sorted(mixed.processes[number].sandbox for number in mixed.busy()) == [0, 1]
    mixed.assign(b"master-1", "lies", [1], owner=OWN, lineage=lineage)
    assert mixed.engine.jobs[OTHER, "lies"].sandbox == 1, "whose it is said to be adds nothing"


def test_sandboxes_are_shared_by_a_job_and_what_its_tasks_submit_and_by_nobody_else() -> None:
    world = World(slots=1)
    world.assign(M, "root", [0])
    world.ready()
    (first,) = world.busy()
    world.reply(first)
    world.assign(M, "sub", [0], lineage=Lineage("root/0", "root", 1))
    assert world.busy() == [first]
    world.reply(first)
    world.assign(M, "other", [0], lineage=Lineage("root/0", "another root", 1))
    assert first not in world.busy()


def test_a_node_without_slots_returns_everything() -> None:
    world = World(slots=0)
    (report,) = world.assign(M, "j", [1])
    assert (type(report), report.code) == (Returned, NoWorker.wire_code)
    assert not world.processes


def test_a_program_that_is_not_here_is_asked_for(world: World) -> None:
    (report,) = world.assign(M, "j", [1], body=None)
    assert (type(report), report.code) == (Returned, NotFound.wire_code)
    assert world.assign(M, "j", [1]) == []
    world.reply(world.busy()[0])
    assert world.assign(M, "j", [2], body=None) == []
    assert world.busy()


def test_an_epoch_that_is_over_is_not_obeyed(world: World) -> None:
    world.assign(M, "j", [1], epoch=3)
    world.assign(M, "j", [2], epoch=2)
    assert sum(len(process.queue) for process in world.processes.values()) == 1
    assert world.step(events.CancelAsked(M, CancelInstructions("j", 2, [1]))) == []
    world.step(events.JobCompleted(M, TaskComplete("j", 2)))
    assert world.busy()


def test_another_owner_can_neither_answer_for_nor_touch_a_job_of_the_same_name(world: World) -> None:
    world.assign(M, "j", [1])
    world.step(events.CancelAsked(b"master-1", CancelInstructions("j", 9, [1])))
    world.step(events.JobCompleted(b"master-1", TaskComplete("j", 9)))
    assert [report.index for report in world.reply(world.busy()[0])] == [1]


def test_a_leaving_node_hands_back_what_has_not_begun(world: World) -> None:
    world.assign(M, "j", list(range(5)))
    reports = world.step(events.HandBack())
    assert sorted(report.index for report in reports) == [2, 3, 4]
    assert {type(report) for report in reports} == {Returned}
    (report,) = world.assign(M, "j", [9])
    assert (type(report), report.code) == (Returned, NoWorker.wire_code)
    for number in world.busy():
        world.reply(number)
    assert not world.engine.unfinished


def test_a_sandbox_that_never_starts_gives_the_work_back_and_rests() -> None:
    world = World(slots=1)
    world.assign(M, "j", [1])
    starts, reports = 0, []
    while not reports:
        for number in list(world.processes):
            starts += 1
            reports += world.end(number, "out of memory")
        if not reports:
            world.advance(world.engine.next_deadline_s(world.now_s) - world.now_s)
    assert reports == [Returned(1, 0, SandboxUnavailable.wire_code, "out of memory")]
    assert starts <= 6
    (report,) = world.assign(M, "j", [2])
    assert report.code == SandboxUnavailable.wire_code
    world.advance(40)
    assert world.assign(M, "j", [3]) == []
    world.ready()
    assert world.busy()


def test_what_waits_goes_on_with_the_workers_that_there_are_when_no_other_can_be_started() -> None:
    world = World(slots=3)
    world.assign(M, "j", [1, 2, 3])
    first = world.starting()[0]
    world.start(first)
    reports = []
    for _ in range(12):
        world.advance(world.engine.next_deadline_s(world.now_s) - world.now_s)
        for number in world.starting():
            reports += world.end(number, "too many open files")
    assert reports == []
    assert world.assign(M, "j", [4]) == [], "nor is anything new refused"
    (refused,) = world.assign(M, "another job", [1])
    assert refused.code == SandboxUnavailable.wire_code
    done = []
    while world.busy():
        done += [report.index for report in world.reply(first) if report.index not in done]
    assert sorted(done) == [1, 2, 3, 4]


def test_a_pickled_result_is_passed_on_only_where_pickles_are_opened(world: World) -> None:
    world.assign(b"master-1", "j", [1])
    (report,) = world.reply(world.busy()[0], pickled=True)
    assert report.fault is not None and report.value is None
    world.assign(b"master-1", "k", [1], trust_results=True)
    (report,) = world.reply(world.busy()[0], pickled=True)
    assert report.fault is None and report.pickled


def test_a_job_that_is_complete_leaves_no_worker_behind(world: World) -> None:
    world.assign(M, "j", [1, 2])
    leased = world.busy()
    world.reply(leased[0])
    world.step(events.JobCompleted(M, TaskComplete("j", 1)))
    assert all(world.processes[number].killed for number in leased)
    assert not world.engine.unfinished


def test_spares_wait_for_every_slot_and_are_replaced_when_leased() -> None:
    world = World(slots=3, config=msgspec.structs.replace(Execution(), spares_max=2))
    world.ready()
    assert len(world.processes) == 2
    world.assign(M, "j", [1])
    assert len(world.processes) == 3


def test_a_worker_that_other_packages_have_made_old_may_fail_to_start() -> None:
    world = World(slots=1)
    world.assign(M, "j", [1])
    reports = []
    while not reports:
        world.step(events.Installed())
        (number,) = [number for number in world.starting() if not world.processes[number].killed]
        reports = world.end(number, "no such program")
        world.advance(0.0 if reports else 40.0)
    assert [report.code for report in reports] == [SandboxUnavailable.wire_code]


@pytest.mark.parametrize("how", ["nobody waits", "it is moved"])
def test_what_has_begun_has_run_here_however_it_is_broken_off(world: World, how: str) -> None:
    world.assign(M, "j", [1, 2, 3])
    world.advance(2.0)
    begun = [number for number, task in world.engine.processes.items() if task.begun_s is not None]
    if how == "it is moved":
        world.step(events.ActAsked("migrate", begun))
        for number in [number for number, process in world.processes.items() if process.killed]:
            world.end(number)
    else:
        world.step(events.JobCompleted(M, TaskComplete("j", 1)))
    assert set(world.ran) == set(begun)
    for report in world.ran.values():
        assert report.fault is not None and report.fault.code == Cancelled.wire_code
        assert report.elapsed_s == 2.0


def test_spares_that_are_killed_are_replaced_after_a_rest_and_no_task_is_returned_for_it() -> None:
    world = World(slots=4)
    world.ready()
    for number in list(world.processes):
        world.end(number)
    assert world.assign(M, "j", [1]) == []
    assert not world.starting(), "not without rest"
    world.advance(0.6)
    world.ready()
    assert [type(report) for report in world.reply(world.busy()[0])] == [Finished]


def test_one_spare_starts_at_a_time_and_none_beside_a_worker_that_is_waited_for() -> None:
    world = World(slots=3, config=msgspec.structs.replace(Execution(), spares_max=2))
    (first,) = world.starting()
    world.assign(M, "j", [1, 2])
    assert len(world.starting()) == 2, "a task has taken the one that starts, for the other one more does"
    world.start(first)
    assert len(world.starting()) == 1
    world.ready()
    assert len(world.processes) == 4, "both spares are there"


AWAY = Reference(b"o" * 16, 5, bytes(20))


def test_a_program_is_loaded_after_what_it_needs_and_once_that_is_here(world: World) -> None:
    world.assign(M, "j", [], letter="L", body=AWAY)
    world.assign(M, "j", [], letter="M")
    world.assign(M, "j", [1, 2], libraries="LM")
    assert not world.busy(), "one of the libraries is still on its way"
    world.step(events.Fetched(world.fetches[0], Inline(b"files")))
    for worker in world.busy():
        process = world.processes[worker]
        assert (len(process.loaded), process.libraries) == (3, 2)
        assert process.queue[0].program == process.loaded[-1]


def test_a_library_that_cannot_be_had_returns_its_tasks_and_is_asked_for_again(world: World) -> None:
    world.assign(M, "j", [], letter="L", body=AWAY)
    world.assign(M, "j", [1], libraries="L")
    (returned,) = world.step(events.Fetched(world.fetches[0], LinkLost("gone")))
    assert isinstance(returned, Returned)
    (missing,) = world.assign(M, "j", [1], libraries="L", attempt=1)
    assert isinstance(missing, Returned) and missing.code == NotFound.wire_code
    world.assign(M, "j", [], letter="L")
    world.assign(M, "j", [1], libraries="L", attempt=1)
    assert len(world.busy()) == 1


def test_what_is_only_asked_after_is_not_run(world: World) -> None:
    world.assign(M, "j", [1])
    world.reply(world.busy()[0])
    known, unknown = world.assign(M, "j", [1, 2], known_only=True)
    assert isinstance(known, Finished) and known.fault is None
    assert isinstance(unknown, Finished) and unknown.fault is not None
    assert unknown.fault.code == WorkerLost.wire_code
    assert not world.busy()


def test_long_arguments_are_let_go_after_the_answer_has_left(world: World) -> None:
    parcel = seal(Inline(bytes(5 << 20)))
    world.assign(M, "j", [1], arguments=Reference(b"o" * 16, parcel.size_bytes, b"h" * 20))
    world.step(events.Fetched(world.fetches.pop(), parcel))
    assert not world.let_go
    assert len(world.reply(world.busy()[0])) == 1
    assert world.let_go == [(parcel, 1)]
