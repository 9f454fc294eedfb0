"""The addresses that a node uses now: they come and go with cables, leases and networks."""

from __future__ import annotations

import errno
import logging
import math
import socket
from collections.abc import Sequence
from typing import Final

import trio

from ..errors import ConfigError
from .interfaces import explain, is_local

logger = logging.getLogger("potluck.node")

_RTMGRP_LINK: Final = 0x1  # linux/rtnetlink.h
_RTMGRP_IPV4_IFADDR: Final = 0x10
_NEWS_BYTES: Final = 1 << 16
_SETTLE_S: Final = 0.5
"""An interface that comes up has its address a moment later; a lease that is renewed may leave none for a moment."""
_LOOK_AGAIN_S: Final = 5.0
"""After a look in vain: the kernel does not say the same twice."""

Place = tuple[int, str]
"""An interface, by the kernel's number, and an address of it."""


class Whereabouts:
    """Begins with what is there now. Raises ConfigError as `explain` does."""

    def __init__(self, interface: str | None) -> None:
        self._interface = interface
        self._changed = trio.lowlevel.ParkingLot()
        self._present: frozenset[str] = frozenset()
        self._places = self._find()
        self.addresses: Sequence[str] = tuple(address for _, address in self._places)
        """Another object, though it may be equal, whenever anything about them is another."""

    async def follow(self) -> None:
        """Until cancelled. An interface that was asked for and is gone is waited for."""
        try:
            kernel = _listen()
        except OSError as error:
            logger.warning("it will not be noticed when this machine's addresses change: %s", error.strerror)
            return
        with kernel:
            while True:
                with trio.move_on_after(math.inf if self._look() else _LOOK_AGAIN_S):
                    await trio.lowlevel.wait_readable(kernel)
                await trio.sleep(_SETTLE_S)
                _drain(kernel)

    async def other_than(self, known: Sequence[str]) -> Sequence[str]:
        """Waits until they are others than these, or the same anew."""
        while self.addresses is known:
            await self._changed.park()
        return self.addresses

    def is_gone(self, address: str) -> bool:
        """Whether nothing goes on over it: this machine has other ones. One that has left none may come back."""
        return not (is_local(address) or is_local(self.addresses[0]) or address in self._present)

    def _look(self) -> bool:
        """Whether it could. One interface in the place of another is a change, too, though it has the same address:
        what was joined on the former is not on this one."""
        try:
            found = self._find()
        except ConfigError as error:
            if self._places:
                logger.info("waiting for the network: %s", error)
            self._places = ()
            return True
        except OSError as error:  # with no descriptor left there is nothing to ask by
            logger.warning("cannot look where this machine is: %s", error.strerror)
            return False
        if found != self._places:
            self._places = found
            self.addresses = tuple(address for _, address in found)
            self._changed.unpark_all()
        return True

    def _find(self) -> tuple[Place, ...]:
        choices = explain(self._interface)
        self._present = frozenset(one.address for one in choices)
        return tuple((_number_of(one.name), one.address) for one in choices if one.used)


def _number_of(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:  # gone just now: that is the next change
        return 0


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
