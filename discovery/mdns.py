"""Zeroconf: the node as a `_potluck._tcp` service, and other nodes' services as sightings.

zeroconf keeps a thread of its own and only hands sightings to a channel. What it says about hosts that vanished is
never used: it takes minutes, and membership knows in seconds.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final

import trio
from zeroconf import Error as ZeroconfError
from zeroconf import ServiceInfo, ServiceListener, Zeroconf

from ..overlay.descriptors import check_room, words_of
from ..overlay.ports import Address, WallClock
from ..overlay.threads import beside
from .heard import Heard
from .sightings import Sighting, SightingSink
from .tags import PERIOD_S, is_ours, tag

logger = logging.getLogger("potluck.discovery")

SERVICE_TYPE: Final = "_potluck._tcp.local."
_RESOLVE_MS: Final = 3000
_BEGIN_S: Final = 5.0
_DESCRIPTORS: Final = 4
"""For its event loop and for listening; it sends by one more for each address."""
_CLOSE_S: Final = 0.3
"""For withdrawing the service, which is said three times within 0.25 s. zeroconf would also wait for a whole second for
what it has begun to announce; its thread ends with the process."""

_LIBRARIES: Final = ("zeroconf", "asyncio")
"""zeroconf runs on asyncio, and nothing else of a node does. Where a network goes while they send, or what was begun
there is closed, they log tracebacks; what it comes to is told to `Heard`."""

Seen = Callable[[Address, bool], None]
"""Told of an address, and whether it is of this mesh."""


class _Listener(ServiceListener):
    """Runs in zeroconf's thread."""

    def __init__(self, own_name: str, token: trio.lowlevel.TrioToken, seen: Seen, ours: _Ours) -> None:
        self._own_name = own_name
        self._token = token
        self._seen = seen
        self._ours = ours

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        info = zc.get_service_info(type_, name, timeout=_RESOLVE_MS) if name != self._own_name else None
        if info is None or not info.port:
            return
        ours = self._ours(info.properties.get(b"tag"))
        for host in info.parsed_addresses():
            try:
                self._token.run_sync_soon(self._seen, Address(host, info.port), ours)
            except trio.RunFinishedError:
                return  # the node has ended; zeroconf's thread ends after it

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Membership decides who is gone."""


class _Ours:
    def __init__(self, tag_key: bytes, wall_clock: WallClock) -> None:
        self._tag_key = tag_key
        self._wall_clock = wall_clock

    def __call__(self, value: bytes | None) -> bool:
        try:
            candidate = bytes.fromhex((value or b"").decode("ascii"))
        except ValueError:
            return False
        return is_ours(candidate, self._tag_key, self._wall_clock.now_s())

    def property(self) -> dict[str, str]:
        return {"tag": tag(self._tag_key, self._wall_clock.now_s()).hex(), "v": "1"}


async def run(
    addresses: Sequence[str],
    port: int,
    nonce: bytes,
    ours: tuple[bytes, WallClock],
    sinks: tuple[SightingSink, Heard],
) -> None:
    """Announces and browses until cancelled. A machine on which zeroconf does not work goes without it."""
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    mesh = _Ours(*ours)
    put, heard = sinks

    def seen(address: Address, is_member: bool) -> None:
        if is_member:
            put(Sighting(address, "mdns"))
        else:
            heard.stranger(trio.current_time(), address)

    name = f"{nonce.hex()}.{SERVICE_TYPE}"
    token = trio.lowlevel.current_trio_token()
    try:
        zeroconf = await _begin(addresses, _Listener(name, token, seen, mesh))
        heard.zeroconf_fault = ""
    except (OSError, RuntimeError, trio.TooSlowError) as error:
        # It wants a thread of its own, and waits for ever for one that has died as it began.
        told = words_of(error) if isinstance(error, OSError) else str(error)
        heard.zeroconf_fault = told or f"it has not begun within {_BEGIN_S:g} s"
        logger.warning("zeroconf does not work here: %s", heard.zeroconf_fault)
        return
    try:
        info = _service(name, addresses, port, nonce, mesh)
        await beside(zeroconf.register_service, info, abandon_on_cancel=True)
        while True:
            await trio.sleep(PERIOD_S / 2)
            info = _service(name, addresses, port, nonce, mesh)
            await beside(zeroconf.update_service, info, abandon_on_cancel=True)
    except (OSError, ZeroconfError) as error:
        logger.warning("zeroconf gave up: %s", error)
        heard.zeroconf_fault = str(error) or type(error).__name__
    finally:
        await _close(zeroconf)


async def _begin(addresses: Sequence[str], listener: _Listener) -> Zeroconf:
    """Raises OSError, RuntimeError, TooSlowError. One that comes too late for whoever waited is closed."""
    begun, handing_over = list[Zeroconf](), threading.Lock()
    is_given_up = threading.Event()

    def begin() -> Zeroconf:
        check_room(_DESCRIPTORS + len(addresses))  # a thread of it that finds too few dies, which it does not say
        zeroconf = Zeroconf(interfaces=list(addresses))
        if not is_given_up.is_set():
            zeroconf.add_service_listener(SERVICE_TYPE, listener)  # which it ends with itself, as no browser of ours
        with handing_over:
            begun.append(zeroconf)
            is_late = is_given_up.is_set()
        if is_late:
            zeroconf.close()
        return zeroconf

    try:
        with trio.fail_after(_BEGIN_S):
            return await beside(begin, abandon_on_cancel=True)
    except BaseException:  # cancellation too: whoever comes too late then has nobody who would close it
        with handing_over:
            is_given_up.set()
        for zeroconf in begun:  # it had just begun, and did not get here
            await _close(zeroconf)
        raise


async def _close(zeroconf: Zeroconf) -> None:
    with trio.move_on_after(_CLOSE_S) as scope:
        scope.shield = True
        await beside(zeroconf.close, abandon_on_cancel=True)


def _service(name: str, addresses: Sequence[str], port: int, nonce: bytes, mesh: _Ours) -> ServiceInfo:
    return ServiceInfo(
        SERVICE_TYPE,
        name,
        addresses=[socket.inet_aton(address) for address in addresses],
        port=port,
        properties=mesh.property(),
        server=f"potluck-{nonce.hex()}.local.",
    )
