"""Sightings, and what becomes of them: an engine decides who is dialled when, a shell dials."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import trio

from ..overlay.bell import Bell
from ..overlay.config import Discovery
from ..overlay.errors import NotAllowed, Unavailable
from ..overlay.links.links import Links
from ..overlay.ports import Address
from .heard import Heard

logger = logging.getLogger("potluck.discovery")

ADDRESSES_MAX: Final = 256
"""Remembered at once. A flood of forged beacons fills this table and nothing more."""
CHANNEL_SIZE: Final = 64


class Sighting(msgspec.Struct, frozen=True):
    address: Address
    source: str
    """`beacon`, `mdns` or `peer`, for people."""


class _Candidate(msgspec.Struct):
    not_before_s: float
    delay_s: float
    lasting: bool
    dialling: bool = False


class Candidates:
    """Engine: which addresses to dial now. At most `handshakes_at_once`, with a growing pause after each failure."""

    def __init__(self, config: Discovery) -> None:
        self._config = config
        self._candidates: dict[Address, _Candidate] = {}

    def sighted(self, now_s: float, address: Address, *, lasting: bool = False) -> None:
        """A hint. `lasting` addresses were given by the user: they are tried for ever."""
        known = self._candidates.get(address)
        if known is not None:
            known.lasting = known.lasting or lasting
        elif lasting or len(self._candidates) < ADDRESSES_MAX:
            self._candidates[address] = _Candidate(now_s, self._config.retry_base_s, lasting)

    def due(self, now_s: float, is_linked: Callable[[Address], bool]) -> list[Address]:
        """Those to dial now; each is to be answered by `succeeded` or `failed`."""
        ready = [
            address
            for address, one in self._candidates.items()
            if not one.dialling and one.not_before_s <= now_s and not is_linked(address)
        ][: self._room()]
        for address in ready:
            self._candidates[address].dialling = True
        return ready

    def _room(self) -> int:
        return self._config.handshakes_at_once - sum(one.dialling for one in self._candidates.values())

    def next_due_s(self, is_linked: Callable[[Address], bool]) -> float | None:
        """None too while there is no room: the end of a handshake is what comes next then."""
        if not self._room():
            return None
        waiting = [
            one.not_before_s for address, one in self._candidates.items() if not one.dialling and not is_linked(address)
        ]
        return min(waiting, default=None)

    def moved(self, now_s: float) -> None:
        """This node is in another place, from which others may be reached."""
        for candidate in self._candidates.values():
            candidate.not_before_s, candidate.delay_s = now_s, self._config.retry_base_s

    def succeeded(self, now_s: float, address: Address) -> None:
        candidate = self._candidates[address]
        if candidate.lasting:
            candidate.dialling = False
            candidate.delay_s = self._config.retry_base_s
            candidate.not_before_s = now_s + candidate.delay_s
        else:
            del self._candidates[address]

    def failed(self, now_s: float, address: Address) -> None:
        """Forgotten once the pause would exceed its limit; the next sighting brings it back."""
        candidate = self._candidates[address]
        candidate.dialling = False
        candidate.not_before_s = now_s + candidate.delay_s
        candidate.delay_s *= 2
        if candidate.delay_s > self._config.retry_max_s:
            if not candidate.lasting:
                del self._candidates[address]
            candidate.delay_s = self._config.retry_max_s

    def __len__(self) -> int:
        return len(self._candidates)


class Connector:
    """Shell: turns sightings into links."""

    def __init__(
        self,
        links: Links,
        config: Discovery,
        lasting: Iterable[Address],
        has_enough: Callable[[], bool],
        heard: Heard,
    ) -> None:
        self._links = links
        self._has_enough = has_enough
        self._candidates = Candidates(config)
        self._lasting = tuple(lasting)
        self._changed = Bell()
        self._heard = heard
        self.turned_away: Callable[[Address], None] = lambda address: None
        """Called with where somebody listens who is not of this mesh."""

    async def run(self, sightings: trio.MemoryReceiveChannel[Sighting]) -> None:
        for address in self._lasting:
            self._candidates.sighted(trio.current_time(), address, lasting=True)
        self._links.down.append(lambda link: self._changed.ring())
        self._links.moved.append(self._moved)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, sightings)
            while True:
                self._changed.hush()
                for address in self._candidates.due(trio.current_time(), self._links.is_linked):
                    nursery.start_soon(self._dial, address)
                next_s = self._candidates.next_due_s(self._links.is_linked)
                with trio.move_on_at(trio.current_time() + 3600 if next_s is None else next_s):
                    await self._changed.heard()

    async def _listen(self, sightings: trio.MemoryReceiveChannel[Sighting]) -> None:
        async for sighting in sightings:
            if self._has_enough() or self._links.is_linked(sighting.address):
                continue
            self._candidates.sighted(trio.current_time(), sighting.address)
            self._changed.ring()

    def _moved(self, _address: Address) -> None:
        self._candidates.moved(trio.current_time())
        self._changed.ring()

    async def _dial(self, address: Address) -> None:
        try:
            await self._links.connect(address)
        except (Unavailable, NotAllowed) as error:
            known = self._heard.failures.entries.get(address)
            said_before = known is not None and known.reason == str(error)
            logger.log(logging.DEBUG if said_before else logging.INFO, "no link to %s: %s", address, error)
            self._heard.failed(trio.current_time(), address, str(error), given=address in self._lasting)
            self._candidates.failed(trio.current_time(), address)
            if isinstance(error, NotAllowed):
                self.turned_away(address)
        else:
            self._heard.reached(trio.current_time(), address)
            self._candidates.succeeded(trio.current_time(), address)
        self._changed.ring()


SightingSink = Callable[[Sighting], None]


def sink(channel: trio.MemorySendChannel[Sighting]) -> SightingSink:
    """Never waits: when the channel is full, a hint more or less makes no difference."""

    def put(sighting: Sighting) -> None:
        try:
            channel.send_nowait(sighting)
        except (trio.WouldBlock, trio.BrokenResourceError):
            pass  # sightings repeat

    return put
