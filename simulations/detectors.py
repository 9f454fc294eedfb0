"""The engines of membership alone: failure detectors on a virtual network, one heap of events, nothing that waits.

Links are ordered streams: what is behind a message that is held up comes after it. A way between two nodes stalls for
drawn times, so that a given share of the messages sent at any moment is held up; a node can be stopped, and then takes
in everything at once when it goes on; and it can die, with or without anybody there to refuse a dial.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import msgspec

from ..overlay.config import Links as LinksConfig
from ..overlay.config import Membership as MembershipConfig
from ..overlay.ids import NodeId
from ..overlay.membership.detector import Changed, Detector, DropLink, Effect
from ..overlay.membership.dialling import Dial
from ..overlay.membership.exchange import Self, Tell
from ..overlay.membership.neighbours import choose
from ..overlay.membership.probing import Answer, Ask, AskThrough
from ..overlay.wire.capabilities import LoadReport
from ..overlay.wire.codec import Message
from ..overlay.wire.gossip import (
    IndirectAck,
    IndirectProbe,
    MemberNews,
    PeerExchange,
    Probe,
    ProbeAck,
    Status,
)
from ..overlay.wire.peer import PEER
from .entropy import named_stream

DELAY_S: Final = (0.0002, 0.002)
DIAL_TIMEOUT_S: Final = 3.0


class Stalls(msgspec.Struct, frozen=True):
    """Of a way: `share` of the time it is held up, each time for a drawn time between least and most."""

    share: float = 0.0
    least_s: float = 0.1
    most_s: float = 20.0

    def draw_s(self, draws: random.Random) -> float:
        return draws.uniform(self.least_s, self.most_s)

    def pause_s(self, draws: random.Random) -> float:
        """Until the next one."""
        mean_s = (self.least_s + self.most_s) / 2
        return draws.expovariate(1.0) * mean_s * (1 - self.share) / self.share


class Way:
    """From one node to another."""

    def __init__(self, stalls: Stalls, draws: random.Random) -> None:
        self._stalls = stalls
        self._draws = draws
        self._delay_s = draws.uniform(*DELAY_S)
        self._stall_s = stalls.pause_s(draws) if stalls.share else math.inf
        self._until_s = self._stall_s + (stalls.draw_s(draws) if stalls.share else 0.0)
        self._last_s = 0.0
        self.carried = 0
        self.held_up = 0

    def arrival_s(self, now_s: float) -> float:
        """Of what is sent now, and after everything that was sent before."""
        while self._until_s <= now_s:
            self._stall_s = self._until_s + self._stalls.pause_s(self._draws)
            self._until_s = self._stall_s + self._stalls.draw_s(self._draws)
        stalled = self._stall_s <= now_s
        self.carried += 1
        self.held_up += stalled
        self._last_s = max(self._last_s, (self._until_s if stalled else now_s) + self._delay_s)
        return self._last_s


class Connection(msgspec.Struct, eq=False):
    """Between two nodes, until one of them drops it."""

    initiator: NodeId
    dropped_by: NodeId | None = None


class Peer(msgspec.Struct, eq=False):
    """One node."""

    own: Self
    number: int
    detector: Detector
    runs_from_s: float = 0.0
    """Stopped before."""
    ended_s: float = math.inf
    refuses: bool = False
    """After its end: its machine says that nobody listens."""
    connections: dict[NodeId, Connection] = {}
    heard_s: dict[NodeId, float] = {}
    asked: dict[tuple[NodeId, int], AskThrough] = {}
    tick_s: float = math.inf


Observer = Callable[[float, Peer, Changed], None]


class Mesh:
    """Peers that know and link each other from the beginning."""

    def __init__(
        self, nodes: int, seed: int, config: MembershipConfig, observer: Observer, stalls: Stalls | None = None
    ) -> None:
        self.now_s = 0.0
        self.sent: Counter[str] = Counter()
        self.sent_bytes: Counter[str] = Counter()
        self.metering = False
        self._config = config
        self._observer = observer
        self._seed = seed
        self._stalls = stalls or Stalls()
        self._ways: dict[tuple[int, int], Way] = {}
        self._events: list[tuple[float, int, Peer | None, Callable[[], None]]] = []
        self._numbers = 0
        self._groups: list[int] = []
        self._waiting: list[tuple[Peer, Peer, Callable[[], None]]] = []
        draws = named_stream(seed, "detectors")
        selves = [Self(NodeId(draws.randbytes(20)), f"n{number}", draws.randbytes(16)) for number in range(nodes)]
        self.peers = [self._peer(number, own) for number, own in enumerate(selves)]
        self._by_id = {peer.own.node_id: peer for peer in self.peers}
        self._acquaint()

    def _peer(self, number: int, own: Self) -> Peer:
        draws = named_stream(self._seed, f"{own.name}/membership")
        detector = Detector(own, self._config, LinksConfig(), draws)
        detector.begin(0.0, 1)
        return Peer(own, number, detector)

    def _acquaint(self) -> None:
        """As if they had been together for long: everybody knows everybody, neighbours are linked."""
        news = [_news_of(peer) for peer in self.peers]
        everyone = [peer.own.node_id for peer in self.peers]
        for peer in self.peers:
            others = [one for one in news if one.node_id != peer.own.node_id]
            for start in range(0, len(others), 1024):
                peer.detector.exchanged(0.0, NodeId(bytes(20)), PeerExchange(others[start : start + 1024]), {})
        for peer in self.peers:
            for node_id in sorted(choose(peer.own.node_id, set(everyone) - {peer.own.node_id}, LinksConfig())):
                if node_id not in peer.connections:
                    self._connect(peer, self._by_id[node_id])

    def _connect(self, one: Peer, other: Peer) -> None:
        connection = Connection(one.own.node_id)
        for here, there in ((one, other), (other, one)):
            here.connections[there.own.node_id] = connection
            self._perform(here, here.detector.link_up(self.now_s, _news_of(there)))

    # Time

    def run(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            at_s, number, peer, event = heapq.heappop(self._events)
            if peer is not None:
                if peer.runs_from_s > at_s:
                    heapq.heappush(self._events, (peer.runs_from_s, number, peer, event))
                    continue
                if peer.ended_s <= at_s:
                    continue
            self.now_s = at_s
            event()
        self.now_s = until_s

    def at(self, time_s: float, peer: Peer | None, event: Callable[[], None]) -> None:
        """`peer`: to whom it happens; one that is stopped meets it later, one that has ended never."""
        self._numbers += 1
        heapq.heappush(self._events, (time_s, self._numbers, peer, event))

    def _tick(self, peer: Peer, at_s: float) -> None:
        if peer.tick_s != at_s:
            return  # it wanted to be woken at another time meanwhile
        peer.tick_s = math.inf
        self._perform(peer, peer.detector.tick(self.now_s, peer.heard_s))

    def load_is(self, peer: Peer, load: LoadReport) -> None:
        self._perform(peer, peer.detector.load_is(self.now_s, load))

    # Faults

    def stop(self, peer: Peer, for_s: float) -> None:
        peer.runs_from_s = self.now_s + for_s

    def end(self, peer: Peer, *, refuses: bool = False) -> None:
        """It dies; `refuses`: the process only, and its system closes what it had open."""
        peer.ended_s, peer.refuses = self.now_s, refuses
        if refuses:
            for node_id, connection in list(peer.connections.items()):
                self._close(peer, self._by_id[node_id], connection)

    def part(self, groups: Iterable[int]) -> None:
        """The group of each peer in turn. Between groups everything waits until they are one again, and dials fail."""
        self._groups = list(groups)

    def heal(self) -> None:
        self._groups = []
        waiting, self._waiting = self._waiting, []
        for source, target, event in waiting:
            self._carry(source, target, event)

    def _parted(self, one: Peer, other: Peer) -> bool:
        return bool(self._groups) and self._groups[one.number] != self._groups[other.number]

    # What nodes do

    def _perform(self, peer: Peer, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Changed():
                    self._observer(self.now_s, peer, effect)
                case Tell(to, message):
                    self._send(peer, to, message)
                case Ask(to, number):
                    self._send(peer, to, Probe(number, self.now_s))
                case AskThrough(helper, number, target):
                    peer.asked[helper, number] = effect
                    self._send(peer, helper, IndirectProbe(number, target))
                case Answer(to, request, reach):
                    self._send(peer, to, IndirectAck(request, reach))
                case Dial(member):
                    self._dial(peer, self._by_id[member.node_id])
                case DropLink(node_id):
                    if (connection := peer.connections.get(node_id)) is not None:
                        self._close(peer, self._by_id[node_id], connection)
        due_s = peer.detector.due_s
        if due_s < peer.tick_s:
            peer.tick_s = due_s
            self.at(due_s, peer, partial(self._tick, peer, due_s))

    def _send(self, peer: Peer, to: NodeId, message: Message) -> None:
        connection = peer.connections.get(to)
        if connection is None:
            return
        if self.metering:
            kind = type(message).__name__
            self.sent[kind] += 1
            self.sent_bytes[kind] += len(PEER.encode(message))
        self._carry(peer, self._by_id[to], partial(self._arrived, peer, self._by_id[to], connection, message))

    def _carry(self, source: Peer, target: Peer, event: Callable[[], None]) -> None:
        if self._parted(source, target):
            self._waiting.append((source, target, event))
            return
        pair = (source.number, target.number)
        way = self._ways.get(pair)
        if way is None:
            way = self._ways[pair] = Way(self._stalls, named_stream(self._seed, f"way/{pair}"))
        self.at(way.arrival_s(self.now_s), target, event)

    def _arrived(self, source: Peer, target: Peer, connection: Connection, message: Message) -> None:
        if connection.dropped_by == target.own.node_id:
            return
        sender = source.own.node_id
        target.heard_s[sender] = self.now_s
        self._perform(target, self._take(target, sender, message))

    def _take(self, target: Peer, sender: NodeId, message: Message) -> list[Effect]:
        detector, now_s = target.detector, self.now_s
        match message:
            case Probe(request=request):
                self._send(target, sender, ProbeAck(request, now_s, now_s, now_s))
            case ProbeAck(request=request):
                return detector.answered(now_s, sender, request)
            case IndirectProbe(request=request, target=wanted):
                return detector.asked_for(now_s, sender, request, NodeId(wanted))
            case IndirectAck(request=request, reach=reach):
                question = target.asked.pop((sender, request), None)
                return [] if question is None else detector.answered_for(now_s, question, reach)
            case PeerExchange(members=members, digest=digest) if members or digest is not None:
                return detector.exchanged(now_s, sender, message, target.heard_s)
        return []

    # Links

    def _dial(self, peer: Peer, other: Peer) -> None:
        if other.ended_s <= self.now_s or self._parted(peer, other):
            refused = other.refuses and not self._parted(peer, other)
            after_s = DELAY_S[1] if refused else DIAL_TIMEOUT_S
            self.at(self.now_s + after_s, peer, partial(self._dial_failed, peer, other, refused=refused))
            return
        connection = Connection(peer.own.node_id)
        self._carry(peer, other, partial(self._accept, peer, other, connection))
        self.at(self.now_s + DIAL_TIMEOUT_S, peer, partial(self._dial_failed, peer, other, refused=False))

    def _dial_failed(self, peer: Peer, other: Peer, *, refused: bool) -> None:
        if other.own.node_id not in peer.connections:
            self._perform(peer, peer.detector.dial_failed(self.now_s, other.own.node_id, refused=refused))

    def _accept(self, dialler: Peer, here: Peer, connection: Connection) -> None:
        self._linked(here, dialler, connection)
        self._carry(here, dialler, partial(self._linked, dialler, here, connection))

    def _linked(self, here: Peer, there: Peer, connection: Connection) -> None:
        """Of two that crossed the one begun by the lower id stays, as in `links.Links`."""
        present = here.connections.get(there.own.node_id)
        if connection.dropped_by is not None:
            return
        if present is not None:
            if present.initiator != connection.initiator == min(here.own.node_id, there.own.node_id):
                here.connections[there.own.node_id] = connection
            return
        here.connections[there.own.node_id] = connection
        here.heard_s[there.own.node_id] = self.now_s
        self._perform(here, here.detector.link_up(self.now_s, _news_of(there)))

    def _close(self, here: Peer, there: Peer, connection: Connection) -> None:
        connection.dropped_by = here.own.node_id
        del here.connections[there.own.node_id]
        self._carry(here, there, partial(self._closed, there, here, connection))

    def _closed(self, here: Peer, there: Peer, connection: Connection) -> None:
        node_id = there.own.node_id
        if here.connections.get(node_id) is connection:
            del here.connections[node_id]
            self._perform(here, here.detector.link_down(self.now_s, node_id, there.own.boot_id, left=False))

    # Figures

    def held_up(self) -> float:
        """The share of messages."""
        carried = sum(way.carried for way in self._ways.values())
        return sum(way.held_up for way in self._ways.values()) / max(1, carried)


def _news_of(peer: Peer) -> MemberNews:
    """As links prove it."""
    own = peer.own
    return MemberNews(own.node_id, own.name, "10.0.0.1", 1 + peer.number, own.boot_id, own.incarnation, Status.ALIVE)
