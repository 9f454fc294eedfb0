"""Payloads in sealed memory files, over real sockets."""

from __future__ import annotations

import fcntl
import os
import socket
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.overlay import parcels
from potluck.overlay.errors import LimitExceeded, RemoteProtocolError
from potluck.overlay.parcels import AT_ONCE_MAX, Arrivals, Filling, Parcel, pieces_of, seal, size_of
from potluck.overlay.wire.layout import encode_inline
from potluck.overlay.wire.work import Inline

PAYLOADS = st.builds(Inline, st.binary(max_size=9000), st.lists(st.binary(max_size=9000), max_size=9))


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket, Arrivals]]:
    mine, theirs = socket.socketpair()
    arrivals = Arrivals(theirs)
    with mine, theirs:
        yield mine, theirs, arrivals
        arrivals.close()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@settings(max_examples=50, deadline=None)
@given(PAYLOADS, st.integers(1, 5000))
def test_a_parcel_is_its_payload_wherever_it_is_read(payload: Inline, bytes_each: int) -> None:
    parcel, encoded = seal(payload), encode_inline(payload)
    assert parcel.whole() == encoded
    assert parcel.open() == payload
    for held in (parcel, encoded):
        assert b"".join(pieces_of(held, bytes_each)) == encoded
        assert size_of(held) == len(encoded)


def test_what_is_changed_where_it_is_opened_is_changed_nowhere_else() -> None:
    parcel = seal(Inline(b"abc", [b"x" * 5000]))
    (buffer,) = parcel.open().buffers
    assert isinstance(buffer, memoryview)
    buffer[:1] = b"y"
    assert parcel.open() == Inline(b"abc", [b"x" * 5000])


def test_nobody_changes_what_is_sealed() -> None:
    parcel = seal(Inline(b"abc"))
    for change in (
        lambda: os.pwrite(parcel.descriptor, b"x", 0),
        lambda: os.ftruncate(parcel.descriptor, 1),
        lambda: os.ftruncate(parcel.descriptor, 1 << 20),
        lambda: fcntl.fcntl(parcel.descriptor, fcntl.F_ADD_SEALS, 0),
    ):
        with pytest.raises(OSError):
            change()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40_000)), max_size=20), st.integers(1, 100_000))
def test_descriptors_come_in_the_order_of_what_names_them(writes: list[tuple[int, int]], bytes_max: int) -> None:
    """Each write is so many bytes with so many parcels; they are there when its bytes are."""
    made = [[seal(Inline(bytes([number, each]))) for each in range(count)] for number, (count, _) in enumerate(writes)]
    with pair() as (mine, _, arrivals):
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        for (_, size), beside in zip(writes, made, strict=True):
            parcels.send_all(mine, bytes(size), beside)
            left = size
            while left:
                left -= len(arrivals.receive(min(left, bytes_max)))
            for parcel in beside:
                assert arrivals.claim(parcel.size_bytes).whole() == parcel.whole()


def unsealed() -> int:
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 100)
    return descriptor


def half_sealed() -> int:
    descriptor = unsealed()
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return descriptor


def of_another_size() -> int:
    parcel = seal(Inline(b"x" * 100))
    return os.dup(parcel.descriptor)


def a_pipe() -> int:
    read, write = os.pipe()
    os.close(write)
    return read


def a_device() -> int:
    return os.open("/dev/zero", os.O_RDONLY)


@pytest.mark.parametrize("make", [unsealed, half_sealed, of_another_size, a_pipe, a_device])
def test_what_is_no_sealed_file_of_the_size_announced_is_refused_and_closed(make: Callable[[], int]) -> None:
    before = open_descriptors()
    with pair() as (mine, _, arrivals):
        descriptor = make()
        socket.send_fds(mine, [b"x"], [descriptor])
        os.close(descriptor)
        assert arrivals.receive(10) == b"x"
        with pytest.raises(RemoteProtocolError):
            arrivals.claim(100)
    assert open_descriptors() == before


def test_who_announces_and_sends_nothing_is_refused() -> None:
    with pair() as (_, _, arrivals), pytest.raises(RemoteProtocolError):
        arrivals.claim(100)


@pytest.mark.parametrize("each", [1, AT_ONCE_MAX, AT_ONCE_MAX + 1, 200])
def test_descriptors_that_nobody_claims_are_bounded(each: int) -> None:
    before, parcel = open_descriptors(), seal(Inline(b"x"))
    with pair() as (mine, _, arrivals), pytest.raises(RemoteProtocolError):
        for _ in range(1000):
            socket.send_fds(mine, [b"x"], array("i", [parcel.descriptor] * each))
            arrivals.receive(1)
    del parcel
    assert open_descriptors() == before


def test_a_thousand_parcels_leave_nothing_behind() -> None:
    before = open_descriptors()
    with pair() as (mine, _, arrivals):
        for _ in range(1000):
            parcel = seal(Inline(b"x" * 100_000))
            parcels.send_all(mine, b"x", [parcel])
            arrivals.receive(1)
            arrivals.claim(parcel.size_bytes).open()
    del parcel
    assert open_descriptors() == before


def test_who_has_many_descriptors_open_holds_bytes_instead() -> None:
    held = [seal(Inline(b"x")) for _ in range(600)]
    parcel = held[-1]
    assert not isinstance(parcel.kept(), Parcel)
    assert parcel.kept() == parcel.whole()
    before = open_descriptors()
    opened = parcel.open()
    assert open_descriptors() == before
    assert opened == Inline(b"x")
    del held


def test_a_file_that_was_never_sealed_is_closed() -> None:
    before = open_descriptors()
    Filling().write(b"x")
    assert open_descriptors() == before


def test_where_the_system_has_no_memory_files_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(LimitExceeded):
        seal(Inline(b"x"))
