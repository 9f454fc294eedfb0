"""Members that were away while their mesh was given a new root: how they come back, and who lets them.

A dial fails, because nobody's certificate leads to the root one knows; then one knocks there, with one's old
certificate. TLS at that door proves a leaf under a root that was left, and whoever was kept is given the record, which
the old root has signed. The holder of nothing but the old secret can make certificates, but was not kept.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

import trio

from ..overlay.errors import DeadlineExceeded, LinkLost, NotAllowed, RemoteProtocolError, from_wire
from ..overlay.identity.bans import BanSet
from ..overlay.identity.certificates import verify_chain
from ..overlay.identity.rotation import Succession
from ..overlay.ports import Address, Stream, StreamHandler
from ..overlay.wire.codec import Codec, Message
from ..overlay.wire.pairing import Refusal
from ..overlay.wire.rotation import TO_NEW_ROOT, TO_RETURNING, Return, Rotated, Rotation

logger = logging.getLogger("potluck.pairing")

M = TypeVar("M", bound=Message)

EXCHANGE_S: Final = 5.0
EXCHANGES_AT_ONCE: Final = 8


class ReturnNetwork(Protocol):
    """What a network offers beyond `ports.Network` where members of a former root are told of the new one."""

    def admit_returning(self, handler: StreamHandler, former_roots: Sequence[bytes]) -> None: ...

    async def dial_returning(self, address: Address, chain: Sequence[bytes]) -> Stream: ...


class Keeper:
    """Engine: whom to tell what. `rotations` are those by which this node has come to its root."""

    def __init__(self, rotations: Sequence[Rotation], bans: BanSet) -> None:
        self._steps = {one.former_root: Succession(one, one.former_root) for one in rotations}
        self._bans = bans

    @property
    def former_roots(self) -> list[bytes]:
        return list(self._steps)

    def answer(self, chain: Sequence[bytes], leaf_der: bytes) -> Rotation:
        """For who has proved this leaf. Raises NotAllowed for who was not kept, or has been banned since."""
        for root, step in self._steps.items():
            try:
                verify_chain(chain, root, leaf_der)
            except NotAllowed:
                continue
            if self._is_kept(root, tuple(chain[1:])):
                return step.rotation
        raise NotAllowed("whoever rotated this mesh has not kept you")

    def _is_kept(self, root: bytes, owner_chain: tuple[bytes, ...]) -> bool:
        place: tuple[bytes, ...] | None = owner_chain
        for _ in self._steps:
            step = self._steps.get(root)
            if step is None or place is None:
                break
            root, place = step.rotation.root, step.place_of(place)
        return place is not None and not self._bans.is_owner_banned(place)


class ReturnDoor:
    """Shell of the keeping side. Open for good once the mesh has been rotated."""

    def __init__(self, keeper: Keeper, network: ReturnNetwork) -> None:
        self._keeper = keeper
        self._exchanges = 0
        if keeper.former_roots:
            network.admit_returning(self._receive, keeper.former_roots)

    async def _receive(self, stream: Stream) -> None:
        """Runs as the task of one who has proved a leaf under a former root."""
        self._exchanges += 1
        try:
            if self._exchanges <= EXCHANGES_AT_ONCE:
                with trio.move_on_after(EXCHANGE_S):
                    await self._exchange(stream)
        except (LinkLost, RemoteProtocolError) as error:
            logger.debug("a return from %s ended: %s", stream.remote, error)
        finally:
            self._exchanges -= 1
            with trio.CancelScope(shield=True):
                await stream.aclose()

    async def _exchange(self, stream: Stream) -> None:
        asked = await _receive_one(stream, TO_NEW_ROOT)
        try:
            answer: Rotated | Refusal = Rotated(self._keeper.answer(asked.chain, stream.leaf_der))
        except NotAllowed as error:
            answer = Refusal(error.wire_code, str(error))
        await stream.send_all(TO_RETURNING.encode(answer))


async def ask_for_new_root(network: ReturnNetwork, address: Address, chain: Sequence[bytes]) -> Rotation:
    """What has become of this member's root, by whoever listens there; nothing of it is checked here.

    Raises Unavailable, NotAllowed, RemoteProtocolError.
    """
    stream = await network.dial_returning(address, chain)
    try:
        with trio.fail_after(EXCHANGE_S):
            await stream.send_all(TO_NEW_ROOT.encode(Return(list(chain))))
            answer = await _receive_one(stream, TO_RETURNING)
    except trio.TooSlowError:
        raise DeadlineExceeded(f"{address} does not answer at its door") from None
    finally:
        with trio.CancelScope(shield=True):
            await stream.aclose()
    if isinstance(answer, Refusal):
        raise NotAllowed(str(from_wire(answer.code, answer.reason)))
    return answer.rotation


async def _receive_one(stream: Stream, codec: Codec[M]) -> M:
    frames = codec.frames()
    while (body := frames.next_body()) is None:
        chunk = await stream.receive_some()
        if not chunk:
            raise LinkLost(f"{stream.remote} closed the connection")
        frames.feed(chunk)
    return codec.decode(body)
