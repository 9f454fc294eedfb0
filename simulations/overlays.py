"""Overlays alone: the shipped DHT of very many nodes, on lines that carry messages instead of bytes.

Nothing is opened, framed or encrypted: a message takes the one-way delay drawn for its two nodes and is handed over as
it is. What links would have carried is counted. Machines die without a word: nothing answers at their addresses.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from ..overlay.clock import MeshTime, Said
from ..overlay.config import Config
from ..overlay.dht.handover import HandOver
from ..overlay.dht.peers import Peer, PeerHandler
from ..overlay.dht.replication import Replication
from ..overlay.dht.service import Dht
from ..overlay.errors import DeadlineExceeded
from ..overlay.identity.keys import KeyPair
from ..overlay.identity.mesh import SECRET_BYTES, Identity, Mesh, found, make_identity
from ..overlay.ids import NodeId
from ..overlay.links.opening import PeerInfo
from ..overlay.links.questions import ANSWER_TYPES, Asking
from ..overlay.membership.detector import Changed
from ..overlay.membership.members import Member
from ..overlay.ports import Address
from ..overlay.session.states import ANSWERS
from ..overlay.wire.capabilities import Capabilities
from ..overlay.wire.codec import Message
from ..overlay.wire.gossip import Status
from ..overlay.wire.peer import PEER
from .clock import EPOCH_S
from .entropy import SeededEntropy, named_stream
from .events import EventLog, Span
from .store import VirtualDisk, VirtualStore
from .timeline import timeline
from .world import FSYNC_S, NODES_PER_OWNER

M = TypeVar("M", bound=Message)

DELAY_S: Final = (0.005, 0.05)
"""One way, least and most: many times a LAN's."""
DEATH_NOTICED_S: Final = (1.6, 3.6)
"""A neighbour's detector: interval, time-out and suspicion, from wherever in the interval the death fell."""
START_APART_S: Final = 0.02
_PORT: Final = 9000
_NOWHERE: Final = Path("/nonexistent/virtual")


class Air:
    """Between all overlays: how long a message takes, and what has been sent."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.overlays: dict[Address, Overlay] = {}
        self.requests = 0
        self.messages = 0
        self.bytes = 0

    def delay_s(self, source: NodeId, target: NodeId) -> float:
        digest = hashlib.blake2b(source + target, digest_size=4, key=b"%d" % self._seed).digest()
        least, most = DELAY_S
        return least + (most - least) * int.from_bytes(digest, "big") / (1 << 32)

    def count(self, message: Message) -> None:
        self.messages += 1
        self.requests += type(message) in ANSWERS
        self.bytes += len(PEER.encode(message))


class Line(Asking):
    """One end of what connects two nodes: a `dht.peers.Peer`."""

    def __init__(self, air: Air, mine: Overlay, other: Overlay) -> None:
        super().__init__(other.info)
        self.far: Line = self
        self._air = air
        self._mine = mine
        self._delay_s = air.delay_s(mine.node_id, other.node_id)

    def post(self, message: Message) -> None:
        if self._mine.alive:
            self._air.count(message)
            timeline().at(trio.current_time() + self._delay_s, partial(self.far.arrive, message))

    async def guarded(self, work: Callable[..., Any], *args: object) -> None:
        """A fault ends the simulation, which is there to find it."""
        await work(*args)

    def opened(self) -> None:
        """The other end is told by what arrives first."""
        self._mine.peers.add(self)

    def arrive(self, message: Message) -> None:
        if not self._mine.alive:
            return
        if type(message) not in ANSWER_TYPES:
            self._mine.peers.dispatch(self, message)
        else:
            self._questions.answered(message)


class Lines:
    """A `dht.peers.Peers`: opened when first needed, kept for good."""

    def __init__(self, air: Air, mine: Overlay, dial_timeout_s: float) -> None:
        self._air = air
        self._mine = mine
        self._dial_timeout_s = dial_timeout_s
        self._lines: dict[bytes, Line] = {}
        self._handlers: dict[type[Message], PeerHandler] = {}
        self.up: list[Callable[[Peer], None]] = []

    def on(self, message_type: type[Message], handler: PeerHandler) -> None:
        self._handlers[message_type] = handler

    def dispatch(self, line: Line, message: Message) -> None:
        self._handlers[type(message)](line, message)

    def __iter__(self) -> Iterator[Line]:
        return iter(list(self._lines.values()))

    def get(self, node_id: bytes) -> Line | None:
        return self._lines.get(node_id)

    async def link_to(self, node_id: NodeId, address: Address) -> Line:
        line = self._lines.get(node_id)
        if line is None:
            other = self._air.overlays[address]
            if not other.alive:
                await trio.sleep(self._dial_timeout_s)
                raise DeadlineExceeded(f"{address} does not answer")
            line = self.connect(other)
        return line

    def connect(self, other: Overlay) -> Line:
        line, far = Line(self._air, self._mine, other), Line(self._air, other, self._mine)
        line.far, far.far = far, line
        timeline().at(trio.current_time() + self._air.delay_s(self._mine.node_id, other.node_id), far.opened)
        self.add(line)
        return line

    def add(self, line: Line) -> None:
        """Of two that cross each other, the first is found here; the second is answered on all the same."""
        if line.peer.node_id not in self._lines:
            self._lines[line.peer.node_id] = line
            for observer in self.up:
                observer(line)

    def drop(self, node_id: NodeId) -> None:
        self._lines.pop(node_id, None)


class Neighbourhood:
    """A `dht.peers.Members`: the neighbours of one node, told by the world."""

    def __init__(self) -> None:
        self._members: dict[bytes, Member] = {}
        self.observers: list[Callable[[Changed], None]] = []
        self.complete = False

    def get(self, node_id: bytes) -> Member | None:
        return self._members.get(node_id)

    def present(self) -> list[Member]:
        return [member for member in self._members.values() if member.present]

    def somebody_is_missing(self) -> bool:
        return any(not member.present for member in self._members.values())

    def has(self, info: PeerInfo) -> None:
        now_s = trio.current_time()
        member = Member(info.node_id, info.name, info.address, info.boot_id, 1, Status.ALIVE, now_s, linked=True)
        self._members[info.node_id] = member
        self._tell(Changed("joined", member))

    def lost(self, info: PeerInfo) -> None:
        member = self._members[info.node_id]
        member.status, member.since_s, member.linked = Status.DEAD, trio.current_time(), False
        self._tell(Changed("died", member))

    def _tell(self, change: Changed) -> None:
        for observer in self.observers:
            observer(change)


class Overlay:
    """One node: the shipped DHT, on lines."""

    def __init__(
        self, air: Air, identity: Identity, address: Address, fsyncs: random.Random, *, holds_records: bool
    ) -> None:
        config = self.config = Config(identity.name, _NOWHERE, _NOWHERE)
        self.node_id = identity.node_id
        self.info = _info(identity, address)
        self._holds_records = holds_records
        self.alive = False
        self.lives: list[Span] = []
        self.pauses: tuple[Span, ...] = ()
        self.scope = trio.CancelScope()
        self.neighbours: list[Overlay] = []
        self.peers = Lines(air, self, config.links.dial_timeout_s)
        self.members = Neighbourhood()
        store = VirtualStore(VirtualDisk(), lambda: fsyncs.uniform(*FSYNC_S))
        mesh_time = MeshTime(trio.current_time, lambda: EPOCH_S + trio.current_time())
        self.dht = Dht(config, identity, self.peers, self.members, store, mesh_time)
        self.replication = Replication(self.dht)
        self.hand_over = HandOver(self.dht)
        self.members.observers.append(self.hand_over.member_changed)

    @property
    def name(self) -> str:
        return self.info.name

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.dht.run)
                if self._holds_records:
                    nursery.start_soon(self.hand_over.run)
                self.alive = True
                self.lives.append(Span(trio.current_time()))
                task_status.started()


def _info(identity: Identity, address: Address) -> PeerInfo:
    return PeerInfo(
        node_id=identity.node_id,
        owner_id=identity.owner_id,
        name=identity.name,
        address=address,
        boot_id=identity.boot_id,
        incarnation=1,
        capabilities=Capabilities(),
        chain=identity.chain,
        public_key=identity.key.public,
        said=Said(EPOCH_S, 0.0),
        ban_digest=b"",
        ban_digest_said=b"",
    )


class Overlays:
    """The world of them. Those that hold no records only find each other."""

    def __init__(self, seed: int, nursery: trio.Nursery, *, holding_records: bool) -> None:
        self._holding_records = holding_records
        self._nursery = nursery
        self._entropy = SeededEntropy(seed, "overlays")
        self._draws = named_stream(seed, "overlays")
        self._secret = self._entropy.token(SECRET_BYTES)
        self._mesh: Mesh | None = None
        self.air = Air(seed)
        self.log = EventLog()
        self.everyone: list[Overlay] = []

    @property
    def alive(self) -> list[Overlay]:
        return [one for one in self.everyone if one.alive]

    def add(self) -> Overlay:
        """One more, not running yet."""
        number = len(self.everyone)
        if self._mesh is None or number % NODES_PER_OWNER == 0:
            self._mesh = found(self._secret, KeyPair.from_seed(self._entropy.token(32)))
        key = KeyPair.from_seed(self._entropy.token(32))
        identity = make_identity(self._mesh, f"n{number}", key, self._entropy)
        address = Address(f"10.{number // 62_500}.{number // 250 % 250}.{number % 250 + 1}", _PORT)
        overlay = Overlay(
            self.air, identity, address, self._entropy.stream(identity.name), holds_records=self._holding_records
        )
        self.air.overlays[address] = overlay
        self.everyone.append(overlay)
        return overlay

    async def gather(self, nodes: int) -> None:
        """One after the other they start, each knowing one that has started before; returns when all have joined."""
        for _ in range(nodes):
            self.add()
        await self.join(self.everyone[0], None)
        async with trio.open_nursery() as joining:
            for number, overlay in enumerate(self.everyone[1:], 1):
                await trio.sleep(self._draws.uniform(0, 2 * START_APART_S))
                joining.start_soon(self.join, overlay, self.everyone[self._draws.randrange(number)])

    async def join(self, overlay: Overlay, contact: Overlay | None) -> None:
        """Starts it; it knows one other. Returns when its table is filled and it has neighbours."""
        await self._nursery.start(overlay.run)
        if contact is not None:
            overlay.peers.connect(contact)
            await overlay.dht.contacts.filled.wait()
        self._make_neighbours(overlay)
        self.log.note(overlay.info.name, "joined", f"{len(overlay.dht.contacts.routing)} contacts")

    def _make_neighbours(self, overlay: Overlay) -> None:
        """The nearest, and some that are as good as random: as membership chooses them."""
        links = overlay.config.links
        near = overlay.dht.contacts.routing.nearest(overlay.node_id, links.neighbours_near)
        chosen = [self.air.overlays[Address(one.host, one.port)] for one in near]
        chosen += self._draws.sample(self.everyone, min(links.neighbours_random, len(self.everyone)))
        for other in chosen:
            if other.alive and other is not overlay and other not in overlay.neighbours:
                self._are_neighbours(overlay, other)

    def _are_neighbours(self, one: Overlay, other: Overlay) -> None:
        if one.peers.get(other.node_id) is None:
            one.peers.connect(other)
        for mine, theirs in ((one, other), (other, one)):
            mine.neighbours.append(theirs)
            mine.members.has(theirs.info)

    def power_off(self, overlay: Overlay) -> None:
        """Silence. Each of its neighbours notices in its own time."""
        self.log.note(overlay.info.name, "power off")
        overlay.alive = False
        overlay.lives[-1].ended_s = trio.current_time()
        overlay.scope.cancel()
        for neighbour in overlay.neighbours:
            noticed_s = trio.current_time() + self._draws.uniform(*DEATH_NOTICED_S)
            timeline().at(noticed_s, partial(_notice, neighbour, overlay))


def _notice(overlay: Overlay, dead: Overlay) -> None:
    if overlay.alive:
        overlay.peers.drop(dead.node_id)
        overlay.members.lost(dead.info)
