"""Payloads too long for a control frame: kept where they were made, fetched by whoever needs them on a connection of
their own, so that control never waits behind data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from ..overlay.config import Links as LinksConfig
from ..overlay.errors import (
    DeadlineExceeded,
    LimitExceeded,
    LinkLost,
    NotAllowed,
    NotFound,
    OutOfMemory,
    RemoteProtocolError,
    Unavailable,
)
from ..overlay.identity.mesh import Identity
from ..overlay.ids import NodeId
from ..overlay.links.conversation import Conversation
from ..overlay.links.link import Link
from ..overlay.links.links import Links
from ..overlay.links.opening import PeerInfo
from ..overlay.membership.service import Membership
from ..overlay.parcels import Filling, Held, Parcel, pieces_of, size_of
from ..overlay.ports import Entropy
from ..overlay.wire.codec import Message
from ..overlay.wire.layout import decode_inline, encode_inline
from ..overlay.wire.work import (
    INLINE_BYTES_MAX,
    Inline,
    ObjectComes,
    ObjectMissing,
    ObjectRelease,
    ObjectWant,
    Payload,
    Reference,
)

PART_BYTES: Final = 512 << 10
"""To programs, within frames."""
PIECE_BYTES: Final = 256 << 10
"""To other nodes."""
OBJECT_BYTES_MIN: Final = 1 << 10
"""What an object counts at least, however short: it is listed in several places."""
_FETCHES_AT_ONCE: Final = 4
_RESULTS_TIMES: Final = 2
_PATIENCE_S: Final = 30.0
_RATE_MIN_BYTES_PER_S: Final = 256 << 10
"""Whoever sends an object more slowly, after a while, is not waited for."""


class ObjectTable:
    """Encoded payloads by object id, each held for one job until that job is over."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._objects: dict[bytes, Held] = {}
        self._job_of: dict[bytes, str] = {}
        self._by_job: dict[str, set[bytes]] = {}
        self.size_bytes = 0
        self.on_freed: Callable[[], object] = lambda: None

    def put(self, object_id: bytes, held: Held, job: str, *, is_result: bool = False) -> None:
        """Raises LimitExceeded when the node lends no more memory. Results of what has run here may take as much again:
        they are there, and while they are too many nothing more is begun."""
        if object_id in self._objects:
            return
        self.check_room(_counted_bytes(held), _RESULTS_TIMES if is_result else 1)
        self._objects[object_id] = held if isinstance(held, bytes) else held.kept()
        self._give(object_id, job)
        self.size_bytes += _counted_bytes(held)

    def reserve(self, size_bytes: int, *, for_results: bool = False) -> None:
        """For what is on its way, until `free`. Raises LimitExceeded."""
        self.check_room(size_bytes, _RESULTS_TIMES if for_results else 1)
        self.size_bytes += size_bytes

    def free(self, size_bytes: int) -> None:
        """It is not on its way any more."""
        self.size_bytes -= size_bytes
        self.on_freed()

    def check_room(self, size_bytes: int, times: int = 1) -> None:
        """Raises LimitExceeded when so much more would be too much."""
        if self.size_bytes + size_bytes > times * self._bytes_max:
            raise LimitExceeded(f"{size_bytes} bytes more exceed the memory this node lends")

    def could_hold(self, size_bytes: int) -> bool:
        """Once there is room."""
        return size_bytes <= self._bytes_max

    @property
    def is_full(self) -> bool:
        return self.size_bytes > self._bytes_max

    def get(self, object_id: bytes) -> Held | None:
        return self._objects.get(object_id)

    def read(self, object_id: bytes) -> bytes | None:
        """All of it, as bytes."""
        held = self._objects.get(object_id)
        return held.whole() if isinstance(held, Parcel) else held

    def adopt(self, object_id: bytes, job: str) -> None:
        """An object that was uploaded before its job was known belongs to it now."""
        if object_id in self._objects:
            self._take_away(object_id)
            self._give(object_id, job)

    def drop(self, object_id: bytes) -> None:
        held = self._objects.pop(object_id, None)
        if held is not None:
            self._take_away(object_id)
            self.size_bytes -= _counted_bytes(held)
            self.on_freed()

    def release(self, job: str) -> None:
        for object_id in tuple(self._by_job.get(job, ())):
            self.drop(object_id)
        self.on_freed()  # whoever waits for room for this job waits in vain

    def _give(self, object_id: bytes, job: str) -> None:
        self._job_of[object_id] = job
        self._by_job.setdefault(job, set()).add(object_id)

    def _take_away(self, object_id: bytes) -> None:
        job = self._job_of.pop(object_id)
        self._by_job[job].discard(object_id)
        if not self._by_job[job]:
            del self._by_job[job]


def _counted_bytes(held: Held) -> int:
    return max(size_of(held), OBJECT_BYTES_MIN)


class Objects:
    """This node's table, and everyone else's by way of bulk connections."""

    def __init__(
        self,
        table: ObjectTable,
        identity: Identity,
        links: Links,
        membership: Membership,
        entropy: Entropy,
        config: LinksConfig,
        *,
        in_parcels: bool = False,
    ) -> None:
        """`in_parcels`: whether workers here take them; else what is fetched is held as bytes."""
        self.table = table
        self._identity = identity
        self._links = links
        self._membership = membership
        self._entropy = entropy
        self._config = config
        self._in_parcels = in_parcels
        self._idle: dict[NodeId, list[Conversation]] = {}
        self._limits: dict[NodeId, trio.CapacityLimiter] = {}
        self._arriving_bytes = 0
        self.freed = trio.Event()
        """Set when there may be more room than there was; the next one is another."""
        table.on_freed = self._note_freed
        self.kept: Callable[[bytes], bytes | None] = lambda object_id: None
        """Payloads that lie on disk, beside those of the table."""
        links.on_bulk(self._serve)
        links.on(ObjectRelease, self._released)

    def _note_freed(self) -> None:
        self.freed.set()
        self.freed = trio.Event()

    @property
    def is_full(self) -> bool:
        return self.table.is_full

    def keep_result(self, payload: Inline | Parcel, job: str) -> Payload:
        """Of a task that has run here. Raises LimitExceeded for what is too long, OutOfMemory where there is no room
        now."""
        try:
            return self.keep(payload, job, is_result=True)
        except LimitExceeded as error:
            if not self.table.could_hold(payload.size_bytes):
                raise
            raise OutOfMemory(str(error)) from error

    def hold(self, more_bytes: int) -> None:
        """So much more is on its way from a task that runs here than was, or less. Raises LimitExceeded."""
        if more_bytes > 0:
            self.table.reserve(more_bytes, for_results=True)
        else:
            self.table.free(-more_bytes)

    def keep(self, payload: Inline | Parcel, job: str, *, is_result: bool = False) -> Payload:
        """The payload itself where it is short, else a reference to it here. Raises LimitExceeded."""
        if isinstance(payload, Inline) and payload.size_bytes <= INLINE_BYTES_MAX:
            return payload
        held = encode_inline(payload) if isinstance(payload, Inline) else payload
        object_id = self._entropy.token(16)
        self.table.put(object_id, held, job, is_result=is_result)
        return Reference(object_id, size_of(held), self._identity.node_id)

    def get(self, object_id: bytes) -> Held | None:
        """What lies here."""
        held = self.table.get(object_id)
        return self.kept(object_id) if held is None else held

    async def bring_home(self, reference: Reference, job: str) -> Reference:
        """The object lies here now, for this job; its holder may drop it. Raises NotFound, LinkLost, LimitExceeded."""
        self.table.put(reference.object_id, await self.fetch_held(reference), job)
        self.done_with(reference)
        return Reference(reference.object_id, reference.size_bytes, self._identity.node_id)

    def done_with(self, reference: Reference) -> None:
        """It has been handed on; its holder may drop it."""
        if reference.holder == self._identity.node_id:
            self.table.drop(reference.object_id)
        elif (link := self._links.get(reference.holder)) is not None:
            try:
                link.post(ObjectRelease([reference.object_id]))
            except LinkLost:
                pass  # it goes with its job

    async def fetch(self, reference: Reference) -> Inline | Parcel:
        """Raises NotFound, LinkLost, LimitExceeded."""
        held = await self.fetch_held(reference)
        if isinstance(held, Parcel) and self._in_parcels:
            return held
        try:
            return decode_inline(held.whole() if isinstance(held, Parcel) else held)
        except RemoteProtocolError as error:
            raise NotFound(f"object {reference.object_id.hex()} does not parse: {error}") from error

    async def fetch_bytes(self, reference: Reference) -> bytes:
        held = await self.fetch_held(reference)
        return held.whole() if isinstance(held, Parcel) else held

    async def fetch_held(self, reference: Reference) -> Held:
        if reference.holder == self._identity.node_id:
            held = self.get(reference.object_id)
            if held is None:
                raise NotFound(f"object {reference.object_id.hex()} is not here any more")
            return held
        holder = NodeId(reference.holder)
        if self._membership.get(holder) is None:
            raise LinkLost("the holder of an object is not known")
        async with self._limits.setdefault(holder, trio.CapacityLimiter(_FETCHES_AT_ONCE)):
            self.table.check_room(self._arriving_bytes + reference.size_bytes)  # what is announced is only announced
            self._arriving_bytes += reference.size_bytes
            try:
                return await self._fetch_from(holder, reference)
            finally:
                self._arriving_bytes -= reference.size_bytes
                self._note_freed()

    async def _fetch_from(self, holder: NodeId, reference: Reference) -> Held:
        patience_s = _PATIENCE_S + reference.size_bytes / _RATE_MIN_BYTES_PER_S
        try:
            conversation = await self._conversation(holder)
            try:
                with trio.fail_after(patience_s):
                    held = await _receive(conversation, reference, _Arriving(in_parcel=self._in_parcels))
            except BaseException:  # cancellation too: in the middle of an object it is good for nothing more
                with trio.CancelScope(shield=True):
                    await conversation.aclose()
                raise
        except RemoteProtocolError as error:
            raise LinkLost(f"the holder of an object broke the protocol: {error}") from error
        except (Unavailable, NotAllowed) as error:
            raise LinkLost(f"an object cannot be fetched: {error}") from error
        except trio.TooSlowError as error:
            raise LinkLost(f"an object did not arrive in {patience_s:.0f} s") from error
        if self._membership.get(holder) is None:  # it went meanwhile, and nobody would close this any more
            await conversation.aclose()
        else:
            self._idle.setdefault(holder, []).append(conversation)
        return held

    async def _conversation(self, holder: NodeId) -> Conversation:
        while idle := self._idle.get(holder):
            if self._links.leads_there(conversation := idle.pop()):
                return conversation
        member = self._membership.get(holder)
        if member is None:
            raise LinkLost("the holder of an object is not known")
        return await self._links.open_bulk(holder, member.address)

    async def forget(self, node_id: NodeId) -> None:
        """The node is gone: so are the connections to it."""
        self._limits.pop(node_id, None)
        for conversation in self._idle.pop(node_id, []):
            await conversation.aclose()

    def _released(self, link: Link, message: Message) -> None:
        assert isinstance(message, ObjectRelease)
        for object_id in message.objects:
            self.table.drop(object_id)

    async def _serve(self, conversation: Conversation, peer: PeerInfo) -> None:
        """A peer's bulk connection, until it closes it. Ids are unguessable and told to who may have the object."""
        while True:
            want = await conversation.receive()
            assert isinstance(want, ObjectWant)
            await self._send(conversation, peer, want)

    async def _send(self, conversation: Conversation, peer: PeerInfo, want: ObjectWant) -> None:
        held = self.get(want.object_id)
        if held is None:
            await conversation.send(ObjectMissing(want.request))
            return
        await conversation.send(ObjectComes(want.request, size_of(held)))
        for piece in pieces_of(held, PIECE_BYTES):
            if not conversation.stream.send_now(piece):
                with trio.move_on_after(self._config.handshake_timeout_s * 6) as scope:
                    await conversation.stream.flush()
                if scope.cancelled_caught:
                    raise DeadlineExceeded(f"{peer.name} does not read the object it asked for")
            await trio.lowlevel.checkpoint()  # others have their turn, however fast it is read


class _Arriving:
    """An object on its way here, into a memory file where that is wanted and the system has room for one."""

    def __init__(self, *, in_parcel: bool) -> None:
        self._bytes = bytearray()
        self._filling: Filling | None = None
        if in_parcel:
            try:
                self._filling = Filling()
            except LimitExceeded:
                pass  # then as bytes

    def take(self, chunk: bytes | memoryview) -> None:
        if self._filling is None:
            self._bytes += chunk
        else:
            self._filling.write(chunk)

    def whole(self) -> Held:
        return bytes(self._bytes) if self._filling is None else self._filling.seal().kept()


async def _receive(conversation: Conversation, reference: Reference, arriving: _Arriving) -> Held:
    """Raises LimitExceeded where the system has no room for it."""
    await conversation.send(ObjectWant(0, reference.object_id))
    answer = await conversation.receive()
    if isinstance(answer, ObjectMissing):
        raise NotFound(f"object {reference.object_id.hex()} is not at its holder any more")
    assert isinstance(answer, ObjectComes)
    if answer.total_bytes != reference.size_bytes:
        raise RemoteProtocolError("an object is longer or shorter than announced")
    await conversation.receive_unframed(answer.total_bytes, arriving.take)
    return arriving.whole()
