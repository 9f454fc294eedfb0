"""Shell of membership: gives the detector its events and carries out what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import trio

from ..background import Background
from ..clock import MeshTime, Said
from ..config import Config
from ..errors import DeadlineExceeded, LinkLost, NotAllowed, Unavailable
from ..identity.mesh import Identity
from ..ids import NodeId
from ..links.link import Link
from ..links.links import Links, is_refused
from ..ports import Address
from ..wire.capabilities import LoadReport
from ..wire.codec import Message
from ..wire.gossip import LoadNews, MemberNews, PeerExchange, Probe, ProbeAck, Status
from .detector import Changed, Detector, Dial, DropLink, Effect, Member, SendProbe, Tell
from .loads import Loads
from .neighbours import choose

_NEWS_MAX: Final = 1024


class Membership:
    """`observers` hear of every change of a member, `load_observers` whose load is newly known."""

    def __init__(self, config: Config, identity: Identity, links: Links, mesh_time: MeshTime) -> None:
        self._config = config
        self._identity = identity
        self._links = links
        self._mesh_time = mesh_time
        self._detector = Detector(identity.node_id, config.membership)
        self._news: dict[NodeId, MemberNews] = {}
        self._own_load = LoadReport()
        self._something_to_tell = trio.Event()
        self._load_changed = trio.Event()
        self._background = Background()
        self._dialling: set[NodeId] = set()
        self.loads = Loads()
        self.observers: list[Callable[[Changed], None]] = []
        self.load_observers: list[Callable[[NodeId], None]] = []
        links.up.append(self._link_up)
        links.down.append(self._link_down)
        links.on(PeerExchange, self._exchanged)
        links.on(Probe, self._probed)

    @property
    def members(self) -> list[Member]:
        return list(self._detector.members.values())

    def get(self, node_id: bytes) -> Member | None:
        return self._detector.members.get(NodeId(node_id))

    def present(self) -> list[Member]:
        """Alive or only suspected, this node not included."""
        return self._detector.present()

    @property
    def complete(self) -> bool:
        """Whether everyone is a neighbour, so that the list is exact and fresh."""
        return len(self.present()) < self._config.links.neighbours_full

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._background.run)
            nursery.start_soon(self._tick)
            nursery.start_soon(self._tell_load)
            await self._tell_news()

    def expel(self, banned: Collection[NodeId]) -> None:
        """They are gone, whatever others say."""
        for node_id in banned:
            self._perform(self._detector.expelled(trio.current_time(), node_id))

    def load_is(self, load: LoadReport) -> None:
        """This node's load, to be told to its neighbours."""
        if load != self._own_load:
            self._own_load = load
            self.loads.heard(trio.current_time(), [self._load_news()])
            self._load_changed.set()

    def _load_news(self) -> LoadNews:
        return LoadNews(self._identity.node_id, self._identity.boot_id, self._own_load)

    async def _tick(self) -> None:
        while True:
            await trio.sleep(self._config.membership.probe_interval_s / 4)
            heard_s = {link.peer.node_id: link.last_heard_s for link in self._links}
            self._perform(self._detector.tick(trio.current_time(), heard_s))

    async def _tell_news(self) -> None:
        """Who came and went, to all neighbours, as soon as it is known."""
        while True:
            await self._something_to_tell.wait()
            self._something_to_tell = trio.Event()
            while self._news:
                told = list(self._news)[:_NEWS_MAX]
                self._send_all(PeerExchange([self._news.pop(node_id) for node_id in told], [self._load_news()]))
            await trio.sleep(self._config.membership.exchange_min_s)

    async def _tell_load(self) -> None:
        """This node's load when it has changed, the first change at once, and as a keep-alive."""
        membership = self._config.membership
        while True:
            with trio.move_on_after(membership.exchange_interval_s):
                await self._load_changed.wait()
            self._load_changed = trio.Event()
            self._send_all(PeerExchange([], [self._load_news()]))
            await trio.sleep(membership.exchange_load_min_s)

    def _send_all(self, message: PeerExchange) -> None:
        for link in self._links:
            _post(link, message)

    def _link_up(self, link: Link) -> None:
        peer = link.peer
        self._mesh_time.sampled(peer.node_id, peer.said)
        news = MemberNews(
            peer.node_id, peer.name, peer.address.host, peer.address.port, peer.boot_id, peer.incarnation, Status.ALIVE
        )
        self._perform(self._detector.link_up(trio.current_time(), news))
        known = [self._news_of(member) for member in self._detector.present() if member.node_id != peer.node_id]
        _post(link, PeerExchange(known[:_NEWS_MAX], [self._load_news()]))

    def _link_down(self, link: Link) -> None:
        peer = link.peer
        self._mesh_time.forget(peer.node_id)
        self._perform(self._detector.link_down(trio.current_time(), peer.node_id, peer.boot_id, left=link.left))

    def _exchanged(self, link: Link, message: Message) -> None:
        assert isinstance(message, PeerExchange)
        now_s = trio.current_time()
        banned = self._links.bans.nodes
        self._perform(self._detector.news(now_s, [news for news in message.members if news.node_id not in banned]))
        # A node speaks for its own load only: what it says of others' is not taken.
        own = [item for item in message.loads if item.node_id == link.peer.node_id]
        for node_id in self.loads.heard(now_s, own):
            for observer in self.load_observers:
                observer(node_id)

    def _probed(self, link: Link, message: Message) -> None:
        assert isinstance(message, Probe)
        _post(link, ProbeAck(message.request, *self._mesh_time.says()))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Changed():
                    if not effect.member.present:
                        self.loads.forget(effect.member.node_id)
                    for observer in self.observers:
                        observer(effect)
                case Tell(member):
                    self._news[member.node_id] = self._news_of(member)
                    self._something_to_tell.set()
                case SendProbe(node_id):
                    self._background.start(self._probe, node_id)
                case Dial(member):
                    self._background.start(self._dial, member)
                case DropLink(node_id):
                    if (link := self._links.get(node_id)) is not None:
                        link.lose(LinkLost(f"{link.peer.name} does not answer"))

    async def _probe(self, node_id: NodeId) -> None:
        link = self._links.get(node_id)
        if link is None:
            return
        started_s = trio.current_time()
        try:
            ack = await link.request(
                lambda number: Probe(number, self._mesh_time.now_s()),
                ProbeAck,
                self._config.membership.suspicion_s,
            )
        except (LinkLost, DeadlineExceeded):
            return  # the detector sees the silence
        self._mesh_time.sampled(node_id, Said(ack.time_s, ack.age_s, ack.wall_s), trio.current_time() - started_s)

    async def _dial(self, member: Member) -> None:
        if member.node_id in self._dialling or not self._is_wanted(member):
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

    def _is_wanted(self, member: Member) -> bool:
        others = (one.node_id for one in self._detector.present())
        return member.node_id in choose(self._identity.node_id, others, self._config.links)

    def _news_of(self, member: Member) -> MemberNews:
        address: Address = member.address
        return MemberNews(
            member.node_id, member.name, address.host, address.port, member.boot_id, member.incarnation, member.status
        )


def _post(link: Link, message: Message) -> None:
    try:
        link.post(message)
    except LinkLost:
        pass  # the link's end is told to whoever has to know
