"""Cutting lists of messages' parts so that each cut fits into a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from ...overlay.wire.work import Checkpoint, Inline, Payload, Report, Returned, Started

T = TypeVar("T")

BATCH_BYTES_MAX: Final = 768 << 10
"""Leaves room in a frame for what surrounds the parts."""
BATCH_COUNT_MAX: Final = 16_384
_OVERHEAD_BYTES: Final = 80


def cut(items: Iterable[T], size_of: Callable[[T], int], bytes_max: int = BATCH_BYTES_MAX) -> Iterator[list[T]]:
    """In order, each part at most `bytes_max` by `size_of`, or a single item."""
    part: list[T] = []
    size = 0
    for item in items:
        item_size = size_of(item) + _OVERHEAD_BYTES
        if part and (size + item_size > bytes_max or len(part) >= BATCH_COUNT_MAX):
            yield part
            part, size = [], 0
        part.append(item)
        size += item_size
    if part:
        yield part


def payload_bytes(payload: Payload | None) -> int:
    if isinstance(payload, Inline):
        return len(payload.data) + sum(map(len, payload.buffers)) + 8 * len(payload.buffers)
    return 64


def checkpoint_bytes(checkpoint: Checkpoint | None) -> int:
    return 0 if checkpoint is None else len(checkpoint.state) + 16


def report_bytes(report: Report) -> int:
    """At most this, beside the overhead of any item. A character takes up to four bytes."""
    if isinstance(report, Returned):
        return 4 * len(report.reason)
    if isinstance(report, Started):
        return checkpoint_bytes(report.checkpoint)
    size = payload_bytes(report.value) + len(report.stdout) + len(report.stderr)
    if (fault := report.fault) is not None:
        size += 4 * (len(fault.message) + len(fault.traceback) + len(fault.exception_type))
        size += len(fault.exception_arguments) + len(fault.exception_state) + len(fault.exception_pickle)
    return size
