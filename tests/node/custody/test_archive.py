"""Logs on a disk, in any order of writing, cutting and dropping."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from potluck.node.custody.archive import Archive, Head
from potluck.node.custody.volatile import Volatile
from potluck.overlay.wire.joblog import Era

JOBS = ["00" * 8, "ff" * 8]
ENTRIES = st.lists(st.binary(max_size=30), max_size=6)


def head(length: int) -> Head:
    return Head([Era(1, 0)], length, 0, bytes(20), [], owner=bytes(20))


@given(st.lists(st.tuples(st.sampled_from(JOBS), st.sampled_from(["write", "cut", "drop"]), ENTRIES), max_size=12))
def test_what_was_written_is_there_at_the_next_start(steps: list) -> None:
    store = Volatile()
    archive = Archive(store)
    rows: dict[str, list[bytes]] = {}
    for job, what, entries in steps:
        row = rows.get(job, [])
        if what == "write":
            archive.write(job, len(row), entries)
            row = [*row, *entries]
        elif what == "cut":
            keep = len(row) // 2
            archive.cut(job, keep, len(row))
            row = row[:keep]
        else:
            archive.drop(job)
            rows.pop(job, None)
            continue
        archive.put_head(job, head(len(row)))
        rows[job] = row
    again = Archive(store)
    assert {job: found.length for job, found in again.heads().items()} == {job: len(row) for job, row in rows.items()}
    for job, row in rows.items():
        assert list(again.entries(job, 0, len(row))) == row
    left = {key[:16].decode() for key, _ in store.scan("job entries")}
    assert left <= set(rows)


@given(ENTRIES.filter(len), st.integers(0, 60))
def test_a_message_is_given_as_many_entries_as_fit_and_one_at_least(entries: list[bytes], bytes_max: int) -> None:
    archive = Archive(Volatile())
    archive.write(JOBS[0], 0, entries)
    found = archive.read(JOBS[0], 0, len(entries), bytes_max)
    assert found == entries[: len(found)] and found
    assert len(found) == 1 or sum(map(len, found)) <= bytes_max


def test_objects_go_with_their_job() -> None:
    archive = Archive(Volatile())
    archive.put_object(JOBS[0], b"a" * 16, b"one")
    archive.put_object(JOBS[1], b"b" * 16, b"two")
    archive.drop(JOBS[0])
    assert archive.get_object(b"a" * 16) is None
    assert archive.get_object(b"b" * 16) == b"two"


def test_a_head_that_does_not_parse_is_no_job() -> None:
    store = Volatile()
    archive = Archive(store)
    archive.write(JOBS[0], 0, [b"x"])
    archive.put_head(JOBS[0], head(1))
    store.put("jobs", JOBS[0].encode(), b"\xff damaged")
    assert archive.heads() == {}
    assert list(archive.entries(JOBS[0], 0, 1)) == []
