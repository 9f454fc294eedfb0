"""Everything that turns received bytes into messages, values and records."""

from __future__ import annotations

import datetime as dt
import math
import pathlib
import uuid
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec
from potluck.node.custody.seats import seats_in, take
from potluck.node.custody.story import story_of
from potluck.overlay.clock import version_at
from potluck.overlay.dht.records import NAMESPACES, Draft, place_of, refusal, sign, winners
from potluck.overlay.errors import RemoteProtocolError
from potluck.overlay.wire import values
from potluck.overlay.wire.codec import Codec
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.framing import HEADER_BYTES, FrameDecoder, encode_frame
from potluck.overlay.wire.joblog import Added, Ended, Given, Opened, Sealed, decode_entry, encode_entry
from potluck.overlay.wire.records import Record
from potluck.overlay.wire.work import Finished, Inline, Program

from ..strategies.identities import key
from ..strategies.messages import CODECS, fullest, simplest
from .target import Script, Target, piece

_NOW_S = 1.8e9


def codec_target(codec: Codec[Any]) -> Target:
    """The input is a frame's body. What is taken must come out of a second journey as it was."""

    def feed(data: bytes) -> None:
        frame = codec.encode(codec.decode(data))
        again = codec.encode(codec.decode(frame[HEADER_BYTES:]))
        assert again == frame

    def seeds() -> list[bytes]:
        messages = [example(message) for message in codec.messages for example in (simplest, fullest)]
        return [codec.encode(message)[HEADER_BYTES:] for message in messages]

    return Target(feed, (RemoteProtocolError,), seeds)


def _frames(data: bytes) -> None:
    """However a stream is cut, the same bodies come out of it, and no more is kept than one frame and one chunk."""
    script = Script(data)
    limit, step = script.below(256), 1 + script.below(64)
    stream = data[2:]
    whole, cut = (
        _bodies([stream], limit),
        _bodies((stream[at : at + step] for at in range(0, len(stream), step)), limit),
    )
    assert whole == cut


def _bodies(chunks: Iterable[bytes], limit: int) -> list[bytes | None]:
    """None at the end for a stream that was refused."""
    frames, found = FrameDecoder(limit), list[bytes | None]()
    for chunk in chunks:
        frames.feed(chunk)
        try:
            while (body := frames.next_body()) is not None:
                found.append(body)
        except RemoteProtocolError:
            return [*found, None]
        assert frames.pending_bytes < HEADER_BYTES + limit
    return found


def _frame_seeds() -> list[bytes]:
    bodies = [b"", b"x", b"potluck" * 20]
    return [bytes([200, step]) + b"".join(map(encode_frame, bodies)) for step in (0, 7)]


_PLAIN = (int, float, complex, str, bytes, bytearray, Decimal, range, slice, uuid.UUID, pathlib.PurePath)
_TIMES = (dt.date, dt.time, dt.timedelta, dt.datetime)


def _check_is_data(value: Any) -> None:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
        else:
            library = type(one).__module__.partition(".")[0]
            assert one is None or isinstance(one, _PLAIN + _TIMES) or library in ("numpy", "pyarrow"), type(one)


def values_target(*, arrays: bool) -> Target:
    """The input is an in-band part behind a list of buffers."""

    def feed(data: bytes) -> None:
        script = Script(data)
        buffers = [script.piece() for _ in range(script.below(3))]
        _check_is_data(values.decode(Inline(script.piece() + script.rest(), buffers), arrays=arrays))

    def seeds() -> list[bytes]:
        return [b"\0" + piece(b"") + values.encode_bytes(one) for one in _examples(arrays)] + _with_buffers(arrays)

    return Target(feed, (RemoteProtocolError,), seeds, cost=20 if arrays else 1)


def _examples(arrays: bool) -> list[object]:
    zone = dt.timezone(dt.timedelta(hours=2), "x")
    plain: list[object] = [
        *(None, True, -5, 1 << 70, 0.5, "text", b"bytes", [1, [2]], {"k": {1: 2}}),
        *((1, 2), {1, 2}, frozenset("a"), {(1,): 2}, 1j, bytearray(b"b"), range(1, 9, 2), slice(1, None)),
        *(dt.datetime(2026, 1, 2, 3, tzinfo=zone), dt.date(2026, 1, 2), dt.time(1, 2, fold=1), dt.timedelta(1, 2, 3)),
        *(Decimal("1.50"), uuid.UUID(int=7), pathlib.Path("a/b"), pathlib.PureWindowsPath("c:/d")),
    ]
    if not arrays:
        return plain
    import numpy
    import pyarrow

    structured = numpy.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8", (1,))])
    table = pyarrow.table({"a": [1, 2], "b": ["x", None]})
    return [
        *(numpy.arange(6).reshape(2, 3), numpy.asfortranarray(numpy.ones((2, 2), "f4")), structured),
        *(numpy.float32(1), numpy.datetime64("2026-01-01"), numpy.array(["ab", "c"]), table, table.to_batches()[0]),
    ]


def _with_buffers(arrays: bool) -> list[bytes]:
    """An array whose content lies beside it, made small: the shape and place stay what they would be."""
    if not arrays:
        return []
    import numpy

    inline = values.encode(numpy.zeros(values.OUT_OF_BAND_BYTES_MIN // 8))
    return [b"\1" + piece(bytes(inline.buffers[0])[:60_000]) + piece(b"") + inline.data]


_RECORDS = msgspec.msgpack.Decoder(list[Record])


def _records(data: bytes) -> None:
    """Any record is refused for a reason, or its place, its order and its signature can be told."""
    try:
        records = _RECORDS.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError("no records") from error
    good = [one for one in records if refusal(one, _NOW_S, 60.0) is None]
    for record in good:
        assert record in _real_records(), "nobody signed this"
        assert len(place_of(record)) == 20
    for namespace in NAMESPACES:
        of_one = [record for record in good if record.namespace == namespace]
        assert winners(of_one) == winners(of_one[::-1])


def _real_records() -> list[Record]:
    version = version_at(_NOW_S - 10)
    return [
        sign(Draft("mem", b"k", b"v", version), key(1)),
        sign(Draft("mem", b"k", b"", version + 1, deleted=True), key(2)),
        sign(Draft("mem", b"k", b"v", version, agreed=True), key(1)),
        sign(Draft("mem", b"k", b"v", version, expires_at_s=_NOW_S + 9), key(1)),
    ]


def _record_seeds() -> list[bytes]:
    real = _real_records()
    wrong = [
        msgspec.structs.replace(real[0], version=1),
        msgspec.structs.replace(real[0], expires_at_s=math.nan),
        msgspec.structs.replace(real[0], namespace="node"),
    ]
    return [msgspec.msgpack.encode(batch) for batch in (real, wrong, real[:1], [*wrong, *real])]


def _job_log(data: bytes) -> None:
    """Entries that parse come out of a second journey as they were, and tell a story or are refused."""
    script = Script(data)
    entries = [decode_entry(script.piece()) for _ in range(1 + script.below(3))]
    assert [decode_entry(encode_entry(entry)) for entry in entries] == entries
    seats_in(script.rest())
    story = story_of(entries)
    assert not any(index in story.outcomes for index in story.tasks)


def _job_log_seeds() -> list[bytes]:
    opened = encode_entry(Opened(bytes(20), "ana", 1.0, JobOptions(lasting=True)))
    added = encode_entry(Added(Program(bytes(32), "function", "f"), [TaskSpec(0, Inline(b"x"))]))
    ended = encode_entry(Ended("bob", True, [Finished(0, 0, Inline(b"v"))]))
    content, _ = take("00" * 8, bytes(20), [])(None)
    row = [opened, added, ended, encode_entry(Sealed()), encode_entry(Given([0], "bob"))]
    pairs = [b"\1" + piece(opened) + piece(entry) + (content or b"") for entry in row]
    return [*pairs, b"\2" + piece(opened) + piece(added) + piece(ended)]


TARGETS: dict[str, Target] = {
    "job_log": Target(_job_log, (RemoteProtocolError,), _job_log_seeds),
    **{f"codec_{name}": codec_target(codec) for name, codec in CODECS.items()},
    "frames": Target(_frames, (), _frame_seeds, cost=10),
    "values": values_target(arrays=False),
    "arrays": values_target(arrays=True),
    "records": Target(_records, (RemoteProtocolError,), _record_seeds, cost=10),
}
