"""What this node remembers of jobs that are over: a row for each, never what they computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from ...overlay.errors import Cancelled, RemoteProtocolError
from ...overlay.ports import Store
from ...overlay.wire.codec import decoded
from ...overlay.wire.work import Finished, Report
from .tasks import Job

_TABLE: Final = "history"
_ROWS_MAX: Final = 1000


class Past(msgspec.Struct, frozen=True):
    job: str
    state: str
    submitted_s: float
    """Mesh time, as below."""
    ended_s: float
    tasks: int
    failed: int
    run_s: float
    """Of all its tasks together."""
    nodes: dict[str, int]
    """Tasks that each has run."""
    lasting: bool = False


_decoder: Final = msgspec.msgpack.Decoder(Past)


class Course:
    """How a job goes whose client waits for it, as far as history will tell."""

    def __init__(self) -> None:
        self._run_s = 0.0
        self._nodes: Counter[str] = Counter()
        self._states: Counter[str] = Counter()

    def saw(self, node: str, reports: Iterable[Report]) -> None:
        for report in reports:
            if isinstance(report, Finished):
                self._run_s += report.elapsed_s
                self._states[_state(report)] += 1
                if node:
                    self._nodes[node] += 1

    def past(self, job: Job, now_s: float) -> Past:
        """One that ends before its tasks do was given up by whoever waited for it."""
        given_up = "cancelled" if job.unfinished else "completed"
        state = next((each for each in ("failed", "cancelled") if self._states[each]), given_up)
        return Past(
            job=job.job_id,
            state=state,
            submitted_s=job.submitted_s,
            ended_s=now_s,
            tasks=job.total,
            failed=self._states["failed"],
            run_s=self._run_s,
            nodes=dict(self._nodes),
        )


def _state(report: Finished) -> str:
    if report.fault is None:
        return "completed"
    return "cancelled" if report.fault.code == Cancelled.wire_code else "failed"


class History:
    """The youngest `_ROWS_MAX`, on disk as soon as anything else is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[bytes, Past] = {}

    def load(self) -> None:
        for key, value in list(self._store.scan(_TABLE)):
            try:
                self._rows[key] = decoded(_decoder, value, "a job that is over")
            except RemoteProtocolError:
                self._store.delete(_TABLE, key)  # of a damaged disk

    def add(self, past: Past) -> None:
        """Instead of what was told of the same job before: whoever begins again as its master tells it again."""
        for key in [key for key, known in self._rows.items() if known.job == past.job]:
            del self._rows[key]
            self._store.delete(_TABLE, key)
        key = int(past.ended_s * 1e6).to_bytes(8, "big") + past.job.encode()
        self._rows[key] = past
        self._store.put(_TABLE, key, msgspec.msgpack.encode(past))
        while len(self._rows) > _ROWS_MAX:
            oldest = min(self._rows)
            del self._rows[oldest]
            self._store.delete(_TABLE, oldest)

    def rows(self) -> list[dict[str, object]]:
        """Oldest first."""
        return [msgspec.structs.asdict(self._rows[key]) for key in sorted(self._rows)]
