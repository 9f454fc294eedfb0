"""What one task may use, and what a sandbox has used."""

from __future__ import annotations

import msgspec

from .codec import Count, Span


class Limits(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Of a task with all processes it starts. 0: as much as its node gives to anybody; more is never given."""

    memory_bytes: Count = 0
    """With what it writes to scratch, /tmp and /dev/shm, which lie in memory."""
    cpu_s: Span = 0.0
    processes: Count = 0
    """At one time, with their threads."""
    disk_bytes: Count = 0
    """In scratch, /tmp and /dev/shm together."""
    output_bytes: Count = 0
    """To stdout and stderr together."""

    def within(self, most: Limits) -> Limits:
        """The smaller of each, where both are set. Whatever a peer says, it is given no more than `most`."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(most), strict=True)
        return Limits(*(min((one for one in pair if one > 0), default=0) for pair in pairs))


class Usage(msgspec.Struct, frozen=True):
    """Of everything in one sandbox, since it began."""

    memory_bytes: int = 0
    memory_kills: int = 0
    """Processes that the kernel has ended because the memory was used up."""
    cpu_s: float = 0.0
    processes: int = 0
    processes_refused: int = 0
    disk_bytes: int = 0
    disk_full: bool = False
