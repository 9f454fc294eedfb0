"""A new master of a job, and what runs of it already."""

from __future__ import annotations

from random import Random

import pytest
from potluck.node.jobs.effects import Assign, CancelAt, Effect
from potluck.node.jobs.master import Master
from potluck.overlay.errors import Cancelled, Unavailable, WorkerLost
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.work import Inline, Returned, Started

from .masters import CONFIG, GRACE_S, IDS, PROGRAMS, finished, placed, report_of, worker

HERE, OWN, FRIENDLY, CLOSED = IDS[:4]


def taken_over(count: int, nodes: int = 3, **options: object) -> Master:
    """By a master in the second epoch, who has not yet heard what runs."""
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    for node_id in IDS[:nodes]:
        master.worker_up(0.0, worker(node_id))
    master.open("j", JobOptions(lasting=True, **options), 2, on_hold=True)  # type: ignore[arg-type]
    for first in range(0, count, 3):
        specs = [TaskSpec(index, Inline(b"x")) for index in range(first, min(first + 3, count))]
        assert not placed(master.submit(0.0, "j", PROGRAMS["function"], specs)), "it is on hold"
    master.check()
    return master


def known_only(effects: list[Effect]) -> list[bool]:
    return [effect.assignment.known_only for effect in effects if isinstance(effect, Assign)]


def test_what_runs_is_taken_over_and_only_the_rest_is_placed() -> None:
    master = taken_over(4)
    given = master.adopt("j", OWN, [0, 2])
    assert placed(given) == {OWN: [0, 2]} and known_only(given) == [True]
    rest = placed(master.resume(1.0, "j", {}))
    assert sorted(index for indexes in rest.values() for index in indexes) == [1, 3]
    master.check()
    assert len(finished(master.confirmed(2.0, OWN, "j", 2, [report_of("ok", 0, 0, 1.0)]))) == 1


def test_a_task_far_behind_many_others_is_taken_over_too() -> None:
    """It lies in a bale."""
    master = taken_over(30)
    assert placed(master.adopt("j", OWN, [28])) == {OWN: [28]}
    master.check()


def test_explain_says_why_nothing_happens_meanwhile() -> None:
    master = taken_over(2)
    assert {waiting.reason for waiting in master.explain(0.0, "j", 9)} == {
        "its new master asks which of its tasks run on"
    }


def test_what_a_person_cancels_meanwhile_stays_cancelled() -> None:
    master = taken_over(2)
    (told,) = finished(master.cancel(0.5, "j", [0]))
    assert told.fault is not None and told.fault.code == Cancelled.wire_code
    assert not placed(master.adopt("j", OWN, [0]))
    assert [one for indexes in placed(master.resume(1.0, "j", {})).values() for one in indexes] == [1]
    effects = master.confirmed(2.0, OWN, "j", 2, [Started(0, 0)])
    assert [one.message.indexes for one in effects if isinstance(one, CancelAt)] == [[0]]


def test_what_must_not_run_twice_is_lost_only_where_nobody_holds_it() -> None:
    master = taken_over(3, at_most_once=True)
    master.adopt("j", OWN, [0])
    effects = master.resume(1.0, "j", {0: "own has left", 1: "friendly has left"})
    (told,) = finished(effects)
    assert told.index == 1 and told.fault is not None and told.fault.code == WorkerLost.wire_code
    assert "its master was lost, and friendly has left; it may have run" in told.fault.message
    assert [one for indexes in placed(effects).values() for one in indexes] == [2], "it had not begun anywhere"
    master.check()


def test_a_node_that_may_not_run_it_is_not_believed_to() -> None:
    master = taken_over(2, nodes=4)
    assert not placed(master.adopt("j", CLOSED, [0, 1])), "it runs only its owner's tasks"
    assert not placed(master.adopt("j", IDS[4], [0, 1])), "it was never linked"


def test_a_node_whose_owner_wants_it_back_meanwhile_is_believed() -> None:
    master = taken_over(1)
    master.workers[OWN].closed = "its owner is using it"
    assert placed(master.adopt("j", OWN, [0])) == {OWN: [0]}


def test_what_turns_out_to_run_elsewhere_is_a_copy_and_its_answer_does() -> None:
    master = taken_over(1)
    ((first, _),) = placed(master.resume(1.0, "j", {})).items()
    second = OWN if first != OWN else HERE
    assert known_only(master.confirmed(2.0, second, "j", 2, [Started(0, 0)])) == [True]
    master.check()
    effects = master.confirmed(3.0, second, "j", 2, [report_of("ok", 0, 0, 1.0)])
    assert len(finished(effects)) == 1
    assert [one.node_id for one in effects if isinstance(one, CancelAt)] == [first]


@pytest.mark.parametrize("epoch,once", [(1, False), (2, True)])
def test_what_no_earlier_master_can_have_given_is_none_of_its_business(epoch: int, once: bool) -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    for node_id in IDS[:2]:
        master.worker_up(0.0, worker(node_id))
    master.open("j", JobOptions(lasting=True, at_most_once=once), epoch)
    ((first, _),) = placed(master.submit(0.0, "j", PROGRAMS["function"], [TaskSpec(0, Inline(b"x"))])).items()
    second = OWN if first == HERE else HERE
    assert not placed(master.confirmed(2.0, second, "j", epoch, [Started(0, 0)]))
    assert master.jobs["j"].tasks[0].nodes == (first,)


def test_while_it_is_on_hold_nobody_is_told_to_stop() -> None:
    master = taken_over(8)
    assert not master.confirmed(0.5, OWN, "j", 2, [Started(0, 0), Started(7, 0)])


def test_who_obeyed_another_master_is_given_everything_again() -> None:
    """As of two nodes, of which one had gone on alone."""
    master = taken_over(1, nodes=1)
    assert placed(master.resume(1.0, "j", {})) == {HERE: [0]}
    turned_down = Returned(0, 0, Unavailable.wire_code, "another master of the job is obeyed there")
    assert not placed(master.confirmed(2.0, HERE, "j", 2, [turned_down]))
    (waiting,) = master.explain(2.0, "j", 1)
    assert waiting.reason.startswith("it could not be begun at here: another master of the job is obeyed there;")
    assert placed(master.tick(2.6)) == {HERE: [0]}
    assert placed(master.adopt("j", HERE, [])) == {HERE: [0]}
    master.check()
