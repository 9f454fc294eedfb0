"""How a node leaves.

                       at once                                   when it drains
    has not begun, or  goes back to its master, which            the same
    stands still       gives it to another node
    runs               is ended and goes back, too; what must    is finished; what is not within the bound, as at once
                       not run twice ends as lost
    what programs      ends with the node, or goes on with the   is finished first, within the same bound
    here wait for      next one that the program finds
    lasting jobs       go to a deputy, or lie on disk until      the same, first of all
                       this node is back

Nothing new is taken from the first moment, but what tasks that run here submit: they wait for it. Every other node is
told so, and an answer awaited: what it had sent before is here then and goes back as not begun, so that nothing that
must not run twice is on its way to a node that is gone.
"""

from __future__ import annotations

from typing import Final

import trio

from ..overlay.clock import MeshTime
from ..overlay.errors import Cancelled, DeadlineExceeded, LinkLost
from ..overlay.ids import NodeId
from ..overlay.links.link import Link
from ..overlay.links.links import Links
from ..overlay.wire.gossip import Probe, ProbeAck
from ..overlay.wire.work import ExecutionConfirmation, Finished
from .custody.service import Custody
from .execution.service import ExecutionService
from .execution.tasks import Task
from .jobs.service import Jobs

_HAND_OVER_S: Final = 1.0
"""For lasting jobs; those that nobody has taken by then are taken when the node is gone."""

_ANSWER_S: Final = 0.5


class Finishes:
    """How many tasks have run to their end here, well or not, without what tasks have submitted."""

    def __init__(self) -> None:
        self.count = 0

    def heard(self, runs: list[tuple[Task, Finished]]) -> None:
        for task, report in runs:
            is_broken_off = report.fault is not None and report.fault.code == Cancelled.wire_code
            self.count += not is_broken_off and not task.job.depth


class Leaving:
    def __init__(
        self,
        node_id: NodeId,
        links: Links,
        jobs: Jobs,
        custody: Custody,
        execution: ExecutionService,
        mesh_time: MeshTime,
    ) -> None:
        self._mesh_time = mesh_time
        self._node_id = node_id
        self._links = links
        self._jobs = jobs
        self._custody = custody
        self._execution = execution

    async def prepare(self, drain_s: float = 0.0) -> dict[str, object]:
        """Returns when everything is finished, or has gone to others; how much of what there was. At the latest a
        little after `drain_s`. What was done once is not done again."""
        self._jobs.master.leaving = True
        handed_over = await self._hand_over()
        handed_back, stood_still = self._execution.hand_back()
        running = self._execution.running()
        finished = Finishes()
        self._execution.ended = (*self._execution.ended, finished.heard)
        self._jobs.master.leaves(self._node_id)
        await self._tell_masters()
        with trio.move_on_after(drain_s):
            await self._execution.drained()
            await self._jobs.finished()
        left, lost, done = self._execution.running(), self._execution.running_once(), finished.count
        self._execution.give_up()
        return {
            "jobs_handed_over": handed_over,
            "handed_back": handed_back,
            "stood_still": stood_still,
            "finished": done,
            "broken_off": max(0, running - left - done),
            "given_up": left - lost,
            "lost": lost,
        }

    async def _tell_masters(self) -> None:
        async with trio.open_nursery() as nursery:
            for link in self._links:
                nursery.start_soon(self._tell_master, link)

    async def _tell_master(self, link: Link) -> None:
        try:
            link.post(ExecutionConfirmation("leaving", 0, [], leaving=True))
            await link.request(lambda number: Probe(number, self._mesh_time.now_s()), ProbeAck, _ANSWER_S)
        except (LinkLost, DeadlineExceeded):
            pass  # what it has on its way is lost with the node, as if that had died

    async def _hand_over(self) -> int:
        taken: list[str] = []
        with trio.move_on_after(_HAND_OVER_S):
            await self._custody.hand_over(taken)
        return len(taken)
