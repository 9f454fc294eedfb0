"""What running tasks say, on its way home, and what they are told: between workers, masters and programs.

worker node           master              program
TaskOutput  ────────▶        ───────────▶            while the task runs
            ◀────────        ◀─────────── OutputTaken  when it has been shown; the worker node sends no more than a
                                                     window ahead of this
InputWanted ────────▶        ───────────▶              when a script's standard input has room
            ◀────────        ◀─────────── InputPart
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
    """Of the first byte, among all that the tasks of this job have printed on that node since `begun`."""
    index: Count
    attempt: Count
    stream: Annotated[int, Meta(ge=1, le=2)]
    data: Annotated[bytes, Meta(max_length=65_536)]
    begun: Count = 0
    """Another number when the node, or this job there, has begun anew: then positions count from nothing."""


class OutputTaken(Message, frozen=True, tag=29):
    job: JobName
    position: Count
    """Everything before has been shown, or nobody wants it."""
    begun: Count = 0


class InputWanted(Message, frozen=True, tag=63):
    """From this byte on. Answer: InputPart. Asked again over a new link, and by another attempt from the beginning."""

    job: JobName
    index: Count
    attempt: Count
    offset: Count


class InputPart(Message, frozen=True, tag=64):
    job: JobName
    index: Count
    attempt: Count
    offset: Count
    data: Annotated[bytes, Meta(max_length=65_536)] = b""
    end: bool = False
    """There is no more after it."""
    gone: bool = False
    """It was given to an earlier attempt, and was too much to be kept."""
