"""What is told of tasks that have no outcome yet."""

from __future__ import annotations

from random import Random

from potluck.node.custody.telling import Now, open_line
from potluck.node.jobs.master import Master
from potluck.overlay.wire.questions import TaskLine
from potluck.overlay.wire.work import Started

from ..jobs.masters import CONFIG, GRACE_S, IDS, report_of, submitted, worker

NAMES = {IDS[0]: "here"}


def told(master: Master, now_s: float) -> list[TaskLine]:
    return [open_line(master.jobs["j"], index, NAMES, Now(now_s, 1e9 + now_s)) for index in range(3)]


def test_a_task_that_runs_is_told_with_its_attempt_and_since_when_it_has_run() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[0]))
    submitted(master, 3, error_retries=1, backoff_s=1.0)
    master.confirmed(5.0, IDS[0], "j", 1, [report_of("started", 0, 0, 0.0), report_of("error", 1, 0, 0.1)])
    assert told(master, 6.0) == [
        TaskLine(0, "running", "here", attempts=1, started_s=1e9 + 5.0, ran_s=1.0),
        TaskLine(1, "pending", attempts=1),
        TaskLine(2, "pending", "here"),
    ]
    master.tick(6.0)
    master.confirmed(6.0, IDS[0], "j", 1, [report_of("ok", 0, 0, 0.0)])
    master.confirmed(7.0, IDS[0], "j", 1, [report_of("started", 1, 1, 0.0)])
    assert told(master, 7.0)[1] == TaskLine(1, "running", "here", attempts=2, started_s=1e9 + 7.0)


def test_what_ran_before_its_master_heard_of_it_has_run_as_long_as_its_node_says() -> None:
    master = Master(CONFIG, "3.11", Random(0), GRACE_S)
    master.worker_up(0.0, worker(IDS[0]))
    submitted(master, 3)
    master.confirmed(5.0, IDS[0], "j", 1, [Started(0, 0, ran_s=30.0)])
    assert told(master, 6.0)[0] == TaskLine(0, "running", "here", attempts=1, started_s=1e9 - 25.0, ran_s=31.0)
