"""What a master does with what tasks say to go on from."""

from __future__ import annotations

from random import Random

import pytest
from potluck.node.jobs.batches import BATCH_BYTES_MAX, cut, report_bytes
from potluck.node.jobs.effects import Assign, Effect, Note
from potluck.node.jobs.master import Master
from potluck.overlay.errors import Cancelled, NotAllowed, NotFound, NoWorker, SandboxUnavailable, WorkerLost
from potluck.overlay.wire.capabilities import LoadReport
from potluck.overlay.wire.work import CHECKPOINT_BYTES_MAX, Checkpoint, Finished, Instruction, Returned, Started

from .masters import CONFIG, IDS, finished, report_of, submitted, worker

HERE, OWN = IDS[0], IDS[1]


def master(**options: object) -> tuple[Master, Instruction]:
    """One task, which is at HERE; OWN could run it, too."""
    one = Master(CONFIG, "3.11", Random(0))
    for node_id in (HERE, OWN):
        one.worker_up(0.0, worker(node_id))
    (given,) = instructions(submitted(one, 1, **options))
    assert one.jobs["j"].tasks[0].node == HERE
    return one, given


def instructions(effects: list[Effect]) -> list[Instruction]:
    given = [effect for effect in effects if isinstance(effect, Assign)]
    return [instruction for effect in given for instruction in effect.assignment.instructions]


def says(one: Master, number: int, attempt: int = 0, state: bytes = b"", **more: bool) -> list[Effect]:
    checkpoint = Checkpoint(number, state or bytes([number]))
    return one.confirmed(0.0, HERE, "j", 1, [Started(0, attempt, checkpoint=checkpoint, **more)])


def test_a_lost_task_goes_on_from_its_last_checkpoint() -> None:
    one, given = master()
    assert given.checkpoint is None
    (note, _told) = says(one, 1)
    assert note == Note("j", 0, False, Checkpoint(1, b"\1"))
    says(one, 2)
    (again,) = instructions(one.confirmed(0.0, HERE, "j", 1, [report_of("lost", 0, 0, 0.0)]))
    assert (again.attempt, again.checkpoint) == (1, Checkpoint(2, b"\2"))


def test_what_an_earlier_run_says_late_counts_for_nothing() -> None:
    one, _given = master()
    one.confirmed(0.0, HERE, "j", 1, [report_of("lost", 0, 0, 0.0)])
    assert not says(one, 1)
    assert one.jobs["j"].tasks[0].checkpoint is None


def test_a_task_that_comes_further_each_time_is_never_given_up() -> None:
    one = Master(CONFIG, "3.11", Random(0))
    one.worker_up(0.0, worker(HERE))
    submitted(one, 1, retries=1)
    for attempt in range(10):
        says(one, attempt + 1, attempt)
        assert not finished(one.confirmed(0.0, HERE, "j", 1, [report_of("lost", 0, attempt, 0.0)]))
    (report,) = finished(one.confirmed(0.0, HERE, "j", 1, [report_of("lost", 0, 10, 0.0)]))
    assert report.fault is not None and report.fault.code == WorkerLost.wire_code


@pytest.mark.parametrize("outcome", ["lost", "error"])
def test_retries_are_counted_from_where_it_came_to_last_and_what_comes_no_further_is_given_up(outcome: str) -> None:
    one = Master(CONFIG, "3.11", Random(0))
    one.worker_up(0.0, worker(HERE))
    submitted(one, 1, retries=1, error_retries=1, backoff_s=0.001)
    for attempt in range(11):
        says(one, attempt + 1, attempt, state=bytes([min(attempt, 9)]))
        ended = finished(one.confirmed(0.0, HERE, "j", 1, [report_of(outcome, 0, attempt, 0.0)]))
        assert bool(ended) == (attempt == 10)
        one.tick(100.0)


def test_a_suspended_one_is_given_as_suspended_and_loses_nothing_by_the_end_of_its_node() -> None:
    one, _given = master(retries=0)
    assert says(one, 1, suspended=True, waits=True)[0] == Note("j", 0, True, Checkpoint(1, b"\1"))
    (again,) = instructions(one.worker_gone(0.0, HERE, "died"))
    assert again.suspended and again.checkpoint == Checkpoint(1, b"\1")
    (note, _told) = one.confirmed(0.0, OWN, "j", 1, [Started(0, again.attempt)])
    assert note == Note("j", 0, False, None)


def test_a_suspended_one_waits_for_its_node_for_as_long_as_it_takes() -> None:
    one, _given = master(on="here")
    says(one, 1, suspended=True)
    one.worker_gone(0.0, HERE, "died")
    for now_s in (1.0, 100.0, 1000.0):
        assert not finished(one.tick(now_s))
        one.check()
    (again,) = instructions(one.worker_up(1000.0, worker(HERE, boot=1)))
    assert again.suspended


def test_a_suspended_one_does_not_wait_for_a_node_that_is_there_and_cannot_run_it() -> None:
    """It has no process, so that nobody could resume or kill it."""
    one, _given = master(on="here")
    says(one, 1, suspended=True)
    refusal = Returned(0, 0, SandboxUnavailable.wire_code, "no sandbox starts", begun=True)
    effects = one.confirmed(0.0, HERE, "j", 1, [refusal])
    for now_s in (1.0, 6.0):
        effects += one.tick(now_s)
        one.check()
    (report,) = finished(effects)
    assert report.fault is not None and report.fault.code == NoWorker.wire_code
    assert "no sandbox starts" in report.fault.message


def test_one_that_may_run_once_is_lost_with_its_node_checkpoint_or_not() -> None:
    one, _given = master(at_most_once=True)
    says(one, 1)
    (report,) = finished(one.worker_gone(0.0, HERE, "died"))
    assert report.fault is not None and report.fault.code == WorkerLost.wire_code


@pytest.mark.parametrize("at_most_once", [False, True])
def test_one_that_is_bound_for_a_node_goes_on_there(at_most_once: bool) -> None:
    one, _given = master(at_most_once=at_most_once)
    says(one, 1)
    one.bind("j", 0, HERE, "own")
    (effect,) = one.confirmed(0.0, HERE, "j", 1, [Returned(0, 0, Cancelled.wire_code, begun=True)])
    assert isinstance(effect, Assign) and effect.node_id == OWN
    (again,) = effect.assignment.instructions
    assert (again.attempt, again.checkpoint) == (1, Checkpoint(1, b"\1"))
    one.check()


def test_one_that_waits_where_somebody_has_moved_it_is_not_asked_back_for_an_idle_node() -> None:
    """A person has said where it is to be, and was told that it goes on there."""
    one, _given = master()
    one.bind("j", 0, HERE, "own")
    one.confirmed(0.0, HERE, "j", 1, [Returned(0, 0, Cancelled.wire_code, begun=True)])
    one.load_reported(0.0, OWN, LoadReport(1, busy=1, queued=1))  # its only slot is another master's
    assert one.tick(1.0) == []
    (again,) = instructions(one.worker_gone(2.0, OWN, "died"))
    assert again.attempt == 2, "and where that node is gone, it goes on anywhere"
    one.check()


def test_one_that_ends_before_it_is_returned_has_ended() -> None:
    one, _given = master()
    one.bind("j", 0, HERE, "own")
    (told,) = one.confirmed(0.0, HERE, "j", 1, [report_of("ok", 0, 0, 0.0)])
    assert isinstance(finished([told])[0], Finished)
    assert not one.confirmed(0.0, HERE, "j", 1, [Returned(0, 0, Cancelled.wire_code, begun=True)])


def test_where_a_node_it_is_bound_for_is_gone_it_goes_on_anywhere() -> None:
    one, _given = master()
    one.bind("j", 0, HERE, "own")
    one.worker_gone(0.0, OWN, "died")
    (again,) = instructions(one.confirmed(0.0, HERE, "j", 1, [Returned(0, 0, Cancelled.wire_code, begun=True)]))
    assert again.attempt == 1
    one.check()


@pytest.mark.parametrize(
    ("to", "options", "error"),
    [
        ("nobody", {}, NotFound),
        ("here", {}, NotAllowed),
        ("own", {"on": "here"}, NoWorker),
        ("own", {"confidential": True}, NoWorker),
    ],
)
def test_where_it_cannot_go_is_said_at_once(to: str, options: dict[str, object], error: type[Exception]) -> None:
    one, _given = master(**options)
    with pytest.raises(error):
        one.bind("j", 0, HERE, to)


def test_nobody_moves_what_is_not_there() -> None:
    one, _given = master()
    for job, index, node_id in (("k", 0, HERE), ("j", 1, HERE), ("j", 0, OWN)):
        with pytest.raises(NotFound):
            one.bind(job, index, node_id, "own")


def test_many_long_ones_go_in_frames_of_their_own() -> None:
    reports = [Started(n, 0, checkpoint=Checkpoint(1, bytes(CHECKPOINT_BYTES_MAX))) for n in range(7)]
    parts = list(cut(reports, report_bytes))
    assert max(sum(map(report_bytes, part)) for part in parts) <= BATCH_BYTES_MAX
    assert len(parts) == 4
