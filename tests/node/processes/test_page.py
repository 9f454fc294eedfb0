"""What a page says is what its processes are."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from potluck.node.processes.page import Page
from potluck.node.processes.process import Origin, Process, State
from potluck.node.scheduling.times import Times
from potluck.overlay.wire.control import TO_PROGRAM
from potluck.overlay.wire.processes import LINES_MAX, Processes
from potluck.verbs.processes import Row, rows_of
from potluck.verbs.rendering import LONG_LIST, json_text

names = st.text("0123456789abcdef", min_size=1, max_size=16)
origins = st.builds(
    Origin, job=names, type=st.sampled_from(["user", "system"]), owner=names, group=names, network_bytes=st.just(0)
)
seconds = st.floats(0, 1e6)


class Line(Struct):
    name: str
    of: None
    at_s: float


@st.composite
def processes(draw: st.DrawFn) -> list[Process]:
    jobs = draw(st.lists(origins, min_size=1, max_size=4))
    made = []
    for number in range(draw(st.integers(0, 20))):
        process = Process(number, Times(draw(seconds)), draw(st.sampled_from(jobs)), draw(st.integers(0, 99)))
        process.priority = draw(st.integers(-20, 20))
        if draw(st.booleans()):
            process.move(1e6, State.READY)
            process.move(1e6, State.RUNNING)
            process.measured(draw(seconds), draw(st.integers(0, 1 << 40)))
        made.append(process)
    return made


def read(page: Page) -> list[Row]:
    frames = TO_PROGRAM.frames()
    frames.feed(TO_PROGRAM.encode(page.said(1)))
    body = frames.next_body()
    assert body is not None
    said = TO_PROGRAM.decode(body)
    assert isinstance(said, Processes)
    return list(rows_of("ant", said))


@given(processes(), seconds)
def test_every_row_is_told_as_it_is(table: list[Process], later_s: float) -> None:
    now_s = 1e6 + later_s
    page = Page(now_s, 5.0)
    for process in table:
        page.add(process)
    told = read(page)
    assert [row.pid for row in told] == [f"ant/{process.number}" for process in table]
    for row, process in zip(told, table, strict=True):
        origin, times, used = process.origin, process.times, process.used
        assert (row.job, row.owner, row.group) == (origin.job, origin.owner, origin.group)
        assert (row.task, row.type) == (f"{origin.job}/{process.index}", origin.type)
        assert (row.state, row.priority) == (process.state.value, process.priority)
        assert row.created_s == times.created_s + 5.0
        assert row.wait_s == times.waited_by(now_s)
        assert row.turnaround_s == times.turnaround_by(now_s)
        assert row.cpu_s == (times.ran_by(now_s) if used is None else used.cpu_s)
        assert row.memory == (None if used is None else used.memory_bytes)


def test_a_full_page_fits_into_a_message() -> None:
    page = Page(0.0, 0.0)
    number = 0
    while not page.is_full:
        page.add(Process(number, Times(0.0), Origin(*["x" * 256] * 5), 1 << 52, -1_000_000))
        number += 1
    assert len(read(page)) == LINES_MAX


@given(st.integers(0, 2), st.text(max_size=3))
def test_long_lists_are_the_same_json_as_short_ones(more: int, text: str) -> None:
    value = [{"name": text, "of": None, "at_s": 0.1}] * (LONG_LIST - 1 + more)
    assert json.loads(json_text(value)) == value
    assert json.loads(json_text([Line(text, None, 0.1)] * len(value))) == value


@given(st.lists(st.tuples(seconds, st.integers(0, 1 << 40)), min_size=1))
def test_what_was_used_never_becomes_less(looks: list[tuple[float, int]]) -> None:
    process = Process(1, Times(0.0), Origin("j", "user", "me"))
    for cpu_s, memory_bytes in looks:
        process.measured(cpu_s, memory_bytes)
    assert process.used == (max(one[0] for one in looks), looks[-1][1], max(one[1] for one in looks))
