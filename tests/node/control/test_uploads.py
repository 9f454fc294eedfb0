"""Uploads in parts: what they take of the node, finished or not."""

from __future__ import annotations

import pytest
from potluck.node.control.uploads import UNFINISHED_MAX, Uploads
from potluck.node.objects import OBJECT_BYTES_MIN, ObjectTable
from potluck.overlay.errors import LimitExceeded, RemoteProtocolError
from potluck.overlay.wire.control import PutPart

LENT_BYTES = 100_000


def object_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def uploads(bytes_max: int = 1 << 30) -> tuple[ObjectTable, Uploads]:
    table = ObjectTable(LENT_BYTES)
    return table, Uploads(table, "upload", bytes_max)


def test_parts_make_an_object() -> None:
    table, ours = uploads()
    ours.take(PutPart(object_id(1), 0, 5000, b"a" * 3000))
    assert table.size_bytes == 5000, "what is announced has its room"
    ours.take(PutPart(object_id(1), 3000, 5000, b"b" * 2000))
    assert table.get(object_id(1)) == b"a" * 3000 + b"b" * 2000
    assert table.size_bytes == 5000


@pytest.mark.parametrize(
    "second",
    [
        PutPart(object_id(1), 2, 10, b"x"),
        PutPart(object_id(1), 1, 10, b"x" * 10),
        PutPart(object_id(2), 1, 10, b"x"),
    ],
    ids=["a gap", "too long", "of another"],
)
def test_parts_that_do_not_fit_are_refused(second: PutPart) -> None:
    _, ours = uploads()
    ours.take(PutPart(object_id(1), 0, 10, b"a"))
    with pytest.raises(RemoteProtocolError):
        ours.take(second)


def test_only_so_many_are_begun_at_once() -> None:
    _, ours = uploads()
    for number in range(UNFINISHED_MAX):
        ours.take(PutPart(object_id(number), 0, 1, b""))
    ours.take(PutPart(object_id(0), 0, 1, b""))  # the same again
    with pytest.raises(RemoteProtocolError, match="unfinished"):
        ours.take(PutPart(object_id(UNFINISHED_MAX), 0, 1, b""))


def test_only_so_much_is_announced_at_once() -> None:
    _, ours = uploads(bytes_max=1000)
    ours.take(PutPart(object_id(1), 0, 600, b""))
    with pytest.raises(RemoteProtocolError, match="1000 bytes at once"):
        ours.take(PutPart(object_id(2), 0, 600, b""))


def test_what_there_is_no_room_for_goes_by_and_the_next_is_taken() -> None:
    table, ours = uploads()
    ours.take(PutPart(object_id(1), 0, LENT_BYTES + 1, b"x" * 10))
    assert table.size_bytes == 0
    ours.take(PutPart(object_id(1), 10, LENT_BYTES + 1, b"x" * (LENT_BYTES - 9)))
    assert table.get(object_id(1)) is None
    ours.take(PutPart(object_id(2), 0, 5, b"fives"))
    assert table.get(object_id(2)) == b"fives"


def test_nothing_stays_of_a_connection_that_is_over() -> None:
    table, ours = uploads()
    ours.take(PutPart(object_id(1), 0, 5000, b"x"))
    ours.take(PutPart(object_id(2), 0, 5000, b"x" * 5000))
    ours.end()
    assert table.size_bytes == 0
    assert table.get(object_id(2)) is None


def test_an_empty_object_takes_room_too() -> None:
    table = ObjectTable(10 * OBJECT_BYTES_MIN)
    for number in range(10):
        table.put(object_id(number), b"", "job")
    with pytest.raises(LimitExceeded):
        table.put(object_id(10), b"", "job")
    table.release("job")
    assert table.size_bytes == 0
