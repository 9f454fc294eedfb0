"""Lists are cut so that each part fits into a frame."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from potluck.node.jobs.batches import BATCH_BYTES_MAX, BATCH_COUNT_MAX, cut, payload_bytes, report_bytes
from potluck.overlay.wire.control import TO_PROGRAM, NodeReports, TaskReports
from potluck.overlay.wire.framing import CONTROL_FRAME_BYTES_MAX
from potluck.overlay.wire.peer import PEER
from potluck.overlay.wire.work import (
    ExecutionConfirmation,
    Fault,
    Finished,
    Inline,
    Instruction,
    InstructionAssignment,
    Program,
    Report,
    Returned,
    Started,
)

from ...strategies.messages import of_type

BIG = (1 << 53) - 1


@given(sizes=st.lists(st.integers(0, 1 << 20), max_size=40))
def test_a_cut_keeps_the_order_and_its_bounds(sizes: list[int]) -> None:
    parts = list(cut(sizes, lambda size: size))
    assert [size for part in parts for size in part] == sizes
    assert all(parts)
    for part in parts:
        assert len(part) == 1 or sum(part) <= BATCH_BYTES_MAX
    for part, following in itertools.pairwise(parts):
        assert sum(part) + following[0] + 100 * (len(part) + 1) > BATCH_BYTES_MAX, "no part is cut early"


def test_many_small_things_are_cut_by_their_number() -> None:
    parts = list(cut(range(3 * BATCH_COUNT_MAX), lambda item: 0))
    assert max(map(len, parts)) <= BATCH_COUNT_MAX
    assert sum(map(len, parts)) == 3 * BATCH_COUNT_MAX
    assert list(cut([], lambda item: 0)) == []


WORST: list[Report] = [
    Started(BIG, BIG),
    Returned(BIG, BIG, 25, "\U0001f957" * 256),
    Finished(BIG, BIG, value=Inline(b"")),
    Finished(BIG, BIG, value=Inline(b"", [b""] * 4096)),
    Finished(BIG, BIG, fault=Fault(41, "", "\U0001f957" * 256)),
    Finished(BIG, BIG, fault=Fault(41, "\U0001f957" * 300, "", "\U0001f957" * 300, bytes(300))),
    Finished(BIG, BIG, value=Inline(b"x" * 200), stdout=bytes(300), stderr=bytes(300)),
]


def fits(reports: list[Report]) -> None:
    for part in cut(reports, report_bytes):
        sent = PEER.encode(ExecutionConfirmation("j" * 64, BIG, part))
        told = TO_PROGRAM.encode(TaskReports("j" * 64, [NodeReports("n" * 63, True, part)]))
        assert max(len(sent), len(told)) <= CONTROL_FRAME_BYTES_MAX + 5


def test_full_batches_of_the_worst_reports_fit_into_a_frame() -> None:
    for report in WORST:
        count = (
            200
            if isinstance(report, Finished) and isinstance(report.value, Inline) and report.value.buffers
            else 20_000
        )
        fits([report] * count)


@given(report=of_type(Report), count=st.sampled_from([1, 3000]))
def test_full_batches_of_any_report_fit_into_a_frame(report: Report, count: int) -> None:
    fits([report] * count)


@given(instruction=of_type(Instruction), count=st.sampled_from([1, 3000]))
def test_full_batches_of_instructions_fit_into_a_frame(instruction: Instruction, count: int) -> None:
    program = Program(bytes(32), "callable", "e" * 256, "f" * 256, Inline(bytes(64 << 10)))
    for part in cut([instruction] * count, lambda one: payload_bytes(one.arguments)):
        PEER.encode(InstructionAssignment("j" * 64, BIG, program, part))
