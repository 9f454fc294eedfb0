"""How long payloads lie in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.errors import RemoteProtocolError
from potluck.overlay.wire.layout import ALIGNED_BYTES, decode_inline, encode_inline
from potluck.overlay.wire.work import BUFFERS_MAX, Inline

PAYLOADS = st.builds(Inline, st.binary(max_size=300), st.lists(st.binary(max_size=300), max_size=20))


@given(PAYLOADS)
def test_what_is_decoded_is_what_was_encoded(payload: Inline) -> None:
    assert decode_inline(encode_inline(payload)) == payload


@given(PAYLOADS)
def test_of_a_view_the_parts_are_views_and_every_one_is_aligned(payload: Inline) -> None:
    encoded = encode_inline(payload)
    opened = decode_inline(memoryview(bytearray(encoded)))
    assert opened == payload
    for part in (opened.data, *opened.buffers):
        assert isinstance(part, memoryview) and not part.readonly
    assert encoded.find(payload.data) % ALIGNED_BYTES == 0 or encoded.count(payload.data) > 1


@given(PAYLOADS, st.data())
def test_nothing_else_decodes_but_an_encoding(payload: Inline, data: st.DataObject) -> None:
    encoded = bytearray(encode_inline(payload))
    place = data.draw(st.integers(0, len(encoded)))
    damaged = data.draw(
        st.sampled_from(
            [encoded[:place], encoded + b"\0", encoded[:place] + b"\xff" + encoded[place + 1 :], encoded[place:]]
        )
    )
    try:
        found = decode_inline(bytes(damaged))
    except RemoteProtocolError:
        return
    assert encode_inline(found) == damaged


@given(st.binary(max_size=200))
def test_whatever_comes_is_an_encoding_or_one_error(data: bytes) -> None:
    try:
        assert encode_inline(decode_inline(data)) == data
    except RemoteProtocolError:
        pass


def test_more_buffers_than_there_may_be_are_refused() -> None:
    decode_inline(encode_inline(Inline(b"", [b""] * BUFFERS_MAX)))
    with pytest.raises(RemoteProtocolError):
        decode_inline(encode_inline(Inline(b"", [b""] * (BUFFERS_MAX + 1))))
