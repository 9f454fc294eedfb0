"""A master in the situations that it was made for, one by one."""

from __future__ import annotations

from random import Random

import pytest
from potluck.node.jobs.effects import Assign, CancelAt, Release
from potluck.node.jobs.master import Master
from potluck.overlay.config import Jobs
from potluck.overlay.errors import BadProgram, NotFound, NotLent, NoWorker, SandboxUnavailable, Unavailable, WorkerLost
from potluck.overlay.wire.capabilities import LoadReport
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.peer import PEER
from potluck.overlay.wire.work import CancelInstructions, Inline, Program, Returned, Started, TaskComplete

from .masters import CONFIG, GRACE_S, IDS, PROGRAMS, finished, placed, report_of, submitted, worker


def test_a_link_that_comes_back_is_given_everything_again_and_no_attempt_is_counted() -> None:
    master = Master(CONFIG, "3.11", Random(0))
    master.worker_up(0.0, worker(IDS[0]))
    assert placed(submitted(master, 2)) == {IDS[0]: [0, 1]}
    again = master.worker_up(1.0, worker(IDS[0]))
    assert placed(again) == {IDS[0]: [0, 1]}
    assert all(
        one.attempt == 0 for effect in again if isinstance(effect, Assign) for one in effect.assignment.instructions
    )


def test_a_task_is_given_up_after_one_try_and_its_retries() -> None:
    master = Master(CONFIG, "3.11", Random(0))
    master.worker_up(0.0, worker(IDS[0], 0))
    submitted(master, 1, retries=3)
    for boot in range(1, 5):
        told = finished(master.worker_up(float(boot), worker(IDS[0], boot)))
        assert bool(told) == (boot == 4)
    assert told[0].fault is not None
    assert told[0].fault.code == WorkerLost.wire_code
    assert "4 tries" in told[0].fault.message


def test_the_late_answer_of_a_node_given_up_still_counts_and_spares_the_second_run() -> None:
    master = Master(CONFIG, "3.11", Random(0))
    master.worker_up(0.0, worker(IDS[0]))
    submitted(master, 1)
    master.worker_gone(1.0, IDS[0], "died")
    assert placed(master.worker_up(1.0, worker(IDS[1]))) == {IDS[1]: [0]}
    effects = master.confirmed(2.0, IDS[0], "j", 1, [report_of("ok", 0, 0, 1.0)])
    assert len(finished(effects)) == 1
    assert [effect.node_id for effect in effects if isinstance(effect, CancelAt)] == [IDS[1]]
    assert finished(master.confirmed(3.0, IDS[1], "j", 1, [report_of("ok", 0, 1, 1.0)])) == []


@pytest.mark.parametrize("elapsed_s", [0.0, 5e-324, 1e15])
def test_a_worker_that_lies_about_its_times_stops_nobody(elapsed_s: float) -> None:
    master = Master(CONFIG, "3.11", Random(0))
    master.worker_up(0.0, worker(IDS[0]))
    submitted(master, 50)
    done = 0
    while held := master.jobs["j"].at[IDS[0]]:
        reports = [report_of("ok", index, 0, elapsed_s) for index in sorted(held)]
        done += len(finished(master.confirmed(1.0, IDS[0], "j", 1, reports)))
        master.check()
    assert done == 50


def test_waiting_for_a_node_starts_anew_with_every_wait() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    submitted(master, 1)
    master.cancel(1.0, "j", [0])
    master.submit(4.9, "j", PROGRAMS["function"], [TaskSpec(1, Inline(b"x"))])
    assert finished(master.tick(GRACE_S + 0.1)) == []
    assert len(finished(master.tick(4.9 + GRACE_S))) == 1


def test_what_an_owner_does_not_lend_for_now_is_waited_for_and_costs_no_try() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[1]))
    submitted(master, 1, retries=0)
    for begun in (False, True):
        returned = Returned(
            0, master.jobs["j"].tasks[0].attempt, NotLent.wire_code, "its owner is using it", begun=begun
        )
        assert not placed(master.confirmed(1.0, IDS[1], "j", 1, [returned]))
        (waiting,) = master.explain(2.0, "j", 10)
        assert waiting.lacking == (("own", "its owner is using it"),)
        assert finished(master.tick(1_000.0)) == [], "as long as it takes"
        assert placed(master.load_reported(1_001.0, IDS[1], LoadReport(slots=1))) == {IDS[1]: [0]}
    report = report_of("ok", 0, master.jobs["j"].tasks[0].attempt, 0.1)
    assert len(finished(master.confirmed(1_002.0, IDS[1], "j", 1, [report]))) == 1


def test_where_no_sandbox_could_be_started_one_is_asked_for_again_after_a_while() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[1]))
    submitted(master, 1)
    refusal = Returned(0, 0, SandboxUnavailable.wire_code, "too many open files")
    assert not placed(master.confirmed(0.0, IDS[1], "j", 1, [refusal]))
    (told,) = finished(master.tick(GRACE_S))
    assert told.fault is not None and told.fault.code == NoWorker.wire_code
    assert not placed(master.submit(GRACE_S, "j", PROGRAMS["function"], [TaskSpec(1, Inline(b"x"))]))
    assert placed(master.tick(10.0)) == {IDS[1]: [1]} and not finished(master.tick(10.0))


def test_what_does_not_arrive_is_sent_again_for_as_long_as_it_takes_and_holds_up_nothing_else() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[0]))
    submitted(master, 30, retries=0)
    now_s, tries, done = 0.0, 0, 0
    while now_s < 1_000.0:
        for index in sorted(master.jobs["j"].at.get(IDS[0], ())):
            report = report_of("unfetched" if index == 0 else "ok", index, 0, 0.1)
            effects = master.confirmed(now_s, IDS[0], "j", 1, [report])
            tries += index == 0
            done += len(finished(effects))
        now_s += 0.5
        assert finished(master.tick(now_s)) == []
        assert done == 29 or now_s < 10.0
    assert 1_000 / 31 <= tries <= 60, "soon at first, then every half a minute"
    master.explain(now_s, "j", 10)


def test_why_a_task_rests_is_told() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[0]))
    submitted(master, 1)
    assert not placed(master.confirmed(1.0, IDS[0], "j", 1, [report_of("unfetched", 0, 0, 0.0)]))
    (waiting,) = master.explain(1.0, "j", 10)
    assert waiting.reason == "it could not be begun at here: an object did not arrive; it is tried again in 0.5 s"
    assert placed(master.tick(1.5)) == {IDS[0]: [0]}


def test_a_task_outlasts_as_many_nodes_as_leave_with_it() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    effects = submitted(master, 1)
    for number in range(40):
        node_id = IDS[number % 2]
        effects = master.worker_up(0.0, worker(node_id, number))
        assert placed(effects) == {node_id: [0]}
        leaves = Returned(0, master.jobs["j"].tasks[0].attempt, NoWorker.wire_code, "the node leaves", begun=True)
        assert finished(master.confirmed(1.0, node_id, "j", 1, [leaves])) == []
        assert finished(master.worker_gone(1.0, node_id, "left")) == []


def test_higher_priority_goes_first_and_equal_ones_by_age() -> None:
    master = Master(CONFIG, "3.11", Random(0))
    for job, priority in (("low", 0), ("old", 1), ("new", 1)):
        master.open(job, JobOptions(priority=priority))
        master.submit(0.0, job, PROGRAMS["function"], [TaskSpec(0, Inline(b"x"))])
    effects = master.worker_up(1.0, worker(IDS[0]))
    assert [effect.assignment.job for effect in effects if isinstance(effect, Assign)] == ["old", "new"]


def test_cancelling_more_than_one_message_may_name_takes_several() -> None:
    master = Master(Jobs(window_max=1 << 20), "3.11", Random(0))
    master.worker_up(0.0, worker(IDS[0]))
    submitted(master, 1)
    master.confirmed(0.0, IDS[0], "j", 1, [report_of("ok", 0, 0, 0.0)])
    count = 70_000
    master.submit(0.0, "j", PROGRAMS["function"], [TaskSpec(n, Inline(b"x")) for n in range(1, count + 1)])
    effects = [effect for effect in master.cancel(1.0, "j", range(1, count + 1)) if isinstance(effect, CancelAt)]
    assert sum(len(effect.message.indexes) for effect in effects) == count
    for effect in effects:
        assert PEER.decode(PEER.encode(effect.message)[5:]) == effect.message


def test_what_cannot_be_submitted_is_said() -> None:
    master = Master(CONFIG, "3.11", Random(0))
    with pytest.raises(NotFound, match="no job"):
        master.submit(0.0, "j", PROGRAMS["function"], [])
    master.open("j", JobOptions())
    with pytest.raises(NotFound, match="body"):
        master.submit(0.0, "j", Program(bytes(32), "function"), [])
    assert master.cancel(0.0, "absent", [1]) == []
    assert master.close(0.0, "absent") == []
    assert master.worker_gone(0.0, IDS[0], "died") == []
    assert issubclass(NoWorker, Unavailable)


def test_what_fails_rests_twice_as_long_each_time_and_then_its_error_is_told() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[0]))
    (assigned,) = submitted(master, 1, error_retries=2, backoff_s=1.0)
    assert isinstance(assigned, Assign)
    now_s = 0.0
    for attempt, rest_s in ((0, 1.0), (1, 2.0)):
        assert master.confirmed(now_s, IDS[0], "j", 1, [report_of("error", 0, attempt, 0.1)]) == []
        assert master.tick(now_s + rest_s - 0.01) == []
        (waiting,) = master.explain(now_s, "j", 1)
        failed = f"it failed at here, try {attempt + 1} of 3 (ValueError)"
        assert waiting.reason == f"{failed}; it is tried again in {rest_s} s"
        now_s += rest_s
        (again,) = master.tick(now_s)
        assert isinstance(again, Assign)
        assert again.assignment.instructions[0].attempt == attempt + 1
    (told,) = finished(master.confirmed(now_s, IDS[0], "j", 1, [report_of("error", 0, 2, 0.1)]))
    assert told.fault is not None and told.fault.message == "ValueError"


@pytest.mark.parametrize("how", ["its worker", "its node", "its node's memory"])
def test_what_runs_at_most_once_is_lost_with(how: str) -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[0]))
    master.worker_up(0.0, worker(IDS[1]))
    (assigned,) = submitted(master, 1, at_most_once=True, on="own")
    assert isinstance(assigned, Assign) and not assigned.assignment.known_only
    if how == "its node":
        effects = master.worker_gone(1.0, IDS[1], "died")
    else:
        if how == "its node's memory":
            (asked,) = master.worker_up(1.0, worker(IDS[1]))
            assert isinstance(asked, Assign) and asked.assignment.known_only
        effects = master.confirmed(1.0, IDS[1], "j", 1, [report_of("lost", 0, 0, 0.0)])
    (told,) = finished(effects)
    assert told.fault is not None and "not to be run twice" in told.fault.message
    assert not master.jobs["j"].tasks


def test_who_confirms_what_is_over_is_told_that_it_is() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    over = Release(IDS[1], TaskComplete("gone", 3))
    assert master.confirmed(0.0, IDS[1], "gone", 3, []) == [over]


def test_a_worker_that_was_held_for_dead_is_told_when_the_job_is_over() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    for node_id in IDS[:2]:
        master.worker_up(0.0, worker(node_id))
    submitted(master, 1, on="own")
    master.worker_gone(1.0, IDS[1], "died")
    master.worker_up(2.0, worker(IDS[1]))
    master.confirmed(2.0, IDS[1], "j", 1, [])
    assert Release(IDS[1], TaskComplete("j", 1)) in master.close(3.0, "j")


def test_a_worker_that_was_held_for_dead_is_told_what_it_runs_in_vain() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    for node_id in IDS[:2]:
        master.worker_up(0.0, worker(node_id))
    submitted(master, 2, on="own")
    master.worker_gone(1.0, IDS[1], "died")
    master.cancel(1.5, "j", [0])
    master.worker_up(2.0, worker(IDS[1]))
    effects = master.confirmed(2.0, IDS[1], "j", 1, [Started(0, 0), Started(1, 0)])
    assert [one.message.indexes for one in effects if isinstance(one, CancelAt)] == [[0]]


def test_a_node_that_lacks_a_package_is_named_with_it_and_is_asked_for_other_functions() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[0]))
    assert placed(submitted(master, 2, form="function")) == {IDS[0]: [0, 1]}
    lacks = [Returned(index, 0, BadProgram.wire_code, "it lacks the Python package numpy") for index in range(2)]
    assert not placed(master.confirmed(1.0, IDS[0], "j", 1, lacks))
    plain = Program(bytes([77]) * 32, "function", body=Inline(b"body"))
    assert placed(master.submit(1.0, "j", plain, [TaskSpec(2, Inline(b""))])) == {IDS[0]: [2]}
    (fault,) = {report.fault.message for report in finished(master.tick(1.0 + GRACE_S)) if report.fault}
    assert fault == "no node can run this: here: it lacks the Python package numpy"
    assert placed(master.worker_up(9.0, worker(IDS[0], 1))) == {IDS[0]: [2]}, "its next life may have it"


def test_a_callable_needs_the_python_that_has_pickled_it() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[0]))
    master.worker_up(0.0, worker(IDS[1]))
    master.open("j", JobOptions())
    newer = Program(bytes([78]) * 32, "callable", body=Inline(b"body"), python="3.12")
    assert placed(master.submit(0.0, "j", newer, [TaskSpec(0, Inline(b""))])) == {IDS[1]: [0]}


def long_window(**options: object) -> Master:
    """One node holds four short tasks, and runs one; another has come that has nothing to do."""
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[1]))
    submitted(master, 1, **options)
    master.confirmed(0.0, IDS[1], "j", 1, [report_of("ok", 0, 0, 0.001)])
    more = [TaskSpec(n, Inline(b"x")) for n in range(1, 5)]
    assert placed(master.submit(0.0, "j", PROGRAMS["function"], more)) == {IDS[1]: [1, 2, 3, 4]}
    assert not placed(master.worker_up(0.0, worker(IDS[0])))
    return master


def test_what_waits_at_one_node_is_asked_back_for_another_that_has_nothing_to_do() -> None:
    master = long_window(at_most_once=True)
    assert master.tick(0.5) == [CancelAt(IDS[1], CancelInstructions("j", 1, [3, 4], unbegun_only=True))]
    assert master.tick(1.0) == [], "it is asked once"
    back = [report_of("recalled", index, 0, 0.0) for index in (3, 4)]
    given = placed(master.confirmed(1.0, IDS[1], "j", 1, back))
    assert {node_id: sorted(indexes) for node_id, indexes in given.items()} == {IDS[0]: [3, 4]}
    assert finished(master.confirmed(2.0, IDS[1], "j", 1, [report_of("ok", 2, 0, 1.0)])), "what has begun goes on there"
    master.check()


@pytest.mark.parametrize("of_this_master", [True, False])
def test_the_only_task_of_a_job_is_asked_back_where_others_are_before_it(of_this_master: bool) -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[1]))
    submitted(master, 1)
    master.confirmed(0.0, IDS[1], "j", 1, [report_of("ok", 0, 0, 0.001)])
    if of_this_master:
        master.open("other", JobOptions())
        master.submit(0.0, "other", PROGRAMS["function"], [TaskSpec(0, Inline(b"x"))])
    assert placed(master.submit(0.0, "j", PROGRAMS["function"], [TaskSpec(1, Inline(b"x"))])) == {IDS[1]: [1]}
    master.worker_up(0.0, worker(IDS[0]))
    master.load_reported(0.1, IDS[1], LoadReport(1, busy=1, queued=1))
    if of_this_master:
        master.confirmed(0.1, IDS[1], "other", 1, [report_of("started", 0, 0, 0.0)])
    assert master.tick(0.5) == [CancelAt(IDS[1], CancelInstructions("j", 1, [1], unbegun_only=True))]
    assert placed(master.confirmed(0.6, IDS[1], "j", 1, [report_of("recalled", 1, 0, 0.0)])) == {IDS[0]: [1]}


def test_what_waits_for_its_sub_tasks_leaves_its_place_to_another_job() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    parent = worker(IDS[1])
    master.worker_up(0.0, parent)
    slots = parent.slots
    submitted(master, 2 * slots)
    master.confirmed(0.0, IDS[1], "j", 1, [report_of("started", index, 0, 0.0) for index in range(slots)])
    assert placed(master.load_reported(0.1, IDS[1], LoadReport(1, busy=slots - 1, waiting=1))) == {}, "not to its own"
    master.open("other", JobOptions())
    assert placed(master.submit(0.1, "other", PROGRAMS["function"], [TaskSpec(0, Inline(b"x"))])) == {IDS[1]: [0]}
    master.check()


def test_a_task_may_be_asked_back_any_number_of_times_and_not_be_returned_so_often_unasked() -> None:
    master = long_window()
    for _ in range(20):
        master.jobs["j"].tasks[4].asked_back = True
        node_id = master.jobs["j"].tasks[4].node
        assert node_id is not None
        assert not finished(master.confirmed(1.0, node_id, "j", 1, [report_of("recalled", 4, 0, 0.0)]))
    told = []
    while not told:
        node_id = master.jobs["j"].tasks[4].node
        assert node_id is not None
        told = finished(master.confirmed(1.0, node_id, "j", 1, [report_of("recalled", 4, 0, 0.0)]))
    assert told[0].fault is not None and told[0].fault.code == NoWorker.wire_code


def test_what_is_known_to_run_is_left_where_it_runs() -> None:
    master = long_window()
    master.confirmed(0.4, IDS[1], "j", 1, [report_of("started", index, 0, 0.0) for index in (2, 3, 4)])
    assert master.tick(0.5) == []


def straggler(**options: object) -> Master:
    """Tasks of this job take a tenth of a second; the last runs for two, and another node has nothing to do."""
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[1]))
    submitted(master, 2, **options)
    master.confirmed(0.1, IDS[1], "j", 1, [report_of("ok", 0, 0, 0.1)])
    master.confirmed(0.2, IDS[1], "j", 1, [report_of("started", 1, 0, 0.0)])
    master.worker_up(0.2, worker(IDS[0]))
    assert master.tick(1.1) == []
    return master


@pytest.mark.parametrize("first", [0, 1])
def test_a_straggler_runs_a_second_time_and_the_first_outcome_ends_both(first: int) -> None:
    master = straggler()
    assert placed(master.tick(2.2)) == {IDS[0]: [1]}
    assert master.tick(9.0) == [], "twice is enough"
    effects = master.confirmed(9.1, IDS[first], "j", 1, [report_of("ok", 1, 0, 0.1)])
    assert len(finished(effects)) == 1
    assert [effect.node_id for effect in effects if isinstance(effect, CancelAt)] == [IDS[1 - first]]
    assert finished(master.confirmed(9.2, IDS[1 - first], "j", 1, [report_of("ok", 1, 0, 0.1)])) == []
    master.check()


@pytest.mark.parametrize("outcome", ["lost", "error", "full", "its node"])
@pytest.mark.parametrize("first", [0, 1])
def test_of_two_runs_one_that_ends_badly_leaves_the_task_to_the_other(outcome: str, first: int) -> None:
    master = straggler(retries=0, error_retries=1)
    master.tick(2.2)
    if outcome == "its node":
        effects = master.worker_gone(2.3, IDS[first], "died")
    else:
        effects = master.confirmed(2.3, IDS[first], "j", 1, [report_of(outcome, 1, 0, 0.1)])
    assert effects == []
    master.check()
    (told,) = finished(master.confirmed(2.4, IDS[1 - first], "j", 1, [report_of("ok", 1, 0, 0.1)]))
    assert told.fault is None


@pytest.mark.parametrize("flag", ["at_most_once", "streams_output", "takes_input"])
def test_nothing_runs_twice_whose_second_run_would_be_noticed(flag: str) -> None:
    assert straggler(**{flag: True}).tick(60.0) == []


def test_cancelling_a_task_ends_both_of_its_runs() -> None:
    master = straggler()
    master.tick(2.2)
    effects = master.cancel(2.3, "j", [1])
    assert {effect.node_id for effect in effects if isinstance(effect, CancelAt)} == set(IDS[:2])
    master.check()


def test_who_leaves_is_given_nothing_more_and_what_it_had_begun_is_begun_anew_elsewhere() -> None:
    master = Master(CONFIG, "3.11", Random(0))
    master.worker_up(0.0, worker(IDS[0]))
    assert placed(submitted(master, 1, retries=0)) == {IDS[0]: [0]}
    master.leaves(IDS[0])
    returned = Returned(0, 0, NoWorker.wire_code, "the node leaves", begun=True)
    assert master.confirmed(1.0, IDS[0], "j", 1, [returned]) == []
    again = master.worker_up(2.0, worker(IDS[1]))
    assert placed(again) == {IDS[1]: [0]}
    (assigned,) = [one for effect in again if isinstance(effect, Assign) for one in effect.assignment.instructions]
    assert assigned.attempt == 1, "another run, and no retry used up"
    master.worker_up(3.0, worker(IDS[0]))
    assert master.workers[IDS[0]].leaving, "a link that comes back in between changes nothing"
    master.check()


@pytest.mark.parametrize("begun", [False, True])
def test_of_what_may_run_only_once_a_node_that_leaves_has_run_it_or_has_not(begun: bool) -> None:
    master = Master(CONFIG, "3.11", Random(0))
    master.worker_up(0.0, worker(IDS[0]))
    submitted(master, 1, at_most_once=True)
    told = finished(
        master.confirmed(1.0, IDS[0], "j", 1, [Returned(0, 0, NoWorker.wire_code, "the node leaves", begun=begun)])
    )
    assert [one.fault.code for one in told if one.fault is not None] == [WorkerLost.wire_code] * begun
    assert placed(master.worker_up(2.0, worker(IDS[1]))) == ({} if begun else {IDS[1]: [0]})


def test_a_job_that_lasts_waits_for_the_nodes_that_may_come_when_its_own_leaves() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    for job, lasting in (("lasts", True), ("ends", False)):
        master.open(job, JobOptions(lasting=lasting))
        master.submit(0.0, job, PROGRAMS["function"], [TaskSpec(0, Inline(b"x"))])
    master.leaving = True
    assert len(finished(master.tick(GRACE_S + 1))) == 1
    assert list(master.tasks_of("lasts")) == [0]


def test_explain_tells_of_tasks_that_do_not_go_on_where_they_are() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[0]))
    master.worker_up(0.0, worker(IDS[2]))
    submitted(master, 4, on="friendly")
    started = [Started(0, 0), Started(1, 0, waits=True, suspended=True)]
    master.confirmed(1.0, IDS[2], "j", 1, started)
    reasons = {waiting.task: waiting.reason for waiting in master.explain(2.0, "j", 9)}
    assert reasons.pop(3) == "every slot that could run it is taken"
    assert reasons == {
        1: "it is suspended at friendly",
        2: "it is at friendly, where a slot, or something else that it needs, is taken",
    }
    master.load_reported(3.0, IDS[2], LoadReport(sequence=1, closed="its owner is using it"))
    reasons = {waiting.task: waiting.reason for waiting in master.explain(3.0, "j", 9)}
    assert reasons[0] == "it stands still at friendly: its owner is using it"
