"""Shell: jobs whose master is gone, as their workers see them.

Whoever becomes master asks everybody what runs of the job. Who could not be asked then, because it was cut off or stood
still, looks into the job's register itself:

    the register names      somebody who is there    is told: asks, and takes over what there is
                            somebody who is gone     looked at again: a deputy is about to be master
                            nobody                   the job was forgotten, or never promised: dropped
    cannot agree now        looked at again
"""

from __future__ import annotations

from typing import Final, Protocol

import trio

from ...overlay.errors import NotAllowed, Unavailable
from ...overlay.ids import NodeId
from ...overlay.links.links import Links
from ...overlay.membership.service import Membership
from ...overlay.wire.work import JobOrphaned
from .seats import Seat

_LOOK_S: Final = 5.0


class Worker(Protocol):
    """This node's execution."""

    def orphans(self) -> list[tuple[bytes, str]]: ...

    def disown(self, owner: bytes, job: str) -> None: ...


class Office(Protocol):
    """This node's custody."""

    async def seat_of(self, job: str) -> Seat | None:
        """Raises Unavailable."""

    def claim(self, node_id: NodeId, job: str) -> None: ...


class Orphaned:
    def __init__(self, own_id: NodeId, office: Office, worker: Worker, links: Links, membership: Membership) -> None:
        self._own_id = own_id
        self._office = office
        self._worker = worker
        self._links = links
        self._membership = membership

    async def run(self) -> None:
        while True:
            await trio.sleep(_LOOK_S)
            for owner, job in self._worker.orphans():
                await self._look_at(owner, job)

    async def _look_at(self, owner: bytes, job: str) -> None:
        try:
            seat = await self._office.seat_of(job)
        except Unavailable:
            return
        if seat is None:
            self._worker.disown(owner, job)
        elif seat.master == self._own_id:
            self._office.claim(self._own_id, job)
        else:
            await self._tell(NodeId(seat.master), job)

    async def _tell(self, master: NodeId, job: str) -> None:
        member = self._membership.get(master)
        if member is None or not member.present:
            return
        try:
            link = await self._links.link_to(master, member.address)
            link.post(JobOrphaned(job))
        except (Unavailable, NotAllowed):
            return  # told when it is looked at again
