"""Shell: any node shows the processes of every other, and passes on what is to be done to them.

Everybody of the mesh may look, but not at what is confidential. Who may act: the owner of the work, and the owner of
the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from ...overlay.background import Background
from ...overlay.errors import LinkLost, NotAllowed, PotluckError, from_wire
from ...overlay.identity.mesh import Identity
from ...overlay.links.link import Link
from ...overlay.links.links import Links
from ...overlay.membership.members import Member
from ...overlay.membership.service import Membership
from ...overlay.wire.codec import Message
from ...overlay.wire.processes import Acted, ActOnProcesses, AskProcesses, Processes
from ...overlay.wire.work import Finished
from ..execution.service import ExecutionService
from ..execution.tasks import Task
from .ended import EndedProcesses, Past
from .moving import Moving
from .page import Page

_PATIENCE_S = 5.0


class ProcessTable:
    """`answer` is for this user's programs; questions of other nodes come over links."""

    def __init__(
        self,
        identity: Identity,
        execution: ExecutionService,
        links: Links,
        membership: Membership,
        moving: Moving,
    ) -> None:
        self._identity = identity
        self._execution = execution
        self._links = links
        self._membership = membership
        self._moving = moving
        self._ended = EndedProcesses()
        self._background = Background()
        links.on(AskProcesses, self._asked)
        links.on(ActOnProcesses, self._asked)

    async def run(self) -> None:
        await self._background.run()

    async def answer(self, question: AskProcesses | ActOnProcesses) -> Processes | Acted:
        """Raises NotFound, UsageError, LinkLost, DeadlineExceeded."""
        if question.node in ("", self._identity.name) or (there := self._membership.named(question.node)) is None:
            return await self._answer_here(question, None)
        said = await self._ask(there, question)
        return msgspec.structs.replace(said, request=question.request)

    async def _ask(self, member: Member, question: AskProcesses | ActOnProcesses) -> Processes | Acted:
        link = await self._links.link_to(member.node_id, member.address)
        answer = Processes if isinstance(question, AskProcesses) else Acted
        return await link.request(
            lambda number: msgspec.structs.replace(question, request=number, node=""), answer, _PATIENCE_S
        )

    def _asked(self, link: Link, message: Message) -> None:
        self._background.start(link.guarded, self._answer_peer, link, message)

    async def _answer_peer(self, link: Link, question: AskProcesses | ActOnProcesses) -> None:
        try:
            said = await self._answer_here(question, bytes(link.peer.owner_id))
        except PotluckError as error:
            kind = Processes if isinstance(question, AskProcesses) else Acted
            said = kind(question.request, error.wire_code, str(error))
        try:
            await link.send(said)
        except LinkLost:
            await trio.lowlevel.checkpoint()  # nobody waits for it any more

    async def _answer_here(self, question: AskProcesses | ActOnProcesses, asker: bytes | None) -> Processes | Acted:
        """`asker`: another node's owner. Raises NotAllowed, and what `Moving.move` does."""
        await trio.lowlevel.checkpoint()
        if isinstance(question, AskProcesses):
            return self._page(question, confidential=asker is None)
        tasks = self._execution.processes
        numbers = [number for number in question.numbers if number in tasks]
        if asker not in (None, self._identity.owner_id) and any(tasks[one].job.whose != asker for one in numbers):
            raise NotAllowed("these are tasks of another owner, on a machine of another owner")
        if question.act != "migrate":
            return Acted(question.request, numbers=self._execution.act(question.act, numbers))
        moved = []
        for number in numbers:
            if (task := tasks.get(number)) is not None:  # not so one that has ended meanwhile
                await self._moving.move(task, question.to)
                moved.append(number)
        return Acted(question.request, numbers=moved)

    def ended(self, runs: Sequence[tuple[Task, Finished]]) -> None:
        """They have run here."""
        for task, report in runs:
            how = "completed" if report.fault is None else from_wire(report.fault.code, "").kind
            how = "moved" if task.moves else how
            self._ended.add(Past(task.process, how, task.job.confidential))

    def _page(self, question: AskProcesses, *, confidential: bool) -> Processes:
        page = Page(trio.current_time(), self._execution.mesh_ahead_s())
        if question.ended:
            for past in self._ended.lately(page.now_s):
                if confidential or not past.confidential:
                    page.add(past.process, past.how)
            return page.said(question.request)
        for number, task in self._execution.processes.items():
            if number < question.first or not (confidential or not task.job.confidential):
                continue
            if page.is_full:
                return page.said(question.request, more=number)
            page.add(task.process)
        return page.said(question.request)
