"""Shell: how a new master goes on with a job.

From its log comes what has no outcome yet. From every node that may be a worker comes what runs on there, or has ended
and nobody has heard: that is taken over as it is. The rest is placed when all have answered, or have had time to.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import msgspec
import trio

from ...overlay.config import Links as LinksConfig
from ...overlay.errors import NotAllowed, Unavailable
from ...overlay.identity.mesh import Identity
from ...overlay.ids import NodeId
from ...overlay.links.links import Links
from ...overlay.membership.detector import Changed
from ...overlay.membership.service import Membership
from ...overlay.wire.control import TaskSpec
from ...overlay.wire.gossip import Status
from ...overlay.wire.work import Inline, Payload, Reference, TasksHeld, TasksSought
from ..jobs.service import Jobs
from .asking import Asking
from .mastery import Mastery
from .story import Story

logger = logging.getLogger("potluck.node")

_ANSWER_S: Final = 2.0
"""For a node to say what it holds; who takes longer stands still, and what runs there may be run again."""
_RETURN_S: Final = 3.0
"""For nodes that may run what must not run twice, and are not to be seen: after a power cut nobody is, at first."""


class Resuming:
    def __init__(
        self, identity: Identity, jobs: Jobs, links: Links, membership: Membership, config: LinksConfig
    ) -> None:
        self._own_id, self._own_name = identity.node_id, identity.name
        self._jobs = jobs
        self._links = links
        self._asking = Asking(links, membership)
        self._membership = membership
        self._config = config
        self._changed = trio.lowlevel.ParkingLot()
        membership.observers.append(self._member_changed)

    def submit(self, mastery: Mastery, story: Story) -> None:
        """What has no outcome, to be on hold until `go_on`."""
        specs: dict[bytes, list[TaskSpec]] = {program_id: [] for program_id in story.programs}
        for program_id, spec in story.tasks.values():
            specs[program_id].append(msgspec.structs.replace(spec, arguments=self._here(spec.arguments)))
        for program_id, program in story.programs.items():
            body = None if program.body is None else self._here(program.body)
            self._jobs.submit(mastery.job, msgspec.structs.replace(program, body=body), specs[program_id])

    async def go_on(self, mastery: Mastery, begun: Mapping[int, str]) -> None:
        """`begun`: tasks that may have begun and must not run twice, and at which node."""
        await self._see(set(begun.values()))
        async with trio.open_nursery() as nursery:
            for node_id in self._workers():
                nursery.start_soon(self.take_in, node_id, mastery, begun)
        if not mastery.ended.is_set():
            self._jobs.resume(mastery.job, {index: self._why_lost(name) for index, name in begun.items()})

    def _why_lost(self, name: str) -> str:
        """Of what nobody holds who may have begun it."""
        left = any(member.name == name and member.status is Status.LEFT for member in self._membership.members)
        return f"{name} has left" if left else f"{name} does not say what became of it there"

    def _here(self, payload: Payload) -> Payload:
        """Written down here, whoever named it first."""
        if isinstance(payload, Inline):
            return payload
        return Reference(payload.object_id, payload.size_bytes, self._own_id)

    # What runs on

    async def _see(self, names: set[str]) -> None:
        """Waits until each is there, or known to be gone, but not for long."""
        with trio.move_on_after(_RETURN_S):
            while not names <= {self._own_name, *(member.name for member in self._membership.members)}:
                await self._changed.park()

    def _member_changed(self, _change: Changed) -> None:
        self._changed.unpark_all()

    def _workers(self) -> list[NodeId]:
        """In a small mesh everybody, in a large one those who could be given work now."""
        present = [member.node_id for member in self._membership.present()]
        if len(present) >= self._config.neighbours_full:
            present = [node_id for node_id in present if self._links.get(node_id) is not None]
        return [self._own_id, *present]

    async def take_in(self, node_id: NodeId, mastery: Mastery, begun: Mapping[int, str]) -> None:
        """What this node holds of the job, if it answers; of what must not run twice, what the log says it has."""
        held = await self._ask(node_id, mastery)
        if mastery.opened.options.at_most_once:
            held = [index for index in held if begun.get(index) == self._name_of(node_id)]
        if mastery.over:
            self._jobs.release(node_id, mastery.job, mastery.epoch)
        elif not mastery.ended.is_set():
            self._jobs.adopt(mastery.job, node_id, held)

    def _name_of(self, node_id: NodeId) -> str:
        if node_id == self._own_id:
            return self._own_name
        member = self._membership.get(node_id)
        return "" if member is None else member.name

    async def _ask(self, node_id: NodeId, mastery: Mastery) -> list[int]:
        """Empty where it does not answer."""
        job, epoch = mastery.job, mastery.epoch
        if node_id == self._own_id:
            return self._jobs.seek_here(TasksSought(0, job, epoch)).indexes
        try:
            said = await self._asking.ask(node_id, lambda number: TasksSought(number, job, epoch), TasksHeld, _ANSWER_S)
        except (Unavailable, NotAllowed) as error:
            logger.debug("a node does not say what it holds of job %s: %s", job, error)
            return []
        return said.indexes
