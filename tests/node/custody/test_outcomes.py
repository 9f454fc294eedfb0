"""What is told of a long job is read where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.custody import telling
from potluck.node.custody.alone import Alone
from potluck.node.custody.archive import Archive
from potluck.node.custody.journal import Journal, Log
from potluck.node.custody.mastery import Mastery
from potluck.node.custody.outcomes import Outcomes
from potluck.node.custody.seats import Seat
from potluck.node.custody.story import Counts
from potluck.node.custody.volatile import Volatile
from potluck.overlay.ids import NodeId
from potluck.overlay.wire import questions
from potluck.overlay.wire.control import JobOptions, NodeReports, TaskSpec
from potluck.overlay.wire.joblog import Opened
from potluck.overlay.wire.work import Finished, Inline, Program

OWN = NodeId(bytes(20))
PROGRAM = Program(bytes(32), "callable", body=Inline(b"body"))


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 1000))))
def test_an_outcome_stands_where_it_was_noted_last(notes: list[tuple[int, int]]) -> None:
    outcomes, model = Outcomes(), dict[int, int]()
    for index, entry in notes:
        outcomes.note(index, entry)
        model[index] = entry
    assert {index: outcomes.entry_of(index) for index in range(302)} == {i: model.get(i, 0) for i in range(302)}
    assert [index in outcomes for index in range(302)] == [index in model for index in range(302)]


class Watched(Archive):
    """Counts how many entries are read."""

    reads = 0

    def entries(self, job: str, first: int, end: int) -> Any:
        for entry in super().entries(job, first, end):
            self.reads += 1
            yield entry


def lasting(_mastery: Mastery, reports: Sequence[Finished]) -> list[Finished]:
    return list(reports)


async def told(batches: list[list[int]], tasks: int) -> tuple[list[questions.TaskLine], Counts, Watched]:
    """Every page of a job in which the tasks of each batch end together."""
    archive = Watched(Volatile())
    opened = Opened(bytes(20), "me", 1.0, JobOptions(confidential=True))
    mastery = Mastery(Alone(OWN, archive, lasting, lambda: 0.0), "j", Journal(Log().begun(1)), Seat(OWN, 1), opened)
    mastery.open()
    mastery.add(PROGRAM, [TaskSpec(index, Inline(b"")) for index in range(tasks)])
    mastery.seal()
    lines: list[questions.TaskLine] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mastery.run, lambda: None)
        for batch in batches:
            reports: list[Any] = [Finished(index, 0, Inline(b"%d" % index)) for index in batch]
            mastery.take("j", [NodeReports("n", True, reports)])
        await mastery.shown()
        counts = mastery.shown_counts
        archive.reads, more = 0, 0
        while True:
            page, more = telling.page(telling.lines_of(mastery, None, {}, more, telling.Now(0.0, 0.0)))
            lines += page
            if not more:
                break
        mastery.end()
    return lines, counts, archive


@given(st.lists(st.integers(0, 60), unique=True).flatmap(st.permutations), st.integers(1, 8))
def test_pages_tell_of_every_task_once_and_in_order(ended: list[int], batch: int) -> None:
    batches = [list(ended[start : start + batch]) for start in range(0, len(ended), batch)]
    lines, counts, _archive = trio.run(told, batches, 61)
    assert [line.index for line in lines] == list(range(61))
    for line in lines:
        assert line.state == ("ended" if line.index in ended else "pending")
        if line.finished is not None:
            assert line.finished.value == Inline(b"%d" % line.index)
    assert (counts.tasks, counts.ended) == (61, len(ended))


def test_a_long_job_is_read_once_however_many_its_pages() -> None:
    tasks, batch = 40_000, 500
    batches = [list(range(start, start + batch)) for start in range(0, tasks, batch)]
    lines, _counts, archive = trio.run(told, batches, tasks)
    assert len(lines) == tasks > 2 * questions.LINES_MAX
    assert archive.reads <= 2 * tasks / batch
