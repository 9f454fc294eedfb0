"""The addresses that a node uses now: they come and go with cables, leases and networks."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from typing import Final

import trio

from ..errors import ConfigError
from .interfaces import choose

logger = logging.getLogger("potluck.node")

_RTMGRP_LINK: Final = 0x1  # linux/rtnetlink.h
_RTMGRP_IPV4_IFADDR: Final = 0x10
_NEWS_BYTES: Final = 1 << 16
_SETTLE_S: Final = 0.5
"""An interface that comes up has its address a moment later; a lease that is renewed may leave none for a moment."""


class Whereabouts:
    """Begins with what is there now. Raises ConfigError as `choose` does."""

    def __init__(self, interface: str | None) -> None:
        self._interface = interface
        self._changed = trio.lowlevel.ParkingLot()
        self.addresses: Sequence[str] = tuple(choose(interface))

    async def follow(self) -> None:
        """Until cancelled. An interface that was asked for and is gone is waited for."""
        try:
            kernel = _listen()
        except OSError as error:
            logger.warning("it will not be noticed when this machine's addresses change: %s", error.strerror)
            return
        with kernel:
            while True:
                self._look()
                await trio.lowlevel.wait_readable(kernel)
                await trio.sleep(_SETTLE_S)
                _drain(kernel)

    async def other_than(self, known: Sequence[str]) -> Sequence[str]:
        """Waits until they are others than these."""
        while self.addresses == known:
            await self._changed.park()
        return self.addresses

    def _look(self) -> None:
        try:
            found = tuple(choose(self._interface))
        except ConfigError as error:
            logger.info("waiting for the network: %s", error)
            return
        if found != self.addresses:
            self.addresses = found
            self._changed.unpark_all()


def _listen() -> socket.socket:
    """To what the kernel says of interfaces and their addresses (rtnetlink(7))."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        kernel.setblocking(False)
        kernel.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR))
    except OSError:
        kernel.close()
        raise
    return kernel


def _drain(kernel: socket.socket) -> None:
    """That something has changed is enough: what it was is looked up, because some of the news may have been lost."""
    try:
        while kernel.recv(_NEWS_BYTES):
            pass
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
            raise
