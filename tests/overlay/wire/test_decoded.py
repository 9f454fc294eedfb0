"""Whatever bytes lie on a disk or come from others, what does not parse is one error of ours."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.custody.archive import Archive, Head
from potluck.node.jobs.history import History, Past
from potluck.node.roster import Entry, Roster
from potluck.overlay.errors import RemoteProtocolError
from potluck.overlay.wire import audit
from potluck.overlay.wire.capabilities import LoadReport
from potluck.overlay.wire.codec import decoded
from potluck.overlay.wire.joblog import Era
from potluck.simulations.store import VirtualDisk, VirtualStore

from ...strategies.identities import member

DECODERS = [msgspec.msgpack.Decoder(kind) for kind in (LoadReport, Past, Entry, Head, audit.Head)]


@given(st.sampled_from(DECODERS), st.binary(max_size=60))
def test_whatever_does_not_parse_is_one_error(decoder: msgspec.msgpack.Decoder[object], data: bytes) -> None:
    try:
        decoded(decoder, data, "it")
    except RemoteProtocolError as error:
        assert str(error).startswith("it does not parse")


def test_a_text_that_is_none_does_not_parse() -> None:
    with pytest.raises(RemoteProtocolError):
        decoded(msgspec.msgpack.Decoder(str), b"\xa1\xff", "a name")


def store() -> VirtualStore:
    return VirtualStore(VirtualDisk(), lambda: 0.0)


def garbled(row: bytes, text: bytes) -> bytes:
    assert text in row
    return row.replace(text, b"\xff" + text[1:], 1)


def test_what_a_disk_has_garbled_is_dropped_when_a_node_starts() -> None:
    disk = store()
    past = msgspec.msgpack.encode(Past("the job", "completed", 0.0, 1.0, 1, 0, 1.0, {}))
    disk.put("history", b"key", garbled(past, b"the job"))
    History(disk).load()
    assert not list(disk.scan("history"))
    head = msgspec.msgpack.encode(Head([Era(1, 0)], 2, 2, b"m" * 20, [b"o" * 20]))
    disk.put("jobs", b"job", head[:-1])
    assert Archive(disk).heads() == {}
    assert not list(disk.scan("jobs"))


def test_whom_a_garbled_row_is_about_is_met_again() -> None:
    disk, identity, other = store(), member(1), member(2)
    roster = Roster(identity, disk, lambda: 0.0)
    roster.met(other.node_id, other.name, other.chain)
    ((table, key, row),) = [("roster", key, row) for key, row in disk.scan("roster")]
    disk.put(table, key, garbled(row, other.name.encode()))
    assert roster.entries() == []
    assert not roster.knows(other.node_id)
    roster.met(other.node_id, other.name, other.chain)
    assert [entry.name for _, entry in roster.entries()] == [other.name]
