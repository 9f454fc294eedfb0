"""Shell of membership: gives the detector its events and carries out what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import trio

from ..background import Background
from ..bell import Bell
from ..clock import MeshTime, Said
from ..config import Config
from ..errors import DeadlineExceeded, LinkLost, NotAllowed, NotFound, Unavailable
from ..identity.mesh import Identity
from ..ids import NodeId, check_one, is_called
from ..links.link import Link
from ..links.links import Links, is_refused
from ..ports import Address, Entropy
from ..wire.capabilities import LoadReport
from ..wire.codec import Message
from ..wire.gossip import (
    IndirectAck,
    IndirectProbe,
    LoadNews,
    MemberNews,
    PeerExchange,
    Probe,
    ProbeAck,
    Status,
)
from .detector import Changed, Detector, DropLink, Effect, Unheard
from .dialling import Dial
from .exchange import Self, Tell
from .loads import Loads
from .members import Member
from .probing import Answer, Ask, AskThrough


class Membership:
    """`observers` hear of every change of a member, `load_observers` whose load is newly known."""

    def __init__(self, config: Config, identity: Identity, links: Links, mesh_time: MeshTime, entropy: Entropy) -> None:
        self._config = config
        self._identity = identity
        self._links = links
        self._heard_s = _Heard(links)
        self._mesh_time = mesh_time
        own = Self(identity.node_id, identity.name, identity.boot_id)
        self._detector = Detector(own, config.membership, config.links, entropy.stream("membership"))
        self._own_load = LoadReport()
        self._earlier = Bell()
        """The detector wants its tick earlier than the one that is waited for."""
        self._waits_until_s = 0.0
        self._background = Background()
        self._dialling: set[NodeId] = set()
        self.loads = Loads()
        self.observers: list[Callable[[Changed], None]] = []
        self.load_observers: list[Callable[[NodeId], None]] = []
        self.unheard: list[Callable[[NodeId], None]] = []
        """Called, from time to time, with a member that answers others and not this node, though there is a link."""
        links.up.append(self._link_up)
        links.down.append(self._link_down)
        links.replaced.append(self._link_up)
        links.moved.append(self._moved)
        links.on(PeerExchange, self._exchanged)
        links.on(Probe, self._probed)
        links.on(IndirectProbe, self._probed_for_another)

    @property
    def members(self) -> list[Member]:
        """Everyone who is or was, as long as they are remembered."""
        return list(self._detector.members.values())

    def listed(self) -> list[Member]:
        """Who is shown: not those who left some time ago, nor the dead whose name somebody else has now."""
        everyone = list(self._detector.members.values())
        names = {member.name for member in everyone if member.present}
        gone_s = trio.current_time() - self._config.membership.departed_listed_s
        return [
            member
            for member in everyone
            if member.present
            or (member.name not in names and (member.status is not Status.LEFT or member.since_s >= gone_s))
        ]

    @property
    def incarnation(self) -> int:
        return self._detector.incarnation

    def get(self, node_id: bytes) -> Member | None:
        return self._detector.members.get(NodeId(node_id))

    def present(self) -> list[Member]:
        """Alive or only suspected, this node not included."""
        return self._detector.present()

    def named(self, name: str) -> Member | None:
        """One that is present, by its name or id; None for this node itself. Raises NotFound, and UsageError where
        several are called so."""
        own = self._identity
        found = [member for member in self.present() if is_called(member.node_id, member.name, name)]
        ids = [member.node_id for member in found]
        if is_called(own.node_id, own.name, name):
            ids.append(own.node_id)
        check_one(name, ids)
        if not ids:
            raise NotFound(f"no node named {name} is in the mesh")
        return found[0] if found else None

    def somebody_is_missing(self) -> bool:
        return any(member.status is Status.DEAD for member in self._detector.members.values())

    @property
    def complete(self) -> bool:
        """Whether everyone is in the list, by which the nearest to a place are known without a search."""
        return self._detector.present_count < self._config.membership.listed_max

    def begin(self, boots: int) -> None:
        """Before the first link, with the number of this boot."""
        self._detector.begin(trio.current_time(), boots)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._background.run)
            await self._tick()

    def reach(self, node_id: NodeId) -> None:
        """Begins to open a link to a member that has none: whoever hears of its links is told when it is there."""
        member = self._detector.members.get(node_id)
        if member is not None and member.present:
            self._background.start(self._dial, member)

    def expel(self, banned: Collection[NodeId]) -> None:
        """They are gone, whatever others say."""
        for node_id in banned:
            self._perform(self._detector.expelled(trio.current_time(), node_id))

    def load_is(self, load: LoadReport) -> None:
        """This node's load, to be told to its neighbours."""
        if load != self._own_load:
            self._own_load = load
            now_s = trio.current_time()
            self.loads.heard(now_s, [LoadNews(self._identity.node_id, self._identity.boot_id, load)])
            self._perform(self._detector.load_is(now_s, load))

    async def _tick(self) -> None:
        while True:
            self._earlier.hush()
            self._waits_until_s = self._detector.due_s
            with trio.move_on_at(self._waits_until_s):
                await self._earlier.heard()
            if trio.current_time() >= self._detector.due_s:
                self._perform(self._detector.tick(trio.current_time(), self._heard_s))
                self._part_with_superfluous()

    # What links say

    def _link_up(self, link: Link) -> None:
        peer = link.peer
        self._mesh_time.sampled(peer.node_id, peer.said)
        news = MemberNews(
            peer.node_id, peer.name, peer.address.host, peer.address.port, peer.boot_id, peer.incarnation, Status.ALIVE
        )
        self._perform(self._detector.link_up(trio.current_time(), news))

    def _moved(self, _address: Address) -> None:
        self._perform(self._detector.moved(trio.current_time()))

    def _part_with_superfluous(self) -> None:
        used_s = {link.peer.node_id: link.used_s for link in self._links if not link.parted}
        for node_id in self._detector.superfluous(trio.current_time(), used_s):
            self._background.start(self._part, node_id)

    async def _part(self, node_id: NodeId) -> None:
        if (link := self._links.get(node_id)) is not None and not link.parted:
            await link.disconnect(leaving=False, reason="not used lately")

    def _link_down(self, link: Link) -> None:
        peer = link.peer
        self._mesh_time.forget(peer.node_id)
        now_s = trio.current_time()
        self._perform(self._detector.link_down(now_s, peer.node_id, peer.boot_id, left=link.left, parted=link.parted))

    def _exchanged(self, link: Link, message: Message) -> None:
        assert isinstance(message, PeerExchange)
        now_s, sender = trio.current_time(), link.peer.node_id
        if message.members or message.digest is not None:
            self._perform(self._detector.exchanged(now_s, sender, self._credible(message), self._heard_s))
        # A node speaks for its own load only: what it says of others' is not taken.
        own = [item for item in message.loads if item.node_id == sender]
        for node_id in self.loads.heard(now_s, own):
            for observer in self.load_observers:
                observer(node_id)

    def _credible(self, message: PeerExchange) -> PeerExchange:
        """Without what is said of the banned."""
        banned = self._links.bans.nodes
        if not any(news.node_id in banned for news in message.members):
            return message
        return PeerExchange([news for news in message.members if news.node_id not in banned], [], message.digest)

    def _probed(self, link: Link, message: Message) -> None:
        assert isinstance(message, Probe)
        link.tell(ProbeAck(message.request, *self._mesh_time.says()))

    def _probed_for_another(self, link: Link, message: Message) -> None:
        assert isinstance(message, IndirectProbe)
        target = NodeId(message.target)
        self._perform(self._detector.asked_for(trio.current_time(), link.peer.node_id, message.request, target))

    # What the detector asks for

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Changed():
                    self._changed(effect)
                case Tell(to, message):
                    self._post(to, message)
                case Answer(to, request, reach):
                    self._post(to, IndirectAck(request, reach))
                case Ask():
                    self._background.start(self._ask, effect)
                case AskThrough():
                    self._background.start(self._ask_through, effect)
                case Dial(member):
                    self._background.start(self._dial, member)
                case Unheard(node_id):
                    for hear in self.unheard:
                        hear(node_id)
                case DropLink(node_id):
                    if (link := self._links.get(node_id)) is not None:
                        link.lose(LinkLost(f"{link.peer.name} does not answer"))
        if self._detector.due_s < self._waits_until_s:
            self._earlier.ring()

    def _changed(self, change: Changed) -> None:
        if not change.member.present:
            self.loads.forget(change.member.node_id)
        for observer in self.observers:
            observer(change)

    def _post(self, to: NodeId, message: Message) -> None:
        if (link := self._links.get(to)) is not None:
            link.tell(message)

    async def _ask(self, ask: Ask) -> None:
        link = self._links.get(ask.to)
        if link is None:
            return
        started_s = trio.current_time()
        try:
            ack = await link.request(lambda number: Probe(number, self._mesh_time.now_s()), ProbeAck, ask.within_s)
        except (LinkLost, DeadlineExceeded):
            return  # the detector sees the silence
        now_s = trio.current_time()
        self._mesh_time.sampled(ask.to, Said(ack.time_s, ack.age_s, ack.wall_s), now_s - started_s)
        self._perform(self._detector.answered(now_s, ask.to, ask.number))

    async def _ask_through(self, ask: AskThrough) -> None:
        link = self._links.get(ask.helper)
        if link is None:
            return
        try:
            ack = await link.request(lambda number: IndirectProbe(number, ask.target), IndirectAck, ask.within_s)
        except (LinkLost, DeadlineExceeded):
            return  # the detector counts it
        self._perform(self._detector.answered_for(trio.current_time(), ask, ack.reach))

    async def _dial(self, member: Member) -> None:
        if member.node_id in self._dialling or member.node_id in self._links.bans.nodes:
            return
        self._dialling.add(member.node_id)
        try:
            await self._links.link_to(member.node_id, member.address)
        except (Unavailable, NotAllowed) as error:
            now_s = trio.current_time()
            self._perform(self._detector.dial_failed(now_s, member.node_id, refused=is_refused(error)))
            self.expel({member.node_id} & self._links.bans.nodes)  # as its chain has shown just now
        finally:
            self._dialling.discard(member.node_id)


class _Heard(Mapping[NodeId, float]):
    """When each linked peer was last heard, looked up for whom it is wanted."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def __getitem__(self, node_id: NodeId) -> float:
        link = self._links.get(node_id)
        if link is None:
            raise KeyError(node_id)
        return link.last_heard_s

    def __iter__(self) -> Iterator[NodeId]:
        return (link.peer.node_id for link in self._links)

    def __len__(self) -> int:
        return sum(1 for _ in self)
