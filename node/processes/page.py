"""A part of a node's process table, as it is told: what a job's processes have in common is said once."""

from __future__ import annotations

from typing import Final

from ...overlay.wire.processes import LINES_MAX, Processes, ProcessesOf, ProcessLine
from .process import Origin, Process

_NOT_LOOKED_AT: Final = (None, None, None)


class Page:
    """As it is at `now_s`."""

    def __init__(self, now_s: float, mesh_ahead_s: float) -> None:
        self.now_s = now_s
        self._mesh_ahead_s = mesh_ahead_s
        self._places: dict[int, int] = {}
        """Of origins, by identity: they live as long as their processes."""
        self._jobs: list[ProcessesOf] = []
        self._lines: list[ProcessLine] = []

    @property
    def is_full(self) -> bool:
        return len(self._lines) >= LINES_MAX

    def add(self, process: Process, how: str = "") -> None:
        times, origin = process.times, process.origin
        ran_s, waited_s, turnaround_s = times.all_by(self.now_s)
        cpu_s, memory_bytes, memory_most_bytes = process.used or _NOT_LOOKED_AT
        place = self._places.get(id(origin))
        self._lines.append(
            ProcessLine(
                process.number,
                self._place_of(origin) if place is None else place,
                process.index,
                process.state,
                process.priority,
                times.created_s + self._mesh_ahead_s,
                ran_s,
                waited_s,
                turnaround_s,
                process.stops,
                cpu_s,
                memory_bytes,
                memory_most_bytes,
                how,
                process.checkpoints,
            )
        )

    def _place_of(self, origin: Origin) -> int:
        place = self._places[id(origin)] = len(self._jobs)
        self._jobs.append(
            ProcessesOf(origin.job, origin.owner, origin.type, origin.parent, origin.group, origin.network_bytes)
        )
        return place

    def said(self, request: int, more: int = 0) -> Processes:
        return Processes(request, lines=self._lines, more=more, jobs=self._jobs)
