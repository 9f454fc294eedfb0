"""Whom the control socket speaks for: a node, and the process around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ...overlay import boundary
from ...overlay.ids import NodeId
from ...overlay.wire import control
from ..audit.inquiry import Inquiry
from ..cache import ResultCache
from ..custody.questions import Questions
from ..custody.service import Custody
from ..jobs.service import Jobs
from ..leaving import Leaving
from ..lending.service import LendingService
from ..memory import SharedMemory
from ..objects import Objects
from ..processes.service import ProcessTable
from ..streams import Streams


class Served(Protocol):
    """What a node offers to its user's programs."""

    jobs: Jobs
    streams: Streams
    inquiry: Inquiry
    cache: ResultCache
    custody: Custody
    questions: Questions
    processes: ProcessTable
    lending: LendingService
    memory: SharedMemory
    objects: Objects
    failed: boundary.Failed

    @property
    def name(self) -> str: ...

    @property
    def node_id(self) -> NodeId: ...

    def status(self) -> dict[str, object]: ...

    def policy(self, spec: str) -> dict[str, object]: ...

    async def peers(self) -> list[dict[str, object]]: ...

    def slots_in_mesh(self) -> int: ...

    @property
    def farewell(self) -> Leaving: ...

    def shut_down(self) -> None: ...

    def watch(self, watcher: Callable[[dict[str, object]], None]) -> Callable[[], None]: ...

    async def members(self) -> list[dict[str, object]]: ...


class House(Protocol):
    """What the process around a node offers: who is let in and who is banned, moving into another mesh, and what is
    wrong here."""

    def invite(self, wanted: control.Invite) -> dict[str, object]: ...

    def reload(self, peers: Sequence[str]) -> None: ...

    async def rotate(self, wanted: control.Rotate) -> dict[str, object]: ...

    async def ban(self, wanted: control.Ban) -> dict[str, object]: ...

    async def examine(self) -> list[dict[str, object]]: ...
