"""The composition root: builds a node from its ports and wires its parts. Nothing else constructs a collaborator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
import trio

from ..discovery.beacon import Beacon, BeaconEngine
from ..discovery.heard import Heard
from ..discovery.sightings import CHANNEL_SIZE, Connector, Sighting, sink
from ..overlay import boundary
from ..overlay.clock import MeshTime
from ..overlay.config import Config
from ..overlay.dht.handover import HandOver
from ..overlay.dht.replication import Replication
from ..overlay.dht.service import Dht
from ..overlay.errors import NotAllowed
from ..overlay.identity.bans import BanSet
from ..overlay.identity.mesh import Identity
from ..overlay.ids import NodeId, OwnerId
from ..overlay.links.banning import Banning
from ..overlay.links.link import Link
from ..overlay.links.links import Links
from ..overlay.links.opening import Introduction
from ..overlay.membership.detector import Changed
from ..overlay.membership.service import Membership
from ..overlay.ports import Address, Entropy, Host, Network, Sandbox, Store, WallClock
from ..overlay.registers.early import found_early
from ..overlay.registers.service import Registers
from ..overlay.registers.upkeep import Upkeep
from ..overlay.wire.gossip import Status
from ..overlay.wire.work import TaskComplete
from . import capabilities as abilities
from .assigners import Here, Masters
from .audit.inquiry import Inquiry
from .audit.log import AuditLog
from .audit.recording import Recorder
from .cache import ResultCache
from .census import Census, load_row
from .control.connection import serve_task
from .control.rights import OfTask
from .custody.orphaned import Orphaned
from .custody.questions import Questions
from .custody.service import Custody
from .execution.lines import TaskLine
from .execution.service import ExecutionService
from .execution.tasks import Task
from .jobs.history import History
from .jobs.service import Jobs
from .leaving import Leaving
from .lending.book import QuotaBook
from .lending.quotas import Quotas
from .lending.service import LendingService
from .memory import SharedMemory, ask_memory
from .objects import Objects, ObjectTable
from .presence import Presence
from .processes.moving import Moving
from .processes.service import ProcessTable
from .roster import Roster
from .rotating import Rotating
from .scheduling.catalogue import make
from .streams import Streams
from .timekeeping import Timekeeping

logger = logging.getLogger("potluck.node")

Event = dict[str, object]
BOOTS: Final[tuple[str, bytes]] = ("node", b"boots")
"""Where every store of a node that has ever been started has something."""

_OWN_MEMORY_SHARE = 0.75
"""Of the machine, for a task of its own owner; others' tasks may take what is lent."""


class Ports(NamedTuple):
    """Everything real, or everything virtual."""

    network: Callable[[Identity], Network]
    wall_clock: WallClock
    entropy: Entropy
    host: Host
    store: Store
    sandboxes: Sequence[Sandbox]
    """In order of preference."""
    failed: boundary.Failed = boundary.log


class Node:
    """One node. `run` is its life; cancelling it is a crash, `leave` a graceful end."""

    def __init__(self, config: Config, identity: Identity, ports: Ports, announce: Callable[[Event], None]) -> None:
        self.config = config
        self.identity = identity
        self._ports = ports
        self.failed = ports.failed
        self._watchers: list[Callable[[Event], None]] = [announce]
        self._policy = config.policy
        """With its settings, as it was asked for last."""
        self.capabilities = abilities.describe(config, ports.host, ports.sandboxes)
        self._owners: dict[NodeId, OwnerId] = {}
        self.turned_away: Callable[[Address], None] = lambda address: None
        """Called with where somebody listens who claims to be of this mesh and is not."""
        self._leaving = trio.Event()
        self.started = trio.Event()
        self.heard = Heard()
        self.beacon: Beacon | None = None
        """None while there is none, and where multicast is switched off."""
        self._started_s = 0.0
        self._build_overlay()
        self._build_work()
        self._build_accounts()
        self._wire()

    def _build_overlay(self) -> None:
        config, identity, ports = self.config, self.identity, self._ports
        clock = ports.wall_clock
        self.mesh_time = MeshTime(clock.running_s, clock.now_s, identity.node_id)
        self.timekeeping = Timekeeping(self.mesh_time, self._clock_judged)
        introduction = Introduction(
            identity,
            BanSet(identity.mesh.root_der, identity.mesh.owner_chain),
            self.mesh_time.says,
            capabilities=lambda: self.capabilities,
            incarnation=lambda: self.membership.incarnation,
            listening_port=lambda: self.links.address.port,
        )
        self.links = Links(ports.network(identity), introduction, config.links, ports.failed)
        self.roster = Roster(identity, ports.store, self.mesh_time.now_s)
        self.rotating = Rotating(identity, self.links)
        self.banning = Banning(identity, self.links, ports.store, self.roster.chains)
        self.membership = Membership(config, identity, self.links, self.mesh_time, ports.entropy)
        self.dht = Dht(config, identity, self.links, self.membership, ports.store, self.mesh_time, self.links.bans)
        self.replication = Replication(self.dht)
        self.hand_over = HandOver(self.dht)
        self.registers = Registers(self.dht, self.links, self.membership, ports.store, ports.entropy)
        self.upkeep = Upkeep(self.registers)
        if config.private:
            self.registers.founding.look_around_s = 0.0
        self.memory = SharedMemory(self.replication, self.registers, self.dht)

    def _build_work(self) -> None:
        config, identity, ports = self.config, self.identity, self._ports
        table = ObjectTable(config.memory_bytes)
        in_parcels = all(sandbox.takes_parcels for sandbox in ports.sandboxes)
        self.objects = Objects(
            table, identity, self.links, self.membership, ports.entropy, config.links, in_parcels=in_parcels
        )
        history = History(ports.store)
        self.quotas = Quotas(config.quota)
        self.jobs = Jobs(
            config, identity, self.links, self.membership, self.objects, ports.entropy, self.mesh_time, history
        )
        self.custody = Custody(
            config,
            identity,
            self.jobs,
            self.registers,
            self.links,
            self.membership,
            self.objects,
            ports.store,
            ports.entropy,
            self.mesh_time,
            self._owners.get,
        )
        self.questions = Questions(identity, self.custody, self.jobs, self.links, self.membership)
        self.execution = ExecutionService(
            msgspec.structs.replace(
                config.execution,
                own_memory_bytes=int(ports.host.memory_bytes * _OWN_MEMORY_SHARE),
                others_memory_bytes=config.memory_bytes,
                network=config.lending.network,
            ),
            slots=self.capabilities.slots,
            policy=make(self._policy),
            sandboxes=ports.sandboxes,
            own_owner=identity.owner_id,
            here=identity.node_id,
            objects=self.objects,
            node_name=identity.name,
            mesh_time_s=self.mesh_time.now_s,
            node_call=self._called_by_task,
            host=ports.host,
            quotas=self.quotas,
            lent_bytes=config.memory_bytes,
            handlers=config.handlers,
            failed=ports.failed,
        )
        execution = self.execution
        self.farewell = Leaving(identity.node_id, self.links, self.jobs, self.custody, self.execution, self.mesh_time)
        self.streams = Streams(
            identity.node_id, self.links, self.jobs.has_given, execution.output_shown, execution.input_came
        )
        self.processes = ProcessTable(
            identity,
            execution,
            self.links,
            self.membership,
            Moving(identity, execution, self.links, self.jobs),
        )

    def _build_accounts(self) -> None:
        config, identity, ports = self.config, self.identity, self._ports
        self.presence = Presence(config, identity, self.links, self.membership, self.replication, ports.host)
        self.lending = LendingService(
            config.lending, ports.host, ports.store, self.execution.owner_said, self.presence.closed_is
        )
        self.quota_book = QuotaBook(self.quotas, ports.store, self.mesh_time.now_s)
        self.audit = AuditLog(identity.key, ports.store, self.links, self.mesh_time)
        versions = abilities.versions_of(self.capabilities)
        self.cache = ResultCache(
            identity,
            self.replication,
            self.objects,
            ports.entropy,
            versions,
            lambda name: self._is_alike(name, versions),
        )
        self.inquiry = Inquiry(identity, self.audit, self.links, self.membership, self.replication)
        self.census = Census(identity, self.membership, self.replication, self.roster, self._owners)

    def _wire(self) -> None:
        self.membership.observers.append(self.hand_over.member_changed)
        self.membership.observers.append(self.upkeep.member_changed)
        self.membership.observers.append(self._member_changed)
        self.banning.fallen.append(self._somebody_fell)
        self.banning.fallen.append(self.upkeep.look_again)
        self.links.bans.fell.append(self._fell)
        self.links.up.append(self._link_up)
        self.links.moved.append(self._moved)
        self.masters = Masters(self.execution, self.links, self.membership, self._released)
        self.execution.load_changed = self._work_changed
        self.execution.serve_line = self._serve_task
        self.streams.overheard = self.questions.overheard
        self.registers.name_of = self.questions.name_of = self.roster.name_of
        recorder = Recorder(self.audit, self.objects)
        self.execution.ended = (recorder.ended, self.processes.ended)
        self.presence.audit_head = lambda: self.audit.head

    # Life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts once it accepts work; ends after `leave`."""
        await self._count_boot()
        self._started_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            for rotation in self.identity.mesh.rotations[:1]:
                self.roster.carry_over(rotation)
            self.roster.met(self.node_id, self.name, self.identity.chain)
            await nursery.start(self.banning.run)
            nursery.start_soon(self.membership.run)
            await nursery.start(self.dht.run)
            nursery.start_soon(self.hand_over.run)
            await nursery.start(self.registers.run)
            nursery.start_soon(self.upkeep.run)
            nursery.start_soon(found_early, self.registers, self.membership)
            await nursery.start(self.audit.run)
            await nursery.start(self.cache.run)
            await nursery.start(self.execution.run)
            await nursery.start(self.lending.run)
            await nursery.start(self.quota_book.run)
            here = Here(self.identity, self.execution, self.jobs, self.streams)
            await nursery.start(self.jobs.run, here, self.capabilities)
            self._work_changed()
            nursery.start_soon(self.custody.run)
            orphaned = Orphaned(self.node_id, self.custody, self.execution, self.links, self.membership)
            nursery.start_soon(orphaned.run)
            nursery.start_soon(self.questions.run)
            nursery.start_soon(self.processes.run)
            await nursery.start(self.links.run)
            logger.info("Node %s started on port %d", self.name, self.address.port)
            nursery.start_soon(self.presence.sample, self.execution.load)
            nursery.start_soon(self.presence.publish, self.capabilities)
            await self._discover(nursery)
            self._tell(self._ready())
            nursery.start_soon(self.timekeeping.run)
            self.started.set()
            task_status.started()
            await self._leaving.wait()
            await self._say_goodbye()
            nursery.cancel_scope.cancel()

    def leave(self) -> None:
        """Begins a graceful end: hand back what has not begun, say goodbye, go."""
        self._leaving.set()

    shut_down = leave

    @property
    def leaving(self) -> bool:
        return self._leaving.is_set()

    async def until_leaving(self) -> None:
        await self._leaving.wait()

    async def _count_boot(self) -> None:
        """The incarnation grows with every start, so that news of an earlier life is known as such."""
        store = self._ports.store
        boots = int.from_bytes(store.get(*BOOTS) or b"", "big") + 1
        store.put(*BOOTS, boots.to_bytes(8, "big"))
        await store.commit()
        self.membership.begin(boots)

    async def _discover(self, nursery: trio.Nursery) -> None:
        config, ports = self.config, self._ports
        sightings_in, sightings = trio.open_memory_channel[Sighting](CHANNEL_SIZE)
        given = [_parse(peer) for peer in config.peers]
        connector = Connector(self.links, config.discovery, given, self._has_enough_links, self.heard)
        connector.turned_away = lambda address: self.turned_away(address)
        nursery.start_soon(connector.run, sightings)
        self.put_sighting = sink(sightings_in)
        if config.private or not config.discovery.multicast:
            return
        datagrams = await self.links.network.open_multicast()
        nonce = ports.entropy.token(8)
        engine = BeaconEngine(config.discovery, self.identity.mesh.tag_key, nonce, self.address.port, self.heard)
        self.beacon = beacon = Beacon(self.name, engine, datagrams, ports.wall_clock, config.discovery)
        self.links.moved.append(lambda address: beacon.call_again())
        nursery.start_soon(beacon.run, self.put_sighting, self.links.is_linked)

    def _has_enough_links(self) -> bool:
        """Beyond a small mesh the neighbours are chosen, not taken as they are seen."""
        return len(list(self.links)) >= self.config.links.neighbours_full

    async def _say_goodbye(self) -> None:
        await self.farewell.prepare()
        await self.audit.write()
        await self.quota_book.write()
        await self.hand_over.give()
        await self.links.disconnect_all("the node leaves")

    # What it offers

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def node_id(self) -> NodeId:
        return self.identity.node_id

    @property
    def address(self) -> Address:
        return self.links.address

    def slots_in_mesh(self) -> int:
        return sum(worker.slots for worker in self.jobs.master.workers.values())

    def watch(self, watcher: Callable[[Event], None]) -> Callable[[], None]:
        """Membership events from now on, until the returned function is called."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def status(self) -> dict[str, object]:
        able = self.capabilities
        table = self.objects.table
        return {
            "name": self.name,
            "node_id": self.node_id.hex(),
            "address": str(self.address),
            "interface": self.config.interface,
            "uptime_s": round(trio.current_time() - self._started_s, 3),
            "mesh": self.identity.mesh.mesh_id,
            "peers": len(self.membership.present()),
            "banned": self.links.bans.against_this_node is not None,
            "load": load_row(self.presence.load),
            "lending": self.lending.row(),
            "quotas": self.quotas.row(self.mesh_time.now_s()),
            "resources": abilities.resources_row(able, self._ports.host),
            "policy": self.execution.statistics()["policy"],
            "sandbox": {"backend": able.sandbox, "guarantees": able.guarantees.as_dict()},
            "memory": {
                "lent": self.config.memory_bytes,
                "objects": table.size_bytes,
                "keys": len(self.dht.share.records),
            },
            "disk": {"lent": self.config.disk_bytes, "free": self.presence.load.disk_free_bytes},
            "versions": {"potluck": able.version, "python": able.python},
            "kinds": able.kinds,
            "clock_error_s": round(self.timekeeping.error_s, 3),
        }

    def policy(self, spec: str) -> dict[str, object]:
        """Statistics of scheduling here; with a name, under that policy from now on. Raises ConfigError."""
        if spec:
            self.execution.change_policy(make(spec))
            self._policy = spec
        return {**self.execution.statistics(), "settings": self._policy.partition(":")[2]}

    async def peers(self) -> list[dict[str, object]]:
        """Every member that is or lately was, this node first."""
        return await self.census.peers(self.address, self.presence.load)

    async def members(self) -> list[dict[str, object]]:
        """Everyone it has met or can look up, running or not."""
        return await self.census.members(self.links.bans)

    # Events

    def _tell(self, event: Event) -> None:
        for watcher in list(self._watchers):
            watcher(event)

    def _ready(self) -> Event:
        return {
            "event": "ready",
            "name": self.name,
            "node_id": self.node_id.hex(),
            "address": str(self.address),
            "port": self.address.port,
            "web": None,
            "mesh": self.identity.mesh.mesh_id,
            "sandbox": self.capabilities.sandbox,
        }

    def _clock_judged(self, error_s: float) -> None:
        self._tell({"event": "clock", "error_s": round(error_s, 3)})

    def _member_changed(self, change: Changed) -> None:
        member = change.member
        if change.event == "discovered":
            logger.info("Node %s discovered peer %s", self.name, member.name)
        if change.event == "returned" or (self.leaving and change.event != "left"):
            return  # that is for those who keep records; links end because we go, not because others do
        self._tell({"event": change.event, "node": member.name, "node_id": member.node_id.hex()})
        if member.status in (Status.DEAD, Status.LEFT):
            self.execution.forget(member.node_id)
            self.dht.start(self.objects.forget, member.node_id)

    def _moved(self, address: Address) -> None:
        logger.info("Node %s is at %s now", self.name, address)
        self._tell({"event": "moved", "node": self.name, "node_id": self.node_id.hex(), "address": str(address)})

    def _link_up(self, link: Link) -> None:
        peer = link.peer
        self._owners[peer.node_id] = peer.owner_id
        self.roster.met(peer.node_id, peer.name, peer.chain)

    def _somebody_fell(self) -> None:
        self.membership.expel(self.links.bans.nodes)
        self.dht.share.drop_shunned()
        bans = self.links.bans  # of places: an owner who has another one, too, is in the mesh
        standing = self.roster.owners(lambda chain: not bans.is_banned(chain))
        self.execution.outlaw(self.roster.owners(bans.is_banned) - standing)

    def _fell(self) -> None:
        mesh_id = self.identity.mesh.mesh_id
        logger.warning("Node %s is banned from mesh %s: no member lets it in any more", self.name, mesh_id)
        self.execution.forsake()
        self._tell({"event": "banned", "node": self.name, "node_id": self.node_id.hex(), "mesh": mesh_id})

    def _work_changed(self) -> None:
        load = self.execution.load()
        self.presence.work_changed(load)
        self.jobs.own_load(self.presence.load)

    def _is_alike(self, name: str, versions: bytes) -> bool:
        """Whether results of the node of this name are such as ours would be."""
        named = [one for one in self.jobs.master.workers.values() if one.name == name]
        return bool(named) and all(abilities.versions_of(one.capabilities) == versions for one in named)

    # Work from other masters

    def _released(self, master: NodeId, message: TaskComplete) -> None:
        self.custody.released(master, message.job)
        if self.execution.serves(master, message.job) and not message.passed_on:
            self.objects.table.release(message.job)

    async def _serve_task(self, line: TaskLine, task: Task) -> None:
        job = task.job
        as_guest = job.whose != self.identity.owner_id
        rights = OfTask(task, self.config.execution, as_guest=as_guest, confidential=job.confidential)
        await serve_task(self, line, rights)

    async def _called_by_task(self, job: str, operation: str, arguments: object) -> object:
        open_here = self.jobs.master.jobs.get(job)
        if open_here is not None and open_here.options.confidential:
            raise NotAllowed("a confidential task reaches nothing outside its node")
        return await ask_memory(self.memory, operation, arguments)


def _parse(peer: str) -> Address:
    host, _, port = peer.rpartition(":")
    return Address(host, int(port))
