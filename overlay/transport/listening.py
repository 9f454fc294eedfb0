"""A port that is listened on at addresses that come and go."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio

logger = logging.getLogger("potluck.node")

Listeners = dict[str, list[trio.SocketListener]]


async def open_listeners(addresses: Iterable[str], port: int) -> Listeners:
    """By address: on all of them, or on none. Raises OSError."""
    opened: Listeners = {}
    try:
        for address in addresses:
            opened[address] = await trio.open_tcp_listeners(port, host=address)
    except OSError:
        for listener in [one for listeners in opened.values() for one in listeners]:
            await listener.aclose()
        raise
    return opened


class Listening:
    """What has been accepted lives in the nursery, however long its listener does."""

    def __init__(self, port: int, admit: Callable[[trio.SocketStream], Awaitable[None]], nursery: trio.Nursery) -> None:
        self.port = port
        self._admit = admit
        self._nursery = nursery
        self._scopes: dict[str, trio.CancelScope] = {}
        self._refused: set[str] = set()

    def has_all(self, addresses: Iterable[str]) -> bool:
        return self._scopes.keys() >= set(addresses)

    def begin(self, opened: Listeners) -> None:
        for address, listeners in opened.items():
            scope = self._scopes[address] = trio.CancelScope()
            self._nursery.start_soon(self._accept, listeners, scope)

    async def _accept(self, listeners: list[trio.SocketListener], scope: trio.CancelScope) -> None:
        with scope:
            await trio.serve_listeners(self._admit, listeners, handler_nursery=self._nursery)

    async def move(self, addresses: Sequence[str]) -> Sequence[str]:
        """Listens on these and on no others; returns on which it does: the port of one that is new may be taken."""
        for address in [one for one in self._scopes if one not in addresses]:
            self._scopes.pop(address).cancel()
        self._refused.intersection_update(addresses)
        for address in [one for one in addresses if one not in self._scopes]:
            try:
                self.begin(await open_listeners([address], self.port))
            except OSError as error:
                if address not in self._refused:
                    logger.warning("cannot listen on %s:%d yet: %s", address, self.port, error.strerror)
                self._refused.add(address)
        return tuple(address for address in addresses if address in self._scopes)
