"""Every message survives the wire; no bytes make its reader fail in any way but one, or grow."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import msgspec
import msgspec.inspect as mi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.errors import LocalProtocolError, RemoteProtocolError, UsageError
from potluck.overlay.wire.beacon import BEACON
from potluck.overlay.wire.codec import Codec, Message
from potluck.overlay.wire.control import TO_NODE, MemorySet, Submit
from potluck.overlay.wire.framing import CONTROL_FRAME_BYTES_MAX, HEADER_BYTES
from potluck.overlay.wire.gossip import ACCUSERS_MAX, MemberNews, PeerExchange, Probe
from potluck.overlay.wire.peer import PEER, PEER_MESSAGES
from potluck.overlay.wire.questions import AskJob
from potluck.overlay.wire.work import InstructionAssignment, Program

from ...strategies.messages import CODECS, messages_of, of_type, simplest, structs_of

every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
every_message = pytest.mark.parametrize(
    ("codec", "message_type"),
    [
        pytest.param(codec, message, id=f"{name}-{message.__name__}")
        for name, codec in CODECS.items()
        for message in codec.messages
    ],
)

untyped = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=30,
)


def read(codec: Codec[Any], data: bytes) -> list[Any]:
    """What a reader makes of a stream, or RemoteProtocolError."""
    frames = codec.frames()
    frames.feed(data)
    messages = []
    while (body := frames.next_body()) is not None:
        messages.append(codec.decode(body))
    return messages


@every_message
@given(data=st.data())
def test_a_message_arrives_as_it_was_sent(codec: Codec[Any], message_type: Any, data: st.DataObject) -> None:
    message = data.draw(of_type(message_type))
    assert read(codec, codec.encode(message)) == [message]


@every_message
def test_a_message_may_leave_out_what_has_a_default(codec: Codec[Any], message_type: Any) -> None:
    message = simplest(message_type)
    assert read(codec, codec.encode(message)) == [message]


@every_codec
@given(data=st.data(), cuts=st.lists(st.integers(1, 30), max_size=20))
def test_how_a_stream_is_cut_makes_no_difference(codec: Codec[Any], data: st.DataObject, cuts: list[int]) -> None:
    messages = data.draw(st.lists(messages_of(codec), max_size=4))
    stream = b"".join(map(codec.encode, messages))
    frames, received = codec.frames(), []
    for size in [*cuts, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        frames.feed(piece)
        while (body := frames.next_body()) is not None:
            received.append(codec.decode(body))
    assert received == messages
    assert frames.pending_bytes == 0


@every_codec
@given(body=st.binary(max_size=300))
def test_random_bytes_are_refused_in_one_way(codec: Codec[Any], body: bytes) -> None:
    for attempt in (lambda: codec.decode(body), lambda: read(codec, body)):
        try:
            attempt()
        except RemoteProtocolError:
            pass  # the one allowed outcome but a message


@every_codec
@given(data=st.data(), fields=st.lists(untyped, max_size=8))
def test_well_formed_nonsense_is_refused_in_one_way(codec: Codec[Any], data: st.DataObject, fields: list[Any]) -> None:
    tags = [message.__struct_config__.tag for message in codec.messages]
    tag = data.draw(st.sampled_from(tags) | st.integers(0, 100))
    try:
        codec.decode(msgspec.msgpack.encode([tag, *fields]))
    except RemoteProtocolError:
        pass  # likewise


@every_codec
@given(data=st.data())
def test_damaged_frames_are_refused_in_one_way(codec: Codec[Any], data: st.DataObject) -> None:
    frame = bytearray(codec.encode(data.draw(messages_of(codec))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(HEADER_BYTES, len(frame)))
        junk = data.draw(st.binary(max_size=3))
        frame[at : at + data.draw(st.integers(0, 3))] = junk
    frame[:4] = (len(frame) - HEADER_BYTES).to_bytes(4, "big")
    try:
        read(codec, bytes(frame))
    except RemoteProtocolError:
        pass  # likewise


@every_codec
def test_nesting_without_end_is_refused(codec: Codec[Any]) -> None:
    for opening in (b"\x91", b"\x81\xa1x", b"\xdd\x00\x00\x00\x01"):
        for message in codec.messages:
            tag = message.__struct_config__.tag
            for body in (opening * 20_000, bytes([0x9F, tag]) + opening * 20_000):
                with pytest.raises(RemoteProtocolError):
                    codec.decode(body)


@every_codec
def test_everything_countable_has_a_bound(codec: Codec[Any]) -> None:
    """A list or a map without one would let a frame of empty items grow by orders of magnitude."""
    for struct, info in structs_of(codec).items():
        for field in info.fields:
            where = f"{struct.__name__}.{field.name}"
            for part in field.type.types if isinstance(field.type, mi.UnionType) else (field.type,):
                assert not isinstance(part, mi.AnyType | mi.RawType), f"{where} may hold anything"
                if isinstance(part, mi.ListType | mi.DictType):
                    assert part.max_length is not None, f"{where} has no bound"


_MAY_BE_ENDLESS = {"Record.expires_at_s", "Range.since_s", "Range.left_s"}
"""Times that say "never"; who reads them treats what is no number as that."""


@every_codec
def test_every_number_is_finite(codec: Codec[Any]) -> None:
    """What is no number is neither smaller nor greater than another one: no order and no deadline would hold."""
    for struct, info in structs_of(codec).items():
        for field in info.fields:
            where = f"{struct.__name__}.{field.name}"
            for part in field.type.types if isinstance(field.type, mi.UnionType) else (field.type,):
                if isinstance(part, mi.FloatType) and where not in _MAY_BE_ENDLESS:
                    assert part.ge is not None, f"{where} may be anything"
                    assert part.le is not None, f"{where} may be anything"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused(number: float) -> None:
    assert PEER.decode(msgspec.msgpack.encode(Probe(1, 2.5))) == Probe(1, 2.5)
    with pytest.raises(RemoteProtocolError):
        PEER.decode(msgspec.msgpack.encode(Probe(1, number)))
    with pytest.raises(RemoteProtocolError):
        PEER.decode(msgspec.msgpack.encode(msgspec.structs.replace(simplest(InstructionAssignment), timeout_s=number)))


def _array(count: int, item: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + item * count


_HOSTILE = {
    "empty lists": _array(CONTROL_FRAME_BYTES_MAX - 16, b"\x90"),
    "empty lists as a field": b"\x92\x14" + _array(CONTROL_FRAME_BYTES_MAX - 16, b"\x90"),
    "empty lists as every field": b"\x94\x14\xa1j\x01" + _array(1 << 20, b"\x90"),
    "empty lists as a field of no message": bytes([0x9F, 6]) + _array(1 << 20, b"\x90"),
    "a list that announces 4 Gi items": b"\x93\x0a\xdd\xff\xff\xff\xff",
    "a map that announces 4 Gi items": b"\x94\x03\x91\xdf\xff\xff\xff\xff",
    "bytes that announce 4 GiB": b"\x93\x18\x00\xc6\xff\xff\xff\xff",
    "text that announces 4 GiB": b"\x93\x01\xdb\xff\xff\xff\xff",
    "as many reports as are allowed": b"\x94\x15\xa1j\x01" + _array(65_536, b"\x93\x00\x00\x00"),
    "as many results as are allowed": b"\x94\x15\xa1j\x01" + _array(65_536, b"\x93\x01\x00\x00"),
    "as many instructions as are allowed": b"\x95\x14\xa1j\x01\x92\xc4\x20"
    + bytes(32)
    + b"\xa4kind"
    + _array(65_536, b"\x92\x00\x92\x00\xc4\x00"),
}


@pytest.mark.parametrize("body", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_decoding_takes_memory_in_proportion_to_the_frame(body: bytes) -> None:
    tracemalloc.start()
    try:
        PEER.decode(body)
    except RemoteProtocolError:
        pass  # refused or not: what counts is what it took
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes <= 64 * len(body) + (64 << 10)


def test_the_most_a_message_may_say_of_members_fits_into_a_frame() -> None:
    """A node repeats what it was told; nobody may tell it more than it can repeat."""
    fields = {field.name: field.type for field in mi.type_info(MemberNews).fields}  # type: ignore[union-attr]
    longest = {
        name: ("a" if info.pattern else "\U0001f957") * info.max_length
        for name, info in fields.items()
        if isinstance(info, mi.StrType)
    }
    accusers = [bytes(20)] * ACCUSERS_MAX
    news = msgspec.structs.replace(simplest(MemberNews), **longest, incarnation=(1 << 53) - 1, accusers=accusers)
    PEER.encode(PeerExchange([news] * 1024))


def test_what_the_wire_cannot_carry_is_our_own_fault() -> None:
    assignment = simplest(InstructionAssignment)
    for broken in (
        msgspec.structs.replace(assignment, priority=1 << 70),
        msgspec.structs.replace(assignment, job="\ud800"),
        msgspec.structs.replace(assignment, timeout_s=object()),
        msgspec.structs.replace(assignment, job="j" * (CONTROL_FRAME_BYTES_MAX + 1)),
    ):
        with pytest.raises(LocalProtocolError):
            PEER.encode(broken)


@pytest.mark.parametrize(("question", "fault"), [
    (AskJob(1, "j" * 65, "explain"), "job: expected `str` of length <= 64"),
    (AskJob(1, 7, "explain"), "job: expected `str`, got `int`"),  # type: ignore[arg-type]
    (MemorySet(1, "k", b"v", math.nan), "ttl_s: expected `float` >= 0.0"),
    (Submit("j", Program(bytes(31), "function"), []), "program: expected `bytes` of length >= 32"),
    (AskJob(1, "\udcff", "explain"), "AskJob cannot be encoded"),
])  # fmt: skip
def test_what_a_person_says_and_nobody_would_read_is_refused_by_the_name_of_its_field(
    question: Message, fault: str
) -> None:
    with pytest.raises(UsageError, match=f"^{fault}"):
        TO_NODE.encode_checked(question)


def test_tags_are_unique_within_a_conversation_and_permanent() -> None:
    for codec in CODECS.values():
        tags = [message.__struct_config__.tag for message in codec.messages]
        assert len(set(tags)) == len(tags)
    twelve = {message.__name__: message.__struct_config__.tag for message in (*PEER_MESSAGES, *BEACON.messages)}
    assert twelve["ConnectRequest"] == 1
    assert twelve["DisconnectAck"] == 6
    assert twelve["PeerExchange"] == 10
    assert twelve["InstructionAssignment"] == 20
    assert twelve["TaskComplete"] == 22
    assert (twelve["Discover"], twelve["Hello"]) == (7, 8)
