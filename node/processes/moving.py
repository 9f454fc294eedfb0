"""Shell: a process that is to go on at another node.

    its node asks the task's master whether that one may run it ──no──▶ why not, and nothing has changed
        │ yes: the master knows where the task is bound for
    its node ends it, tells its last checkpoint, and returns it ──▶ the master gives it to the other node, and that
                                                                    goes on from the checkpoint, else from its beginning

What ends before it is returned has ended. What is lost on the way is placed as any other.
"""

from __future__ import annotations

from typing import Final

import trio

from ...overlay.errors import Conflict, LinkLost, NotAllowed, NotFound, PotluckError, from_wire
from ...overlay.identity.mesh import Identity
from ...overlay.ids import NodeId
from ...overlay.links.link import Link
from ...overlay.links.links import Links
from ...overlay.wire.codec import Message
from ...overlay.wire.processes import MayMove, MoveJudged
from ..execution.service import ExecutionService
from ..execution.suspending import can_be
from ..execution.tasks import Task, is_current
from ..jobs.service import Jobs

_PATIENCE_S: Final = 5.0


class Moving:
    def __init__(self, identity: Identity, execution: ExecutionService, links: Links, jobs: Jobs) -> None:
        self._identity = identity
        self._execution = execution
        self._links = links
        self._jobs = jobs
        links.on(MayMove, self._asked)

    async def move(self, task: Task, to: str) -> None:
        """Raises NotFound, NotAllowed, Conflict, NoWorker, LinkLost, DeadlineExceeded: then it is where it was."""
        self._check(task, to)
        await self._ask_master(task, to)
        self._check(task, to)
        self._execution.act("migrate", [task.process.number])

    def _check(self, task: Task, to: str) -> None:
        pid = f"{self._identity.name}/{task.process.number}"
        if not is_current(task):
            raise NotFound(f"process {pid} has ended")
        if to == self._identity.name:
            raise NotAllowed(f"process {pid} is at {to} already")
        if not can_be("migrate", task):
            raise Conflict(f"process {pid} is being ended")
        if task.job.at_most_once and task.begun_s is not None and task.checkpoint is None:
            why = "its task may run at most once, has begun, and has no checkpoint to go on from"
            raise NotAllowed(f"process {pid} cannot be moved: {why}")

    async def _ask_master(self, task: Task, to: str) -> None:
        job, index = task.job.name, task.index
        if task.job.assigner == self._identity.node_id:
            await trio.lowlevel.checkpoint()
            self._jobs.bind(job, index, self._identity.node_id, to)
            return
        link = self._links.get(NodeId(task.job.assigner))
        if link is None:
            raise LinkLost("the master of its job cannot be reached")
        said = await link.request(lambda number: MayMove(number, job, index, to), MoveJudged, _PATIENCE_S)
        if said.code:
            raise from_wire(said.code, said.reason)

    def _asked(self, link: Link, message: Message) -> None:
        assert isinstance(message, MayMove)
        try:
            self._jobs.bind(message.job, message.index, link.peer.node_id, message.to)
            said = MoveJudged(message.request)
        except PotluckError as error:
            said = MoveJudged(message.request, error.wire_code, str(error))
        link.tell(said)
