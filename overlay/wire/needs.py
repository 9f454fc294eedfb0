"""What a task asks for, to have for itself while it runs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from .codec import Count, ShortText


class Needs(msgspec.Struct, frozen=True, array_like=True):
    """What a node has to have, for any of the tasks of a job."""

    cpus: Count = 0
    memory_bytes: Count = 0
    gpus: Count = 0
    labels: Annotated[tuple[tuple[ShortText, ShortText], ...], Meta(max_length=64)] = ()

    @property
    def reserves(self) -> bool:
        """Whether anything has to be set aside for each of the tasks."""
        return bool(self.cpus or self.memory_bytes or self.gpus)


NO_NEEDS = Needs()
