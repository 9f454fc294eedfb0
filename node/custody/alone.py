"""What a confidential job that lasts has instead of custody."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...overlay.errors import NotAllowed
from ...overlay.ids import NodeId
from ...overlay.wire.joblog import JobLog, JobLogged
from ...overlay.wire.work import Finished
from .archive import Archive
from .backlog import Backlog
from .mastery import Mastery
from .seats import Change, Seat


class Alone:
    """The office of a confidential job: nobody else hears of it, nothing is written down, and it ends with its node."""

    def __init__(
        self,
        own_id: NodeId,
        archive: Archive,
        lasting: Callable[[Mastery, Sequence[Finished]], list[Finished]],
        now_s: Callable[[], float],
    ) -> None:
        self.own_id = own_id
        self.backlog = Backlog()
        self.archive = archive
        self.lasting = lasting
        self.now_s = now_s

    def candidates(self, owner: bytes) -> list[bytes]:
        return []

    def is_present(self, node_id: bytes) -> bool:
        return False

    async def change(self, register: bytes, change: Change) -> Seat:
        raise NotAllowed("a confidential job has no register")

    async def tell(self, node_id: bytes, make: Callable[[int], JobLog], timeout_s: float) -> JobLogged:
        raise NotAllowed("a confidential job has no deputies")

    def is_pair(self, register: bytes) -> bool:
        return False
