"""Others' tasks are charged for what they take, and end where their owner's quota does."""

from __future__ import annotations

from typing import Any

from potluck.node.execution import events
from potluck.overlay.config import Quota
from potluck.overlay.errors import QuotaExceeded
from potluck.overlay.wire.limits import Limits
from potluck.overlay.wire.needs import Needs
from potluck.overlay.wire.work import Finished, Returned

from .engine_world import OTHER, OWN, World

OURS, THEIRS = b"master-0", b"master-1"


def world(**rules: Any) -> World:
    one = World(quota=Quota(**rules), lent_bytes=100)
    one.ready()
    return one


def measured(one: World, cpu_s: float) -> list[Any]:
    worker = one.busy()[0]
    return one.step(events.Measured(worker, one.processes[worker].queue[0].task, cpu_s, 0))


def test_what_a_look_has_seen_is_charged_once_and_the_rest_at_the_end() -> None:
    one = world(cpu_s=100.0)
    one.assign(THEIRS, "j", [0])
    for cpu_s in (2.0, 3.0, 2.5):
        measured(one, cpu_s)
    assert one.quotas.taken_s(one.now_s, OTHER) == 3.0
    one.reply(one.busy()[0])
    assert one.quotas.taken_s(one.now_s, OTHER) == 3.0
    one.assign(THEIRS, "j", [1])
    one.now_s += 4.0
    one.reply(one.busy()[0], elapsed_s=4.0)
    assert one.quotas.taken_s(one.now_s, OTHER) == 7.0, "nobody has looked: it is charged for its time"


def test_over_quota_everything_of_that_owner_goes_back_and_nothing_more_is_taken() -> None:
    one = world(cpu_s=5.0)
    one.assign(THEIRS, "j", [0])
    one.assign(THEIRS, "k", [1, 2])
    reports = measured(one, 5.0)
    assert {(report.index, report.code) for report in reports} == {(n, QuotaExceeded.wire_code) for n in range(3)}
    assert [report.begun for report in sorted(reports, key=lambda report: report.index)] == [True, True, False]
    (refused,) = one.assign(THEIRS, "l", [3])
    assert isinstance(refused, Returned) and "5 s of CPU time" in refused.reason
    for number in [number for number, process in one.processes.items() if process.killed]:
        one.end(number)
    one.ready()
    one.assign(OURS, "j", [4])
    assert isinstance(one.reply(one.busy()[0])[0], Finished), "the owner's own tasks go on"
    assert one.quotas.taken_s(one.now_s, OWN) == 0


def test_memory_of_one_owner_is_shared_out_among_its_tasks() -> None:
    one = world(memory_bytes=40)
    one.assign(THEIRS, "j", [0])
    job = one.engine.jobs[OTHER, "j"]
    assert (job.needs.memory_bytes, job.limits.memory_bytes) == (20, 20), "who says nothing has a share for each slot"
    one.assign(THEIRS, "k", [0], limits=Limits(memory_bytes=30))
    assert one.engine.jobs[OTHER, "k"].needs.memory_bytes == 30
    one.ready()
    assert len(one.busy()) == 1, "both together are more than the quota"
    one.reply(one.busy()[0])
    one.ready()
    assert len(one.busy()) == 1
    (refused,) = one.assign(THEIRS, "l", [0], needs=Needs(memory_bytes=41))
    assert isinstance(refused, Returned) and refused.code == QuotaExceeded.wire_code
