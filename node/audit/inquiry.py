"""Anybody's audit log, read from its node and held against what others keep of it."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from ...overlay.dht.replication import Replication
from ...overlay.dht.share import card_decoder
from ...overlay.errors import PotluckError, Unavailable
from ...overlay.identity.keys import signed_by
from ...overlay.identity.mesh import Identity
from ...overlay.ids import NodeId, node_id_of
from ...overlay.links.link import Link
from ...overlay.links.links import Links
from ...overlay.membership.service import Membership
from ...overlay.wire.audit import AskEntries, AskHeads, Entries, Entry, Head, Heads
from ...overlay.wire.codec import decoded
from .chain import Checker
from .log import AuditLog

_PATIENCE_S: Final = 5.0
_ASKING_S: Final = 1.0
SHOWN_MAX: Final = 1000


class Inquiry:
    """`identity` is this node's own."""

    def __init__(
        self, identity: Identity, log: AuditLog, links: Links, membership: Membership, replication: Replication
    ) -> None:
        self._node_id = identity.node_id
        self._name = identity.name
        self._log = log
        self._links = links
        self._membership = membership
        self._replication = replication

    async def examine(self, node: str, last: int) -> dict[str, object]:
        """The log of the node of this name, this one's for none. Raises NotFound, UsageError, NotAllowed,
        Unavailable."""
        link = await self._link_to(node) if node else None
        node_id = self._node_id if link is None else link.peer.node_id
        if link is None:
            await self._log.write()
        heads = await self._heads_of(node_id)
        checker = Checker(head for kept in heads.values() for head in kept)
        shown: deque[Entry] = deque(maxlen=min(last, SHOWN_MAX))
        wanted = 1
        while True:
            first, previous, entries = await self._entries(link, wanted)
            if not entries:
                break
            if wanted == 1 or first != wanted:
                checker.begin(first, previous)
            shown.extend(entry for entry in map(checker.take, entries) if entry is not None)
            wanted = first + len(entries)
        checker.end()
        broken = checker.broken
        return {
            "node": self._name if link is None else link.peer.name,
            "node_id": node_id.hex(),
            "entries": checker.number,
            "held": broken is None,
            "broken": None if broken is None else {"first": broken.first, "last": broken.last, "why": broken.why},
            "witnesses": [
                {"node": name, "entries": max(head.number for head in kept)} for name, kept in heads.items() if kept
            ],
            "log": [_shown(entry) for entry in shown],
        }

    async def _link_to(self, name: str) -> Link | None:
        """None to this node itself."""
        member = self._membership.named(name)
        if member is None:
            await trio.lowlevel.checkpoint()
            return None
        return await self._links.link_to(member.node_id, member.address)

    async def _entries(self, link: Link | None, wanted: int) -> tuple[int, bytes, list[bytes]]:
        if link is None:
            await trio.lowlevel.checkpoint()
            return self._log.entries(wanted)
        answer = await link.request(lambda number: AskEntries(number, wanted), Entries, _PATIENCE_S)
        if answer.entries and answer.first < wanted:
            raise Unavailable(f"{link.peer.name} shows other entries than it was asked for")
        return answer.first, answer.previous, answer.entries

    async def _heads_of(self, node_id: NodeId) -> dict[str, list[Head]]:
        """What everybody with a link keeps of it, by name. Who says nothing in time has nothing to say."""
        found = {self._name: _signed(self._log.witness.heads_of(node_id), node_id)}

        async def ask(link: Link) -> None:
            try:
                answer = await link.request(lambda number: AskHeads(number, bytes(node_id)), Heads, _ASKING_S)
            except PotluckError:
                return
            found[link.peer.name] = _signed(answer.heads, node_id)

        async def read_card() -> None:
            if head := await self._published(node_id):
                found["its card"] = [head]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_card)
            for link in self._links:
                if link.peer.node_id != node_id:
                    nursery.start_soon(ask, link)
        return found

    async def _published(self, node_id: NodeId) -> Head | None:
        """In its signed record, which proves as much as a signature under the head."""
        try:
            with trio.move_on_after(_ASKING_S):
                record = await self._replication.get("node", node_id)
                if record is None:
                    return None
                card = decoded(card_decoder, record.value, "a card")
                if card.audit_number:
                    return Head(record.publisher, card.audit_number, card.audit_digest, 0.0, b"")
        except PotluckError:
            pass  # the neighbours know more, anyhow
        return None


def _signed(heads: list[Head], node_id: NodeId) -> list[Head]:
    """Those that this node has signed: nobody can make up a head of another."""
    return [
        head
        for head in heads
        if node_id_of(head.public_key) == node_id and signed_by(head.public_key, head.signature, head.signed_part())
    ]


def _shown(entry: Entry) -> dict[str, object]:
    return {
        "number": entry.number,
        "at_s": entry.at_s,
        "owner": entry.owner.hex(),
        "master": entry.master.hex(),
        "job": entry.job,
        "program": entry.program.hex(),
        "tasks": [
            {
                "task": f"{entry.job}/{run.index}",
                "attempt": run.attempt + 1,
                "started_s": run.started_s,
                "elapsed_s": run.elapsed_s,
                "code": run.code,
                "result_sha256": run.result.hex() or None,
            }
            for run in entry.runs
        ],
    }
