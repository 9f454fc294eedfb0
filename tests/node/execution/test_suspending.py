"""What is suspended stands still until somebody says otherwise, whatever it was before."""

from __future__ import annotations

import pytest
import trio
from potluck.node.execution import events
from potluck.overlay.errors import Cancelled
from potluck.overlay.wire.work import CancelInstructions, Finished, Inline, Reference, Started

from ..sandboxes.sandbox_suite import call
from .engine_world import MASTERS, World
from .service_world import Master, service

MINE = next(iter(MASTERS))


def states(made: World) -> list[str]:
    return [task.process.state.value for task in made.engine.processes.values()]


def act(made: World, what: str, number: int) -> list[object]:
    return made.step(events.ActAsked(what, [number]))  # type: ignore[arg-type]


def world(tasks: int = 2) -> World:
    made = World(slots=1)
    made.assign(MINE, "j", list(range(tasks)))
    made.ready()
    return made


def test_a_running_one_gives_its_slot_to_the_next_and_goes_on_later() -> None:
    made = world()
    assert states(made) == ["RUNNING", "READY"]
    (report,) = act(made, "suspend", 1)
    assert isinstance(report, Started) and report.waits, "nobody is to run it a second time"
    assert states(made) == ["SUSPENDED", "READY"]
    made.stands_still(made.stopping()[0])
    made.ready()
    assert states(made) == ["SUSPENDED", "RUNNING"]
    act(made, "resume", 1)
    assert states(made) == ["READY", "RUNNING"]
    (second,) = [number for number in made.busy() if not made.processes[number].stopped]
    made.reply(second)
    assert states(made) == ["RUNNING"]
    (first,) = made.busy()
    (done,) = made.reply(first)
    assert done.fault is None


def test_one_that_has_not_begun_is_in_no_queue_meanwhile() -> None:
    made = world()
    act(made, "suspend", 2)
    made.reply(made.busy()[0])
    assert states(made) == ["SUSPENDED"]
    assert not made.busy()
    act(made, "resume", 2)
    assert states(made) == ["RUNNING"]


def test_one_that_is_being_fetched_stays_suspended_when_it_is_here() -> None:
    made = World(slots=1)
    made.assign(MINE, "j", [0], arguments=Reference(b"o" * 16, 5, b"h" * 20))
    made.ready()
    assert states(made) == ["NEW"]
    act(made, "suspend", 1)
    made.step(events.Fetched(made.fetches.pop(), Inline(b"x")))
    assert states(made) == ["SUSPENDED"]
    act(made, "resume", 1)
    made.ready()
    assert states(made) == ["RUNNING"]


def test_an_end_that_was_on_its_way_counts() -> None:
    made = world(1)
    act(made, "suspend", 1)
    (stopping,) = made.stopping()
    (report,) = made.reply(stopping)
    assert isinstance(report, Finished) and report.fault is None
    made.stands_still(stopping)
    assert not made.processes[stopping].stopped, "an idle process is not kept still"


@pytest.mark.parametrize("has_stopped", [False, True])
def test_a_suspended_one_can_be_killed(has_stopped: bool) -> None:
    made = world(1)
    act(made, "suspend", 1)
    (number,) = made.stopping()
    if has_stopped:
        made.stands_still(number)
    act(made, "kill", 1)
    (report,) = made.end(number)
    assert isinstance(report, Finished) and report.fault is not None
    assert report.fault.code == Cancelled.wire_code
    assert made.engine.load().busy == 0


def test_what_is_suspended_is_not_given_back_to_be_run_elsewhere() -> None:
    made = world()
    act(made, "suspend", 2)
    assert not made.step(events.CancelAsked(MINE, CancelInstructions("j", 1, [1], True)))
    assert states(made) == ["RUNNING", "SUSPENDED"]


def test_the_time_that_it_stood_still_is_not_counted_against_it() -> None:
    made = World(slots=1)
    made.assign(MINE, "j", [0], timeout_s=1.0)
    made.ready()
    act(made, "suspend", 1)
    made.stands_still(made.stopping()[0])
    made.advance(60.0)
    act(made, "resume", 1)
    made.advance(0.9)
    assert states(made) == ["RUNNING"]
    made.advance(0.2)
    assert any(process.killed for process in made.processes.values())


OWNER = "its owner is using it"


def test_what_is_resumed_while_the_owner_is_there_runs_when_the_owner_has_gone() -> None:
    made = world(1)
    act(made, "suspend", 1)
    made.stands_still(made.stopping()[0])
    made.step(events.OwnerSaid("hold", OWNER))
    (report,) = act(made, "resume", 1)
    assert isinstance(report, Started) and not report.suspended, "wherever else it is begun, it runs"
    assert states(made) == ["SUSPENDED"]
    assert not [process for process in made.processes.values() if process.queue and not process.stopped]
    made.step(events.OwnerSaid("go on", ""))
    assert states(made) == ["RUNNING"]


def test_what_is_suspended_while_the_owner_is_there_stands_still_when_the_owner_has_gone() -> None:
    made = world(1)
    made.step(events.OwnerSaid("hold", OWNER))
    made.stands_still(made.stopping()[0])
    (report,) = act(made, "suspend", 1)
    assert isinstance(report, Started) and report.suspended
    made.step(events.OwnerSaid("go on", ""))
    assert states(made) == ["SUSPENDED"]
    act(made, "resume", 1)
    assert states(made) == ["RUNNING"]


def test_what_stands_still_for_the_owner_is_not_told_to_be_suspended() -> None:
    """Its master would have it stand still wherever it is begun next."""
    made = world(1)
    made.step(events.OwnerSaid("hold", OWNER))
    ((told,),) = [confirmation.reports for confirmation in made.engine.held_for(MINE)]
    assert isinstance(told, Started) and not told.suspended


@service(slots=1)
async def test_a_real_process_stands_still_and_ends_as_if_it_had_not(master: Master) -> None:
    source = "def task(n):\n    total = 0\n    for i in range(n): total += i\n    return total"
    master.assign(source, call(10_000_000))
    while not [one for one in master.service.processes.values() if one.process.state.value == "RUNNING"]:
        await trio.lowlevel.checkpoint()
    assert master.service.act("suspend", [1]) == [1]
    assert master.service.act("suspend", [1]) == [], "it is already"
    while master.service.load().busy:
        await trio.lowlevel.checkpoint()
    with trio.move_on_after(0.2):
        await master.value(0)
        raise AssertionError("it ran on")
    assert master.service.act("resume", [1]) == [1]
    assert await master.value(0) == 10_000_000 * 9_999_999 // 2
    assert not master.service.processes


@service(slots=1)
async def test_what_stands_still_when_its_node_leaves_is_not_told_as_what_has_not_begun(master: Master) -> None:
    source = "def task(n):\n    import signal\n    signal.pause()"
    master.assign(source, call(0), call(0))
    while not [one for one in master.service.processes.values() if one.process.state.value == "RUNNING"]:
        await trio.lowlevel.checkpoint()
    master.service.act("suspend", [2, 1])
    assert master.service.hand_back() == (1, 1)
    assert not master.service.running()
