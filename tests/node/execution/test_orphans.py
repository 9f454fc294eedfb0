"""What a worker keeps of jobs whose master is gone, and for whom."""

from __future__ import annotations

import pytest
from potluck.node.execution import events
from potluck.node.execution.orphans import KEPT_S
from potluck.node.execution.outgoing import WINDOW_BYTES
from potluck.overlay.errors import Unavailable, WorkerLost
from potluck.overlay.wire.work import Finished, Returned, Started, TaskComplete

from .engine_world import MASTERS, OWN, World

FIRST, SECOND = b"master-0", b"master-2"


@pytest.fixture
def world() -> World:
    """One task has ended, two run, and one waits."""
    one = World()
    one.ready()
    one.assign(FIRST, "j", [0], lasting=True)
    one.reply(one.busy()[0], elapsed_s=1.0)
    one.assign(FIRST, "j", [1, 2, 3], lasting=True)
    return one


def running(world: World) -> list[int]:
    return sorted(task.index for job in world.engine.jobs.values() for task in job.tasks.values())


def known_only(world: World, index: int, epoch: int = 2) -> list[object]:
    return world.assign(SECOND, "j", [index], epoch=epoch, known_only=True, lasting=True)


def test_what_runs_goes_on_without_a_master_and_what_waits_is_dropped(world: World) -> None:
    assert world.step(events.AssignerGone(FIRST)) == []
    assert running(world) == [1, 2]
    assert len(world.busy()) == 2


@pytest.mark.parametrize("orphaned", [True, False], ids=["whose master is gone", "whose master is here"])
def test_nothing_of_a_banned_owner_runs_on(world: World, orphaned: bool) -> None:
    if orphaned:
        world.step(events.AssignerGone(FIRST))
    world.step(events.Outlawed(frozenset([b"somebody else"])))
    assert running(world)
    world.step(events.Outlawed(frozenset([MASTERS[FIRST]])))
    assert not running(world) and not world.engine.jobs


def test_of_a_job_that_does_not_last_nothing_is_kept() -> None:
    world = World()
    world.ready()
    world.assign(FIRST, "j", [1])
    world.step(events.AssignerGone(FIRST))
    assert not running(world) and not world.engine.jobs


@pytest.mark.parametrize("heard", [True, False], ids=["when the first was lost", "before anybody knows"])
def test_the_next_master_is_told_what_runs_and_what_has_ended(world: World, heard: bool) -> None:
    if heard:
        world.step(events.AssignerGone(FIRST))
    assert sorted(world.seek(SECOND, "j", 2)) == [0, 1, 2]
    assert running(world) == [1, 2]


def test_the_next_master_has_the_value_of_what_ended_while_there_was_none(world: World) -> None:
    world.step(events.AssignerGone(FIRST))
    index = world.engine.running_on(world.busy()[0]).index  # type: ignore[union-attr]
    world.reply(world.busy()[0])
    world.seek(SECOND, "j", 2)
    (told,) = known_only(world, index)
    assert isinstance(told, Finished) and told.value is not None and told.attempt == 0


def test_the_next_master_is_told_that_it_runs_and_how_it_ends(world: World) -> None:
    world.step(events.AssignerGone(FIRST))
    world.seek(SECOND, "j", 2)
    known_only(world, 1)
    assert Started(1, 0, ran_s=pytest.approx(0.06)) in world.advance(0.06)
    ended = [report for number in world.busy() for report in world.reply(number)]
    assert sorted(report.index for report in ended) == [1, 2]


def test_what_was_dropped_is_not_there_to_be_taken_over(world: World) -> None:
    world.step(events.AssignerGone(FIRST))
    world.seek(SECOND, "j", 2)
    world.open[OWN, "j", 3] = 0
    (told,) = known_only(world, 3)
    assert isinstance(told, Finished) and told.fault is not None and told.fault.code == WorkerLost.wire_code


def test_nobody_waits_for_a_master_for_ever(world: World) -> None:
    world.step(events.AssignerGone(FIRST))
    assert world.engine.next_deadline_s(world.now_s) < world.now_s + KEPT_S
    world.advance(KEPT_S - 1)
    assert running(world) == [1, 2]
    world.now_s = world.engine.next_deadline_s(world.now_s)
    world.step(events.Tick())
    assert not world.engine.jobs and not world.busy()


def test_a_job_that_gets_no_master_any_more_is_dropped_at_once(world: World) -> None:
    world.step(events.Disowned(OWN, "j"))
    assert running(world) == [1, 2, 3], "it has one"
    world.step(events.AssignerGone(FIRST))
    world.step(events.Disowned(OWN, "j"))
    assert not world.engine.jobs and not world.busy()


def test_a_master_that_was_followed_is_told_so_by_whoever_it_gives_work(world: World) -> None:
    world.seek(SECOND, "j", 2)
    (report,) = world.assign(FIRST, "j", [7], lasting=True)
    assert isinstance(report, Returned) and report.code == Unavailable.wire_code and not report.begun
    world.step(events.Sought(FIRST, OWN, events.TasksSought(0, "j", 1)))
    assert world.engine.orphans.held(FIRST, OWN, "j") == []


def test_a_master_that_gives_way_leaves_what_runs_to_whoever_comes_though_his_epoch_be_lower(world: World) -> None:
    """Of two nodes, the one that went on alone under the second epoch finds that the other one has stayed master."""
    world.seek(SECOND, "j", 2)
    world.step(events.JobCompleted(SECOND, TaskComplete("j", 2, passed_on=True)))
    assert running(world) == [1, 2]
    assert sorted(world.seek(FIRST, "j", 1)) == [0, 1, 2]


def test_whoever_gives_more_of_it_is_told_first_what_was_printed_whatever_he_gives() -> None:
    """Or what waits to be taken by the one who is gone would be in the way for ever."""
    world = World()
    world.ready()
    world.assign(FIRST, "j", [0, 1], lasting=True, streams_output=True)
    ends, _ = world.busy()
    for worker in (ends, ends):
        world.step(events.Printed(worker, ((1, bytes(WINDOW_BYTES // 2)),)))
    assert not world.engine.streaming.outgoing_of(ends).room  # type: ignore[union-attr]
    world.reply(ends)
    world.step(events.AssignerGone(FIRST))
    world.seek(SECOND, "j", 2)
    world.said.clear()
    world.assign(SECOND, "j", [2], epoch=2, lasting=True, streams_output=True)
    assert sum(len(said.data) for said in world.said) == WINDOW_BYTES
    world.said.clear()
    world.assign(SECOND, "j", [3], epoch=2, lasting=True, streams_output=True)
    assert not world.said, "once is enough"


def test_another_owners_master_learns_nothing(world: World) -> None:
    world.step(events.AssignerGone(FIRST))
    other = next(master for master, owner in MASTERS.items() if owner != OWN)
    assert world.seek(other, "j", 9) == []
    assert running(world) == [1, 2]


def test_a_job_of_which_nothing_is_left_is_forgotten_when_it_is_asked_for() -> None:
    world = World()
    world.ready()
    world.assign(FIRST, "j", [0], body=None, lasting=True)
    assert world.engine.jobs
    assert world.seek(SECOND, "j", 2) == []
    assert not world.engine.jobs


@pytest.mark.parametrize("first", ["banned", "its master is lost"])
def test_who_is_banned_keeps_nothing_for_masters_that_will_never_ask(world: World, first: str) -> None:
    happens = [events.Forsaken(), events.AssignerGone(FIRST)]
    for event in happens if first == "banned" else reversed(happens):
        world.step(event)
    assert not world.engine.jobs and not world.busy()
