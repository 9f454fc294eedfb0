"""Who is of the mesh, as a person is told: those that run, and those that are members."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import trio

from ..overlay.dht.replication import Replication
from ..overlay.dht.share import card_decoder
from ..overlay.errors import PotluckError, RemoteProtocolError
from ..overlay.identity.bans import BanSet
from ..overlay.identity.certificates import verify_chain
from ..overlay.identity.mesh import Identity
from ..overlay.ids import NodeId, OwnerId, checked_name
from ..overlay.membership.service import Membership
from ..overlay.ports import Address
from ..overlay.wire.capabilities import LoadReport
from ..overlay.wire.codec import decoded
from ..overlay.wire.records import Record
from .roster import Roster

logger = logging.getLogger("potluck.node")

_PATIENCE_S: Final = 1.0
_load_decoder: Final = msgspec.msgpack.Decoder(LoadReport)

Row = dict[str, object]


class Census:
    def __init__(
        self,
        identity: Identity,
        membership: Membership,
        replication: Replication,
        roster: Roster,
        owners: Mapping[NodeId, OwnerId],
    ) -> None:
        """`owners`: of the nodes that were linked once."""
        self._identity = identity
        self._membership = membership
        self._replication = replication
        self._roster = roster
        self._owners = owners

    async def peers(self, address: Address, load: LoadReport) -> list[Row]:
        """Every member that is or lately was; first this node, of which address and load are given."""
        now_s, here = trio.current_time(), self._identity
        rows = [self._row(here.node_id, here.name, address, "alive", load, 0.0)]
        loads = await self._loads()
        for member in sorted(self._membership.listed(), key=lambda one: one.name):
            load = loads.get(member.node_id, LoadReport())
            age_s = 0.0 if member.linked else now_s - member.heard_s
            state = member.status.name.lower()
            rows.append(self._row(member.node_id, member.name, member.address, state, load, age_s))
        return rows

    def _row(self, node_id: NodeId, name: str, address: Address, state: str, load: LoadReport, age_s: float) -> Row:
        here = node_id == self._identity.node_id
        return {
            "name": name,
            "node_id": node_id.hex(),
            "address": str(address),
            "state": state,
            "self": here,
            "own": here or self._owners.get(node_id) == self._identity.owner_id,
            "load": load_row(load),
            "age_s": round(age_s, 3),
        }

    async def _loads(self) -> dict[NodeId, LoadReport]:
        """Of neighbours as they say, of others as they have published."""
        loads = {node_id: known.report for node_id, known in self._membership.loads.known.items()}

        def found(record: Record) -> None:
            try:
                loads[NodeId(record.key)] = decoded(_load_decoder, record.value, "a load")
            except RemoteProtocolError:
                pass  # an unknown load is shown as none

        unknown = [member.node_id for member in self._membership.present() if member.node_id not in loads]
        await self._look_up("load", unknown, found)
        return loads

    async def _look_up(self, namespace: str, nodes: list[NodeId], found: Callable[[Record], None]) -> None:
        """As many as there are in the time that whoever asked has patience for."""
        with trio.move_on_after(_PATIENCE_S):
            try:
                await self._replication.get_many(namespace, nodes, found)
            except PotluckError as error:
                logger.debug("not every %s record could be read: %s", namespace, error)

    async def members(self, bans: BanSet) -> list[Row]:
        """Everyone it has met or can look up, running or not."""
        unknown = [one.node_id for one in self._membership.present() if not self._roster.knows(one.node_id)]
        await self._look_up("node", unknown, self._card_found)
        return self._roster.rows(bans.is_known_banned)

    def _card_found(self, record: Record) -> None:
        """In a large mesh not everybody is linked; what a card claims is believed as far as its chain proves it."""
        try:
            card = decoded(card_decoder, record.value, "a card")
            proved = verify_chain(card.chain, self._identity.mesh.root_der, card.chain[0])
            name = checked_name(card.name)
        except (PotluckError, IndexError):
            return
        if proved.node_id == record.key:
            self._roster.met(proved.node_id, name, card.chain)


def load_row(load: LoadReport) -> Row:
    return {
        "slots": load.slots,
        "busy": load.busy,
        "queued": load.queued,
        "memory_free": load.memory_free_bytes,
        "disk_free": load.disk_free_bytes,
        "cpu_percent": load.cpu_percent,
        "gpus_free": load.gpus_free,
        "closed": load.closed,
    }
