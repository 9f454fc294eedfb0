"""What running tasks say, on its way home, and what they are told: between workers, masters and programs.

worker node           master              program
TaskOutput  ────────▶        ───────────▶            while the task runs
            ◀────────        ◀─────────── OutputTaken  when it has been shown; the worker node sends no more than a
                                                     window ahead of this
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from .codec import Count, Message
from .work import JobName


class TaskOutput(Message, frozen=True, tag=28):
    """Repeated over a new link, and to a new master. Whoever shows it knows by `position` what it has had."""

    job: JobName
    position: Count
    """Of the first byte, among all that the tasks of this job have printed on that node."""
    index: Count
    attempt: Count
    stream: Annotated[int, Meta(ge=1, le=2)]
    data: Annotated[bytes, Meta(max_length=65_536)]


class OutputTaken(Message, frozen=True, tag=29):
    job: JobName
    position: Count
    """Everything before has been shown, or nobody wants it."""
