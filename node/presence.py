"""What a node says of itself: its load to its neighbours, its card and its load in the DHT for the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
import trio

from ..overlay.config import Config
from ..overlay.dht.replication import Replication, Write
from ..overlay.dht.share import Card
from ..overlay.errors import PotluckError
from ..overlay.identity.mesh import Identity
from ..overlay.links.links import Links
from ..overlay.membership.service import Membership
from ..overlay.ports import Host, HostSample
from ..overlay.wire.capabilities import Capabilities, LoadReport

logger = logging.getLogger("potluck.presence")

_SAMPLE_S: Final = 2.0
_CPU_STEP_PERCENT: Final = 10.0
_MEMORY_STEP_BYTES: Final = 64 << 20


class WorkLoad(Protocol):
    """What execution knows of its own load."""

    slots: int
    busy: int
    queued: int
    queued_by_level: list[int]
    task_mean_s: float
    chooses: bool
    gpus_free: int
    waiting: int


class Presence:
    def __init__(
        self,
        config: Config,
        identity: Identity,
        links: Links,
        membership: Membership,
        replication: Replication,
        host: Host,
    ) -> None:
        self._config = config
        self._identity = identity
        self._links = links
        self._membership = membership
        self._replication = replication
        self._host = host
        self._sample = HostSample(0.0, 0, 0)
        self._sequence = 0
        self.load = LoadReport()
        self.audit_head: Callable[[], tuple[int, bytes]] = lambda: (0, b"")

    def work_changed(self, work: WorkLoad) -> None:
        """Busy slots or the queue have changed."""
        self._report(
            msgspec.structs.replace(
                self.load,
                slots=work.slots,
                busy=work.busy,
                queued=work.queued,
                queued_by_level=list(work.queued_by_level),
                task_mean_s=round(work.task_mean_s, 6),
                chooses=work.chooses,
                gpus_free=work.gpus_free,
                waiting=work.waiting,
            )
        )

    def closed_is(self, reason: str) -> None:
        """Why nothing from elsewhere is taken now; empty: it is."""
        self._report(msgspec.structs.replace(self.load, closed=reason))

    def _report(self, load: LoadReport) -> None:
        if load != self.load:
            self._sequence += 1
            self.load = msgspec.structs.replace(load, sequence=self._sequence)
            self._membership.load_is(self.load)

    async def sample(self, work: Callable[[], WorkLoad]) -> None:
        """How the machine is doing; small changes are not worth a message."""
        while True:
            sample = self._host.sample()
            shown = self._sample
            if (
                abs(sample.cpu_percent - shown.cpu_percent) >= _CPU_STEP_PERCENT
                or abs(sample.memory_free_bytes - shown.memory_free_bytes) >= _MEMORY_STEP_BYTES
            ):
                self._sample = sample
                self._report(
                    msgspec.structs.replace(
                        self.load,
                        cpu_percent=sample.cpu_percent,
                        memory_free_bytes=min(sample.memory_free_bytes, self._config.memory_bytes),
                        disk_free_bytes=min(sample.disk_free_bytes, self._config.disk_bytes),
                    )
                )
            self.work_changed(work())
            await trio.sleep(_SAMPLE_S)

    async def publish(self, capabilities: Capabilities) -> None:
        """Card and load in the DHT, refreshed well before they expire, the card also when the node has moved; the load
        only while somebody is not a neighbour, because neighbours are told."""
        identity, dht = self._identity, self._config.dht
        able = msgspec.msgpack.encode(capabilities)
        chain = list(identity.chain)
        card_due_s, told = 0.0, None
        while True:
            due, address = [], self._links.address
            if trio.current_time() >= card_due_s or address != told:
                head = self.audit_head()
                card = Card(identity.name, address.host, address.port, chain, identity.boot_id, able, *head)
                due.append(Write("node", identity.node_id, msgspec.msgpack.encode(card), dht.node_record_s))
                card_due_s, told = trio.current_time() + dht.node_record_s / 3, address
            if not all(member.linked for member in self._membership.present()):
                due.append(Write("load", identity.node_id, msgspec.msgpack.encode(self.load), dht.load_record_s))
            try:
                await self._replication.put_many(due)
            except PotluckError as error:
                logger.debug("card and load were not published: %s", error)
            await trio.sleep(dht.load_record_s / 3)
