"""What a worker has for a job when another master takes it over."""

from __future__ import annotations

import pytest
from potluck.node.execution.tasks import Job
from potluck.overlay.errors import Cancelled, TaskFailed, WorkerLost
from potluck.overlay.wire.work import Fault, Finished, Inline

VALUE = Finished(0, 3, Inline(b"v"))


def job_with(report: Finished) -> Job:
    job = Job(b"owner", "job", b"first", 1, 0)
    job.remember(report)
    return job


@pytest.mark.parametrize("report", [VALUE, Finished(0, 3, fault=Fault(TaskFailed.wire_code, "no"))])
def test_what_is_done_answers_the_first_attempt_of_a_later_master(report: Finished) -> None:
    job = job_with(report)
    job.obey(b"second", 2)
    assert (job.assigner, job.epoch, job.reports[0].attempt) == (b"second", 2, 0)
    assert job.reports[0].value == report.value and job.reports[0].fault == report.fault


@pytest.mark.parametrize("error", [Cancelled, WorkerLost])
def test_what_an_earlier_master_gave_up_a_later_one_may_have_done(error: type) -> None:
    job = job_with(Finished(0, 0, fault=Fault(error.wire_code, "no")))
    job.obey(b"second", 2)
    assert not job.reports and not job.report_bytes


def test_the_same_master_changes_nothing() -> None:
    job = job_with(VALUE)
    job.obey(b"first", 1)
    assert job.reports[0] is VALUE
