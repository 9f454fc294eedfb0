"""What a node can do, as it says of itself in HANDSHAKE and in its card."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from .codec import Count, Real, ShortText, Span

Kind = Annotated[str, Meta(max_length=32)]


class Guarantees(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which limits a sandbox really enforces; travels with every result. Names are the contract's."""

    network: bool = False
    filesystem: bool = False
    environment: bool = False
    memory: bool = False
    cpu: bool = False
    processes: bool = False
    disk: bool = False
    time: bool = False
    kill_all: bool = False

    def as_dict(self) -> dict[str, bool]:
        return {name: getattr(self, name) for name in self.__struct_fields__}


class Capabilities(msgspec.Struct, frozen=True, array_like=True):
    kinds: Annotated[list[Kind], Meta(max_length=64)] = []
    slots: Count = 0
    cpus: Count = 0
    memory_bytes: Count = 0
    disk_bytes: Count = 0
    gpus: Annotated[list[ShortText], Meta(max_length=64)] = []
    python: ShortText = ""
    """Minor version, `3.11`: pickled callables run only on the same one."""
    sandbox: ShortText = ""
    guarantees: Guarantees = Guarantees()
    runs_others: bool = False
    """Whether tasks of other owners are admitted at all."""
    packages_digest: Annotated[bytes, Meta(max_length=32)] = b""
    labels: Annotated[dict[ShortText, ShortText], Meta(max_length=64)] = {}
    version: ShortText = ""
    network: ShortText = ""
    """Whose tasks may use it: `none`, `own` or `all`; empty: none."""


class LoadReport(msgspec.Struct, frozen=True, array_like=True):
    """How busy a node is. `sequence` grows by one with every report of a boot."""

    sequence: Count = 0
    slots: Count = 0
    busy: Count = 0
    queued: Count = 0
    memory_free_bytes: Count = 0
    disk_free_bytes: Count = 0
    cpu_percent: Real = 0.0
    task_mean_s: Span = 0.0
    """Exponentially smoothed run time of a task; 0 when none has run."""
    queued_by_level: Annotated[list[Count], Meta(max_length=16)] = []
    gpus_free: Count = 0
    chooses: bool = False
    """Its policy has use for tasks of every job, more than there are slots for."""
    closed: ShortText = ""
    """Why it takes nothing from elsewhere now; empty while it does."""
    waiting: Count = 0
    """Tasks without a slot, because they wait for others that they have submitted. Neither busy nor queued."""
