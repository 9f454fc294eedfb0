"""Shell of the DHT on one node: who is near, who holds what, and how they are asked."""

from __future__ import annotations

from heapq import nsmallest
from typing import Final

import trio

from ..background import Background
from ..clock import HybridClock, MeshTime
from ..config import Config
from ..errors import LinkLost
from ..identity.bans import BanSet
from ..identity.mesh import Identity
from ..ids import NodeId
from ..membership.detector import Changed
from ..ports import Store
from ..wire import records as wire
from ..wire.records import Contact, Record
from .contacts import Contacts
from .peers import Members, Peer, Peers
from .records import refusal
from .share import Share

_NEAREST_MAX: Final = 4096


class Dht:
    """`start` runs something in the background for as long as the DHT runs."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        peers: Peers,
        members: Members,
        store: Store,
        mesh_time: MeshTime,
        bans: BanSet | None = None,
    ) -> None:
        """`bans`: those that links learn of; without links there are none."""
        self.config = config.dht
        self.identity = identity
        self.mesh_time = mesh_time
        self.clock = HybridClock(mesh_time.now_s, config.dht.clock_ahead_max_s)
        self.bans = BanSet(identity.mesh.root_der) if bans is None else bans
        self._peers = peers
        self._members = members
        self._nearest: dict[tuple[bytes, int], list[NodeId]] = {}
        """Whoever is nearest to a place, as long as nobody comes or goes."""
        members.observers.append(self._member_changed)
        self._background = Background()
        self.start = self._background.start
        self.contacts = Contacts(config, identity.node_id, peers, members, self.start)
        self.ask = self.contacts.ask
        self.share = Share(self, store)
        self.share.serve(peers)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.share.load()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._background.run)
            nursery.start_soon(self.contacts.run)
            task_status.started()

    def is_present(self, node_id: bytes) -> bool:
        """Whether membership holds it for alive; of a node it has never heard of, contacts speak."""
        member = self._members.get(node_id)
        return node_id == self.identity.node_id or member is None or member.present

    def somebody_is_missing(self) -> bool:
        return self._members.somebody_is_missing()

    def nearest_members(self, place: bytes, count: int) -> list[Contact]:
        """By the member list, this node included, nearest first."""
        found = self._nearest.get((place, count))
        if found is None:
            found = self._found_nearest(place, count)
            if len(self._nearest) >= _NEAREST_MAX:
                self._nearest.clear()
            self._nearest[place, count] = found
        return [self._contact(node_id) for node_id in found]

    def _found_nearest(self, place: bytes, count: int) -> list[NodeId]:
        target = int.from_bytes(place)
        present = [self.identity.node_id, *(member.node_id for member in self._members.present())]
        return nsmallest(count, present, key=lambda node_id: int.from_bytes(node_id) ^ target)

    def _contact(self, node_id: NodeId) -> Contact:
        member = self._members.get(node_id)
        return Contact(node_id, "", 0) if member is None else Contact(node_id, member.address.host, member.address.port)

    def _member_changed(self, change: Changed) -> None:
        self._nearest.clear()

    def contact(self, node_id: NodeId) -> Contact:
        """Where a live member is. Raises LinkLost."""
        member = self._members.get(node_id)
        if member is None or not member.present:
            raise LinkLost("a node near by is there no more")
        return Contact(node_id, member.address.host, member.address.port)

    def peer(self, node_id: NodeId) -> Peer | None:
        """If it is connected."""
        return self._peers.get(node_id)

    async def holders(self, place: bytes, count: int) -> list[Contact]:
        """The `count` live nodes nearest to a place, nearest first, this node included where it belongs."""
        if self.contacts.everyone_is_known:
            return self.nearest_members(place, count)
        return await self.contacts.holders(place, count)

    def is_sound(self, record: Record, namespace: str, key: bytes) -> bool:
        """Whether a record that a holder answers with is what was asked for, and one it may hold."""
        if (record.namespace, record.key) != (namespace, key) or self.share.is_shunned(record):
            return False
        return refusal(record, self.mesh_time.now_s(), self.config.clock_ahead_max_s) is None

    async def store_at(self, holder: Contact, record: Record) -> wire.Stored:
        """Raises Unavailable when the holder does not answer; a refusal is an answer."""
        if holder.node_id == self.identity.node_id:
            return await self.share.keep(record)
        return await self.ask(holder, lambda number: wire.Store(number, record), wire.Stored)
