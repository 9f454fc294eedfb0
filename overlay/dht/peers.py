"""What the DHT needs of the rest of its node: others that can be asked, and who of them is there.

`links.Links` and `membership.Membership` are these in life. A simulation of very many nodes has lighter ones, so that
the DHT itself is the shipped one there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from ..ids import NodeId
from ..links.opening import PeerInfo
from ..links.questions import Hear
from ..membership.detector import Changed
from ..membership.members import Member
from ..ports import Address
from ..wire.codec import Message

M = TypeVar("M", bound=Message)
Observer = TypeVar("Observer", contravariant=True)


class Observers(Protocol[Observer]):
    def append(self, observer: Observer, /) -> None: ...


class Peer(Protocol):
    """One other node, connected."""

    @property
    def peer(self) -> PeerInfo: ...

    @property
    def round_trip_s(self) -> float:
        """Smoothed; 0 before the first answer."""

    def post(self, message: Message) -> None:
        """Never waits. Raises LinkLost."""

    def tell(self, message: Message) -> None:
        """Posts it where there is a link still."""

    def ask(self, make: Callable[[int], Message], answer_type: type[M], hear: Hear[M]) -> int:
        """Posts `make(number)`; `hear` is called with the answer, or None if the link is lost. Raises LinkLost."""

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""

    async def request(self, make: Callable[[int], Message], answer_type: type[M], timeout_s: float) -> M:
        """Posts `make(number)` and waits for its answer. Raises LinkLost, DeadlineExceeded."""

    async def guarded(self, work: Callable[..., Any], *args: object) -> None:
        """Does, in a task of its own, what this node has asked for. A fault of ours in it ends the connection alone."""


PeerHandler = Callable[[Peer, Message], None]


class Peers(Protocol):
    """All nodes that can be asked."""

    @property
    def up(self) -> Observers[Callable[[Peer], None]]:
        """Called when another node is connected."""

    def on(self, message_type: type[Message], handler: PeerHandler) -> None: ...

    def __iter__(self) -> Iterator[Peer]:
        """Those connected now."""

    def get(self, node_id: bytes) -> Peer | None: ...

    async def link_to(self, node_id: NodeId, address: Address) -> Peer:
        """Connected if it is not yet. Raises Unavailable or NotAllowed."""


class Members(Protocol):
    """Who belongs to the mesh, as this node knows."""

    @property
    def observers(self) -> Observers[Callable[[Changed], None]]: ...

    @property
    def complete(self) -> bool:
        """Whether everyone is in the list; if not, the network is searched."""

    def get(self, node_id: bytes) -> Member | None: ...

    def present(self) -> list[Member]:
        """This node not included."""

    def somebody_is_missing(self) -> bool:
        """Whether one of them has died, or is out of reach, and may come back."""
