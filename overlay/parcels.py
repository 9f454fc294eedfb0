"""Long payloads, handed from process to process of one machine without being copied.

A *parcel* is a payload (`wire.layout`) in a memory file that is sealed: nobody, whoever made it, can change it, cut it
short or make it longer. So its descriptor can be taken from a process that is not trusted, and passed on.

    made, or filled ──seal──▶ SEALED ──descriptor over a Unix socket, beside a frame──▶ SEALED, in another process, too
                                │ when the last process has let it go
                                ▼ GONE

Whoever receives a descriptor looks at its seals and its size before anything else, and a node never maps it: it reads,
as from a file, so that no page that is missing stops it. The processes that open the payload, the worker and the
program, map it for themselves: what they change there is theirs alone.
Where the system has no such files, payloads travel within frames.
"""

from __future__ import annotations

import fcntl
import functools
import mmap
import os
import resource
import socket
import struct
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from .errors import LimitExceeded, LinkLost, RemoteProtocolError
from .wire.layout import decode_inline, placed
from .wire.work import Inline

AT_ONCE_MAX: Final = 64
"""Descriptors that go with one write."""
_WAITING_MAX: Final = 2 * AT_ONCE_MAX
"""Received, and not yet claimed by a message: those of the write that is being read, and of the next."""
_SEALS: Final = (
    0
    if not hasattr(fcntl, "F_SEAL_SEAL")
    else (fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
)
_HELD_BELOW: Final = 512
_SPACE_BYTES: Final = socket.CMSG_SPACE(AT_ONCE_MAX * struct.calcsize("i"))
_CUT_SHORT: Final = int(socket.MSG_CTRUNC)  # a flag's own arithmetic costs as much as a system call
_NAME: Final = "potluck"


def held_below() -> int:
    """Who has so many descriptors open, or half of what it may, holds payloads by value: descriptors are what a process
    has fewest of."""
    may_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _HELD_BELOW if may_open == resource.RLIM_INFINITY else min(_HELD_BELOW, may_open // 2)


class Parcel:
    """Sealed. Its descriptor is closed when nobody here holds it any more."""

    __slots__ = ("__weakref__", "descriptor", "size_bytes")

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self.descriptor = descriptor
        self.size_bytes = size_bytes

    def __del__(self) -> None:
        os.close(self.descriptor)

    def read(self, offset: int, bytes_max: int) -> bytes:
        """Some bytes, if there are any left from there on."""
        return os.pread(self.descriptor, bytes_max, offset)

    def whole(self) -> bytes:
        return _read(self.descriptor, self.size_bytes)

    def kept(self) -> Held:
        """To be held for long: itself, or its bytes where too many descriptors are open."""
        return self if self.descriptor < held_below() else self.whole()

    def open(self) -> Inline:
        """Without a copy: its parts lie in the file, and may be changed without anybody else noticing.

        For processes that can afford to wait for memory. A map keeps a descriptor. Raises RemoteProtocolError.
        """
        if self.descriptor >= held_below() or not self.size_bytes:
            return decode_inline(memoryview(bytearray(self.whole())))
        return decode_inline(memoryview(mmap.mmap(self.descriptor, self.size_bytes, access=mmap.ACCESS_COPY)))


Held = bytes | Parcel
"""A payload as `layout` has it, in this process's own memory or in a file."""


def size_of(held: Held) -> int:
    return len(held) if isinstance(held, bytes) else held.size_bytes


def pieces_of(held: Held, bytes_each: int) -> Iterator[bytes]:
    """From the beginning to the end."""
    for offset in range(0, size_of(held), bytes_each):
        yield held[offset : offset + bytes_each] if isinstance(held, bytes) else held.read(offset, bytes_each)


def _read(descriptor: int, size_bytes: int) -> bytes:
    """One call returns 2 GiB at most."""
    parts: list[bytes] = []
    offset = 0
    while offset < size_bytes and (part := os.pread(descriptor, size_bytes - offset, offset)):
        parts.append(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Filling:
    """A parcel to be: bytes are written to it in order.

    Raises LimitExceeded where the system has no room for it, or no descriptor `below` the given one.
    """

    def __init__(self, below: int | None = None) -> None:
        try:
            self._descriptor = os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except (AttributeError, OSError) as error:
            raise LimitExceeded(f"this system has no memory files: {error}") from error
        self.size_bytes = 0
        if below is not None and self._descriptor >= below:
            raise LimitExceeded(f"this process has {below} descriptors open")  # closed with this object

    def write(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            try:
                written = os.pwrite(self._descriptor, rest, self.size_bytes)
            except OSError as error:
                raise LimitExceeded(f"this system has no room for a payload: {error}") from error
            self.size_bytes += written
            rest = rest[written:]

    def skip_to(self, offset: int) -> None:
        """What lies between is zeros."""
        self.size_bytes = offset

    def seal(self) -> Parcel:
        try:
            os.ftruncate(self._descriptor, self.size_bytes)  # what was skipped in the end belongs to it
        except OSError as error:
            raise LimitExceeded(f"this system has no room for a payload: {error}") from error
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
        parcel = Parcel(self._descriptor, self.size_bytes)
        self._descriptor = -1
        return parcel

    def __del__(self) -> None:
        if self.__dict__.get("_descriptor", -1) >= 0:
            os.close(self._descriptor)


def seal(inline: Inline, below: int | None = None) -> Parcel:
    """A copy. Raises as `Filling`."""
    size_bytes, pieces = placed(inline)
    filling = Filling(below)
    for start, piece in pieces:
        filling.skip_to(start)
        filling.write(piece)
    assert filling.size_bytes == size_bytes
    return filling.seal()


class Arrivals:
    """Descriptors that have come over one socket, until messages claim them in the order in which they came."""

    def __init__(self, source: socket.socket) -> None:
        self.source = source
        self._waiting: deque[int] = deque()
        with suppress(OSError):
            _ordinary_memory()

    def receive(self, bytes_max: int) -> bytes:
        """As `recv`. Raises RemoteProtocolError for more descriptors than anybody sends, LinkLost where this process
        can have no more."""
        data, beside, flags, _address = self.source.recvmsg(bytes_max, _SPACE_BYTES, socket.MSG_CMSG_CLOEXEC)
        if beside or flags & _CUT_SHORT:
            self._take(beside, whole=not flags & _CUT_SHORT)
        return data

    def claim(self, size_bytes: int) -> Parcel:
        """The next one. Raises RemoteProtocolError unless it is a sealed memory file of that size."""
        if not self._waiting:
            raise RemoteProtocolError("a payload was announced, and no descriptor came with it")
        parcel = Parcel(self._waiting.popleft(), size_bytes)  # closed with it, whatever follows
        if not _is_sealed(parcel.descriptor) or os.fstat(parcel.descriptor).st_size != size_bytes:
            raise RemoteProtocolError("a descriptor that is not a sealed memory file of the size that was announced")
        return parcel

    def close(self) -> None:
        while self._waiting:
            os.close(self._waiting.popleft())

    __del__ = close

    def _take(self, beside: Sequence[tuple[int, int, bytes]], *, whole: bool) -> None:
        descriptors = array("i")
        for level, kind, data in beside:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        self._waiting.extend(descriptors)
        if not whole and len(descriptors) < AT_ONCE_MAX:
            self.close()
            raise LinkLost("this process has too many files open to be handed another")
        if not whole or len(self._waiting) > _WAITING_MAX:
            self.close()
            raise RemoteProtocolError("more descriptors than messages that could name them")


def send(sink: socket.socket, data: bytes | bytearray | memoryview, parcels: Sequence[Parcel]) -> int:
    """As `socket.send`; the parcels are gone with the first byte."""
    descriptors = array("i", [parcel.descriptor for parcel in parcels])
    return sink.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])


def send_all(sink: socket.socket, data: bytes, parcels: Sequence[Parcel]) -> None:
    """On a socket that blocks."""
    sent = send(sink, data, parcels)
    if sent < len(data):
        sink.sendall(memoryview(data)[sent:])


def _is_sealed(descriptor: int) -> bool:
    """Of ordinary memory: files of huge pages have seals, too, and may have no page for who reads."""
    with suppress(OSError):
        return fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS and _is_ordinary(descriptor)
    return False


def _is_ordinary(descriptor: int) -> bool:
    return os.fstat(descriptor).st_dev == _ordinary_memory()


@functools.cache
def _ordinary_memory() -> int:
    """The device of such files, found once: later there may be no descriptor left to find it by."""
    own = os.memfd_create(_NAME, os.MFD_CLOEXEC)
    try:
        return os.fstat(own).st_dev
    finally:
        os.close(own)
