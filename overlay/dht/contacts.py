"""Shell of a node's contacts: keeps the routing table, searches by it, and asks.

Who enters the table has shown itself by a link. Who does not answer is set aside, so that the next search does not
wait for it again: membership soon judges a neighbour; of all others, silence is the judge, and they leave the table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from ..bell import Bell
from ..config import Config
from ..errors import DeadlineExceeded, LinkLost, Unavailable
from ..ids import NodeId
from ..membership.detector import Changed
from ..ports import Address
from ..wire import records as wire
from ..wire.codec import Message
from ..wire.records import Contact
from .aside import PAUSE_MAX_S, Aside
from .lookup import Lookup
from .peers import Members, Peer, Peers
from .routing import Routing
from .searching import Ask, Search

M = TypeVar("M", bound=Message)

_LATE_ROUND_TRIPS: Final = 3.0
_LATE_MIN_S: Final = 0.02
_SMOOTHING: Final = 0.125
_FOUND_MAX: Final = 1024


class Contacts:
    def __init__(
        self,
        config: Config,
        own_id: NodeId,
        peers: Peers,
        members: Members,
        start: Callable[[Callable[[Contact], Awaitable[None]], Contact], None],
    ) -> None:
        """`start` runs something in the background."""
        self._config = config.dht
        self._here = Contact(own_id, "", 0)
        self._peers = peers
        self._members = members
        self._start = start
        self._aside = Aside()
        self.round_trip_s = 0.0
        """Of all who are asked, smoothed; 0 before the first answer."""
        self._met = Bell()
        self._found: dict[tuple[bytes, int], list[Contact]] = {}
        """Holders, by place and how many were sought."""
        self.filled = trio.Event()
        """This node has found its place in a mesh that is too large for it to know everyone."""
        self.routing = Routing(own_id, config.dht.k)
        peers.up.append(self._link_up)
        members.observers.append(self._member_changed)
        peers.on(wire.FindNode, self._find_node)

    @property
    def everyone_is_known(self) -> bool:
        """While everyone is a neighbour the member list is exact and fresh; beyond, the network is searched."""
        return self._members.complete

    async def run(self) -> None:
        """Fills the table when this node has joined a mesh too large to know everyone, and keeps it full."""
        while True:
            await self._met.heard()
            if not self.everyone_is_known and await self.refresh():
                self.filled.set()
                await trio.sleep(self._config.refresh_interval_s)

    async def refresh(self) -> bool:
        """Looks up its own place, then one in every farther part of the id space. Whether anybody answered."""
        own_id = self._here.node_id
        found = await self.lookup(own_id, self._config.k)
        for place in self.routing.far_places():
            await self.lookup(place, self._config.alpha)
        return any(contact.node_id != own_id for contact in found)

    # Searching

    async def lookup(self, target: bytes, count: int) -> list[Contact]:
        """The `count` nearest live nodes, nearest first, this one included where it belongs."""
        return await self.search_nodes(target, count).run()

    def search_nodes(self, target: bytes, count: int) -> Search:
        async def ask(contact: Contact) -> list[Contact]:
            nodes = await self.ask(contact, lambda number: wire.FindNode(number, target), wire.Nodes)
            return nodes.contacts

        return self.search(target, count, ask)

    async def holders(self, place: bytes, count: int) -> list[Contact]:
        """As `lookup`, once for a place as long as nobody is known to have come or gone."""
        known = self._found.get((place, count))
        if known is None:
            found = self._found
            known = await self.lookup(place, count)
            if len(found) >= _FOUND_MAX:
                found.clear()
            found[place, count] = known
        return known

    def search(self, target: bytes, count: int, ask: Ask, at_once: int | None = None) -> Search:
        """One that puts a question of the caller's own, whose answers name contacts nearer to the target; `at_once`
        of them are under way, α if nothing else is said."""

        async def ask_and_note(contact: Contact) -> list[Contact]:
            try:
                contacts = await self._in_time(ask, contact)
            except Unavailable:
                self._is_silent(contact)
                raise
            self.heard(NodeId(contact.node_id), Address(contact.host, contact.port))
            return self._worth_asking(contacts)

        lookup = Lookup(target, self.nearest(target), count=count, alpha=at_once or self._config.alpha, here=self._here)
        return Search(lookup, ask_and_note, self._patience_s, self._start)

    async def _in_time(self, ask: Ask, contact: Contact) -> list[Contact]:
        with trio.move_on_after(self._config.silence_s):
            return await ask(contact)
        raise DeadlineExceeded(f"{contact.host}:{contact.port} does not answer")

    def nearest(self, target: bytes) -> list[Contact]:
        """Whom this node would ask first, and names to others who search."""
        return self._worth_asking(self.routing.nearest(target))

    def _worth_asking(self, contacts: list[Contact]) -> list[Contact]:
        if not self._aside:
            return contacts
        now_s = trio.current_time()
        return [one for one in contacts if not self._aside.holds(now_s, NodeId(one.node_id))]

    def _patience_s(self, contact: Contact) -> float:
        """How long a contact may be silent before another is asked as well."""
        link = self._peers.get(contact.node_id)
        round_trip_s = (link.round_trip_s if link is not None else 0.0) or self.round_trip_s
        most_s = self._config.request_timeout_s
        return min(max(_LATE_MIN_S, _LATE_ROUND_TRIPS * round_trip_s), most_s) if round_trip_s else most_s

    async def ask(self, contact: Contact, make: Callable[[int], Message], answer_type: type[M]) -> M:
        """One question, put again where a link breaks. Raises Unavailable or NotAllowed."""
        began_s = trio.current_time()
        limit_s = began_s + self._config.request_timeout_s * self._config.request_tries
        for attempt in range(self._config.request_tries):
            link = await self._link_to(contact, limit_s)
            left_s = max(0.0, limit_s - trio.current_time())  # who runs late may find that its time is up already
            try:
                answer = await link.request(make, answer_type, left_s)
            except LinkLost:
                if attempt == self._config.request_tries - 1:
                    raise
            else:
                self.measure(trio.current_time() - began_s)
                return answer
        raise LinkLost("no tries are left")

    async def _link_to(self, contact: Contact, limit_s: float) -> Peer:
        if (link := self._peers.get(contact.node_id)) is not None:
            return link
        with trio.move_on_at(limit_s):
            return await self._peers.link_to(NodeId(contact.node_id), Address(contact.host, contact.port))
        raise DeadlineExceeded(f"{contact.host}:{contact.port} does not answer")

    def measure(self, sample_s: float) -> None:
        """How long an answer has taken."""
        before_s = self.round_trip_s
        self.round_trip_s = before_s + _SMOOTHING * (sample_s - before_s) if before_s else sample_s

    # Who comes and goes

    def _link_up(self, link: Peer) -> None:
        self._aside.release(link.peer.node_id)
        self.routing.add(link.peer.node_id, link.peer.address)
        self._met.ring()

    def _member_changed(self, change: Changed) -> None:
        member = change.member
        if change.event not in ("suspected", "cleared"):
            self._found = {}
        if member.present:
            self._aside.release(member.node_id)
            self.routing.add(member.node_id, member.address)
            self._met.ring()
        else:
            self._aside.put(trio.current_time(), member.node_id, least_s=PAUSE_MAX_S)
            self.routing.remove(member.node_id)

    def _is_silent(self, contact: Contact) -> None:
        self._found = {}
        node_id = NodeId(contact.node_id)
        self._aside.put(trio.current_time(), node_id)
        if self._members.get(node_id) is None:
            self.routing.remove(node_id)

    def heard(self, node_id: NodeId, address: Address) -> None:
        """It answers or asks: it need not be set aside any longer."""
        if self._aside.release(node_id):
            self.routing.add(node_id, address)

    def _find_node(self, link: Peer, message: Message) -> None:
        assert isinstance(message, wire.FindNode)
        self.heard(link.peer.node_id, link.peer.address)
        link.tell(wire.Nodes(message.request, self.nearest(message.target)))
