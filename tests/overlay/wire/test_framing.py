"""Frames: cut exactly, judged by their first five bytes."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.errors import LocalProtocolError, RemoteProtocolError
from potluck.overlay.wire.framing import HEADER_BYTES, WIRE_VERSION, FrameDecoder, encode_frame

LIMIT = 64


@given(bodies=st.lists(st.binary(max_size=LIMIT), max_size=8), step=st.integers(1, 50))
def test_frames_come_out_as_they_went_in(bodies: list[bytes], step: int) -> None:
    stream = b"".join(encode_frame(body, body_bytes_max=LIMIT) for body in bodies)
    frames, received = FrameDecoder(LIMIT), []
    for start in range(0, len(stream), step):
        frames.feed(stream[start : start + step])
        while (body := frames.next_body()) is not None:
            received.append(body)
    assert received == bodies
    assert frames.next_body() is None


@given(stream=st.binary(max_size=400), step=st.integers(1, 100))
def test_any_bytes_give_frames_or_the_one_error_for_ever(stream: bytes, step: int) -> None:
    frames = FrameDecoder(LIMIT)
    for start in range(0, len(stream), step):
        frames.feed(stream[start : start + step])
        try:
            while (body := frames.next_body()) is not None:
                assert len(body) <= LIMIT
        except RemoteProtocolError:
            with pytest.raises(RemoteProtocolError):
                frames.next_body()
            return


def test_an_announced_4_gib_is_refused_before_anything_is_kept() -> None:
    frames = FrameDecoder(LIMIT)
    tracemalloc.start()
    frames.feed(b"\xff\xff\xff\xff" + bytes([WIRE_VERSION]))
    with pytest.raises(RemoteProtocolError, match="4294967295"):
        frames.next_body()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 16 << 10
    assert frames.pending_bytes == HEADER_BYTES


@given(version=st.integers(0, 255).filter(lambda version: version != WIRE_VERSION))
def test_a_version_we_do_not_speak_is_refused_before_its_body_comes(version: int) -> None:
    frames = FrameDecoder(LIMIT)
    frames.feed(bytes([0, 0, 0, 9, version]))
    with pytest.raises(RemoteProtocolError, match=str(version)):
        frames.next_body()


@given(excess=st.integers(1, 10))
def test_a_body_over_the_limit_is_refused_on_both_sides(excess: int) -> None:
    body = bytes(LIMIT + excess)
    with pytest.raises(LocalProtocolError):
        encode_frame(body, body_bytes_max=LIMIT)
    frames = FrameDecoder(LIMIT)
    frames.feed(encode_frame(body))
    with pytest.raises(RemoteProtocolError):
        frames.next_body()
    frames = FrameDecoder(LIMIT)
    frames.body_bytes_max = len(body)
    frames.feed(encode_frame(body))
    assert frames.next_body() == body


@given(st.binary(max_size=60), st.binary(max_size=300), st.integers(1, 50))
def test_what_comes_behind_a_body_in_no_frame_is_taken_as_it_is(body: bytes, rest: bytes, cut: int) -> None:
    decoder = FrameDecoder(100)
    sent = encode_frame(body) + rest
    found, taken = None, b""
    for start in range(0, len(sent), cut):
        decoder.feed(sent[start : start + cut])
        found = decoder.next_body() if found is None else found
        if found is not None:
            taken += decoder.take_rest()
    assert (found, taken) == (body, rest)
    decoder.feed(encode_frame(b"next"))
    assert decoder.next_body() == b"next"


def test_a_long_frame_in_pieces_is_put_together_once() -> None:
    """The pieces are one object, so that whatever memory is taken before the end is a copy."""
    piece, pieces = bytes(4096), 4096
    decoder = FrameDecoder(len(piece) * pieces)
    decoder.feed((len(piece) * pieces).to_bytes(4, "big") + b"\1")
    tracemalloc.start()
    for _ in range(pieces - 1):
        decoder.feed(piece)
        assert decoder.next_body() is None
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < len(piece) * pieces // 16
    decoder.feed(piece)
    assert decoder.next_body() == piece * pieces
    assert decoder.pending_bytes == 0


def test_who_sends_byte_by_byte_does_not_fill_memory() -> None:
    total = 100_000
    decoder = FrameDecoder(total)
    decoder.feed(total.to_bytes(4, "big") + b"\1")
    tracemalloc.start()
    for number in range(0, total - 2, 2):
        decoder.feed((number % 65_536).to_bytes(2, "big"))
        assert decoder.next_body() is None
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept_bytes < 2 * total
    decoder.feed(b"zz")
    assert decoder.next_body() is not None
