"""The beacon: DISCOVER when we look for others, HELLO when others look for us."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from typing import Final, TypeVar

import msgspec
import trio

from ..overlay.bell import Bell
from ..overlay.config import Discovery
from ..overlay.errors import RemoteProtocolError
from ..overlay.ports import Address, Datagrams, WallClock
from ..overlay.wire.beacon import BEACON, Discover, Hello
from ..overlay.wire.codec import Codec, Message
from ..overlay.wire.framing import HEADER_BYTES
from .heard import Heard
from .sightings import Sighting, SightingSink
from .tags import is_ours, tag

logger = logging.getLogger("potluck.node")

_FIRST_PAUSES_S: Final = (0.3, 0.7, 1.5)
"""A first DISCOVER may be lost; nobody should wait ten seconds for the next."""
_SOURCES_MAX: Final = 1024

M = TypeVar("M", bound=Message)


class Send(msgspec.Struct, frozen=True):
    message: Discover | Hello


class Sighted(msgspec.Struct, frozen=True):
    address: Address


class BeaconEngine:
    """What a datagram means and what it is answered with. Anything malformed or foreign means nothing."""

    def __init__(self, config: Discovery, tag_key: bytes, nonce: bytes, port: int, heard: Heard | None = None) -> None:
        self._config = config
        self._tag_key = tag_key
        self._nonce = nonce
        self._port = port
        self.heard = heard or Heard()
        self._greeted_s: dict[Address, float] = {}

    def discover(self, wall_s: float) -> Send:
        return Send(Discover(tag(self._tag_key, wall_s), self._nonce, self._port))

    def received(self, now_s: float, wall_s: float, data: bytes, host: str) -> list[Send | Sighted]:
        message = read_datagram(BEACON, data)
        if message is None or message.port == 0:
            return []
        if message.sender == self._nonce:
            self.heard.echoes.note(host, now_s)
            return []
        address = Address(host, message.port)
        if not is_ours(message.mesh_tag, self._tag_key, wall_s):
            self.heard.stranger(now_s, address)
            return []
        self.heard.members.note(address, now_s)
        effects: list[Send | Sighted] = [Sighted(address)]
        if isinstance(message, Discover) and self._may_greet(now_s, address):
            effects.append(Send(Hello(tag(self._tag_key, wall_s), self._nonce, self._port)))
        return effects

    def _may_greet(self, now_s: float, address: Address) -> bool:
        """At most one HELLO per source and interval: a forged flood is not amplified."""
        last_s = self._greeted_s.get(address)
        if last_s is not None and now_s - last_s < self._config.hello_interval_min_s:
            return False
        if last_s is None and len(self._greeted_s) >= _SOURCES_MAX:
            recent = now_s - self._config.hello_interval_min_s
            self._greeted_s = {one: at_s for one, at_s in self._greeted_s.items() if at_s > recent}
            if len(self._greeted_s) >= _SOURCES_MAX:
                return False
        self._greeted_s[address] = now_s
        return True


def read_datagram(codec: Codec[M], data: bytes) -> M | None:
    """The one message a datagram holds; None for anything else, because anyone may send to a multicast group."""
    frames = codec.frames()
    frames.feed(data)
    try:
        body = frames.next_body()
        return None if body is None or len(data) != HEADER_BYTES + len(body) else codec.decode(body)
    except RemoteProtocolError:
        return None


class Beacon:
    """Shell: one per node."""

    def __init__(
        self, name: str, engine: BeaconEngine, datagrams: Datagrams, wall_clock: WallClock, config: Discovery
    ) -> None:
        self._name = name
        self._engine = engine
        self._datagrams = datagrams
        self._wall_clock = wall_clock
        self._config = config
        self._received = Bell()
        self._steady = trio.CancelScope()

    async def run(self, put: SightingSink, is_linked: Callable[[Address], bool]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, put, is_linked)
            await self._call()

    async def _call(self) -> None:
        """Looks for others: often at first, then steadily, because a network may come back at any time."""
        while True:
            logger.info("Node %s sent DISCOVER", self._name)
            for pause_s in _FIRST_PAUSES_S:
                await self._send(self._engine.discover(self._wall_clock.now_s()))
                await trio.sleep(pause_s)
            with self._steady:
                while True:
                    await self._send(self._engine.discover(self._wall_clock.now_s()))
                    await trio.sleep(self._config.discover_interval_s)
            self._steady = trio.CancelScope()

    def call_again(self) -> None:
        """As at first: the network is another one."""
        self._steady.cancel()

    async def _listen(self, put: SightingSink, is_linked: Callable[[Address], bool]) -> None:
        while True:
            data, host = await self._datagrams.receive()
            self._received.ring()
            effects = self._engine.received(trio.current_time(), self._wall_clock.now_s(), data, host)
            if any(isinstance(effect, Sighted) and is_linked(effect.address) for effect in effects):
                continue  # it knows us: answering every member's DISCOVER would be a square of datagrams
            for effect in effects:
                if isinstance(effect, Send):
                    await self._send(effect)
                else:
                    put(Sighting(effect.address, "beacon"))

    async def echo(self, addresses: Collection[str], timeout_s: float) -> set[str]:
        """Calls, and returns from which of these addresses of the machine the call came back."""
        began_s, echoes = trio.current_time(), self._engine.heard.echoes

        def back() -> set[str]:
            return {host for host in addresses if (echoes.get(host) or -math.inf) >= began_s}

        await self._send(self._engine.discover(self._wall_clock.now_s()))
        with trio.move_on_after(timeout_s):
            while len(back()) < len(addresses):
                self._received.hush()
                await self._received.heard()
        return back()

    async def _send(self, effect: Send) -> None:
        await self._datagrams.send(BEACON.encode(effect.message))
