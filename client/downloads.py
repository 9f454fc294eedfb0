"""Payloads too long for a frame, on their way from the node as parcels or in parts."""

from __future__ import annotations

import socket
from collections.abc import Callable

from ..overlay.errors import PotluckError, RemoteProtocolError
from ..overlay.parcels import Arrivals
from ..overlay.wire.control import ObjectBytes, ObjectParcel
from ..overlay.wire.layout import decode_inline
from ..overlay.wire.work import Inline
from .dialling import Way


class _Download:
    def __init__(
        self, arrived: Callable[[Inline], None], failed: Callable[[PotluckError], None], *, of_task: bool
    ) -> None:
        self.arrived = arrived
        self.failed = failed
        self.of_task = of_task
        self.data = bytearray()


class Downloads:
    """By the number of the request. Each is told once of its end, one way or the other."""

    def __init__(self) -> None:
        self._open: dict[int, _Download] = {}
        self._arrivals: Arrivals | None = None

    def receive(self, link: Way, bytes_max: int) -> bytes:
        """As `link.recv`, with the parcels that come beside."""
        if not isinstance(link, socket.socket):
            return link.recv(bytes_max)
        if self._arrivals is None or self._arrivals.source is not link:
            self._arrivals = Arrivals(link)
        return self._arrivals.receive(bytes_max)

    def expect(
        self,
        number: int,
        arrived: Callable[[Inline], None],
        failed: Callable[[PotluckError], None],
        *,
        of_task: bool,
    ) -> None:
        """`of_task`: it is a task's result, and a lost link is no end of that: the task may run again."""
        self._open[number] = _Download(arrived, failed, of_task=of_task)

    def take(self, part: ObjectBytes) -> None:
        """Raises RemoteProtocolError for parts out of order."""
        download = self._open.get(part.request)
        if download is None:
            return
        if part.offset != len(download.data):
            raise RemoteProtocolError("parts of a result came out of order")
        download.data += part.data
        if len(download.data) < part.total_bytes:
            return
        del self._open[part.request]
        _end(download, lambda: decode_inline(memoryview(download.data)))

    def take_parcel(self, message: ObjectParcel) -> None:
        """Raises RemoteProtocolError where none has come."""
        if self._arrivals is None:
            raise RemoteProtocolError("a parcel where none can come")
        parcel = self._arrivals.claim(message.size_bytes)
        if download := self._open.pop(message.request, None):
            _end(download, parcel.open)

    def fail(self, number: int, error: PotluckError) -> bool:
        """Whether that was one of these."""
        download = self._open.pop(number, None)
        if download is not None:
            download.failed(error)
        return download is not None

    def lose(self, error: PotluckError) -> None:
        """With the link. What becomes of a task whose result was on its way, others say."""
        for number, download in list(self._open.items()):
            if not download.of_task:
                self.fail(number, error)
        self._open.clear()

    def forget(self) -> None:
        """In a forked child: they are the parent's."""
        self._open.clear()


def _end(download: _Download, opened: Callable[[], Inline]) -> None:
    try:
        inline = opened()
    except RemoteProtocolError as error:
        download.failed(RemoteProtocolError(f"a result does not parse: {error}"))
    else:
        download.arrived(inline)
