"""Whether a task has taken more than it may: a comparison, and the line that says so."""

from __future__ import annotations

import msgspec

from ...overlay.errors import LimitExceeded
from ...overlay.wire.limits import Limits, Usage


class Begun(msgspec.Struct, frozen=True):
    """What there was when the task began; sandboxes serve one after the other."""

    usage: Usage
    printed_bytes: int


def exceeded(limits: Limits, begun: Begun, now: Usage, printed_bytes: int) -> LimitExceeded | None:
    """Names the limit with both figures."""
    before = begun.usage
    if now.memory_kills > before.memory_kills or 0 < limits.memory_bytes < now.memory_bytes:
        return _said("memory", limits.memory_bytes, "bytes", max(now.memory_bytes, limits.memory_bytes))
    if 0 < limits.cpu_s < (used_s := now.cpu_s - before.cpu_s):
        return LimitExceeded(f"CPU time: it took {used_s:.2f} s; its limit is {limits.cpu_s:g} s")
    if now.processes_refused > before.processes_refused or 0 < limits.processes < now.processes:
        return _said("processes", limits.processes, "at one time", max(now.processes, limits.processes + 1))
    if now.disk_full or 0 < limits.disk_bytes < now.disk_bytes:
        return _said("scratch disk", limits.disk_bytes or now.disk_bytes, "bytes", now.disk_bytes)
    return exceeded_output(limits, printed_bytes - begun.printed_bytes)


def exceeded_output(limits: Limits, printed_bytes: int) -> LimitExceeded | None:
    if 0 < limits.output_bytes < printed_bytes:
        return _said("output", limits.output_bytes, "bytes", printed_bytes)
    return None


def _said(what: str, limit: int, unit: str, used: int) -> LimitExceeded:
    return LimitExceeded(f"{what}: it took {used} {unit}; its limit is {limit}")
