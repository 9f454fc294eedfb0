"""What a task may do with its node's control protocol: never more than it may itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.control import rights as rights_module
from potluck.node.control.rights import UNFINISHED_MAX, OfTask
from potluck.node.execution.tasks import Job, ProgramState, Task
from potluck.node.processes.process import Origin, Process
from potluck.node.scheduling.times import Times
from potluck.overlay.config import Execution
from potluck.overlay.errors import LimitExceeded, NotAllowed
from potluck.overlay.wire import control
from potluck.overlay.wire.control import JobOptions, NodeReports, TaskSpec
from potluck.overlay.wire.limits import Limits
from potluck.overlay.wire.work import Finished, Inline, Lineage, Program, Reference

OWN, GUEST = b"own", b"guest"
PROGRAM = Program(b"p" * 32, "callable", body=Inline(b""))


limits = st.builds(Limits, memory_bytes=st.integers(0, 1 << 40), cpu_s=st.floats(0, 1e6))


def task(*, priority: int = 0, depth: int = 0, whose: bytes = OWN) -> Task:
    lineage = Lineage("above/0", "root", depth) if depth else None
    job = Job(OWN, "job", b"master", 1, 0, whose, lineage)
    return Task(
        1,
        job,
        ProgramState(1, PROGRAM, Inline(b"")),
        3,
        0,
        Inline(b""),
        priority,
        None,
        True,
        Process(1, Times(0.0), Origin("job", "user", "owner")),
        depth,
    )


def rights(of: Task, *, confidential: bool = False) -> OfTask:
    return OfTask(of, Execution(), as_guest=of.job.whose != OWN, confidential=confidential)


def reference(letter: str) -> Reference:
    return Reference(letter.encode() * 16, 100_000, b"h" * 20)


def submit(*arguments: Inline | Reference) -> control.Submit:
    return control.Submit("job", PROGRAM, [TaskSpec(index, one) for index, one in enumerate(arguments)])


@given(
    st.builds(
        JobOptions,
        priority=st.integers(-20, 20),
        confidential=st.booleans(),
        cache=st.booleans(),
        takes_input=st.booleans(),
        limits=limits,
    ),
    st.integers(-20, 20),
    st.booleans(),
    st.sampled_from([OWN, GUEST]),
    limits,
)
def test_what_a_task_submits_has_no_more_rights_than_the_task(
    wanted: JobOptions, priority: int, confidential: bool, whose: bytes, most: Limits
) -> None:
    parent = task(priority=priority, whose=whose)
    parent.job.limits = most
    of_task = rights(parent, confidential=confidential)
    given_options = of_task.options(wanted)
    assert given_options.priority <= priority and given_options.priority <= wanted.priority
    assert given_options.confidential >= max(confidential, wanted.confidential)
    assert not (given_options.cache and (confidential or whose == GUEST)), "the owner's keys are not for guests"
    assert not given_options.takes_input
    assert most.memory_bytes == 0 or 0 < given_options.limits.memory_bytes <= most.memory_bytes
    assert most.cpu_s == 0 or 0 < given_options.limits.cpu_s <= most.cpu_s
    assert of_task.origin is not None
    assert (of_task.origin.owner, of_task.origin.as_guest) == (whose, whose == GUEST)
    assert of_task.origin.lineage == Lineage("job/3", "job", 1)


def test_what_it_submits_comes_from_the_same_program_and_is_one_deeper() -> None:
    origin = rights(task(depth=5)).origin
    assert origin is not None and origin.lineage == Lineage("job/3", "root", 6)


def test_the_depth_of_tasks_is_bounded_and_detached_jobs_are_not_for_them() -> None:
    deepest = Execution().depth_max
    assert rights(task(depth=deepest - 1)).options(JobOptions()) == JobOptions()
    with pytest.raises(LimitExceeded, match=f"{deepest} deep"):
        rights(task(depth=deepest)).options(JobOptions())
    with pytest.raises(NotAllowed, match="detached"):
        rights(task()).options(JobOptions(lasting=True))


@pytest.mark.parametrize(
    "message",
    [control.ShutDown(1), control.Invite(1), control.Ban(1, "n"), control.AskStatus(1), control.MemoryGet(1, "k")],
    ids=lambda message: type(message).__name__,
)
def test_what_is_for_programs_is_refused(message: control.Message) -> None:
    with pytest.raises(NotAllowed):
        rights(task()).check(message)


def test_only_what_it_has_uploaded_or_been_given_can_be_named() -> None:
    one = rights(task())
    for message in (submit(reference("a")), control.GetObject(1, "job", reference("b"))):
        with pytest.raises(NotAllowed, match="uploaded or been given"):
            one.check(message)
    one.check(control.PutPart(reference("a").object_id, 0, 1, b"x"))
    one.check(submit(reference("a")))
    one.reported([NodeReports("n", True, [Finished(0, 0, value=reference("b"))])])
    one.check(control.GetObject(1, "job", reference("b")))


def test_unfinished_tasks_are_bounded() -> None:
    one = rights(task())
    full = control.Submit("job", PROGRAM, [TaskSpec(index, Inline(b"")) for index in range(UNFINISHED_MAX)])
    one.check(full)
    one.reported([NodeReports("n", True, [Finished(0, 0)])])
    one.check(submit(Inline(b"")))
    with pytest.raises(LimitExceeded):
        one.check(submit(Inline(b"")))


def test_a_task_can_have_only_so_many_long_payloads_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights_module, "_KNOWN_MAX", 10)
    ours = rights(task())
    for number in range(10):
        ours.check(control.PutPart(number.to_bytes(16, "big"), 0, 0, b""))
    with pytest.raises(LimitExceeded):
        ours.check(control.PutPart(bytes([9]) * 16, 0, 0, b""))
