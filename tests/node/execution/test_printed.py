"""What a worker prints is divided among its tasks exactly, however it was read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from potluck.node.execution.printed import Kept, Printed

TEXTS = st.binary(max_size=12)
TASKS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6)


@given(TASKS, st.data())
def test_every_task_has_what_it_printed_however_it_was_read(
    tasks: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    """The worker prints ahead of what its node has heard: bytes of later tasks are read before the end of earlier."""
    printed = Printed(1_000)
    written = b"".join(out for out, _ in tasks), b"".join(err for _, err in tasks)
    read, ends, sent = [0, 0], [0, 0], []
    for number, task in enumerate(tasks):
        ends = [end + len(text) for end, text in zip(ends, task, strict=True)]
        for stream in (1, 2):
            until = data.draw(st.integers(max(read[stream - 1], ends[stream - 1]), len(written[stream - 1])))
            printed.read(stream, written[stream - 1][read[stream - 1] : until])
            read[stream - 1] = until
        if number == 0 and data.draw(st.booleans()) and read == ends:
            printed.settle(*printed.ends)
            sent += printed.pending()
        ended = printed.end(*ends)
        assert (ended.stdout, ended.stderr) == task
        rest = [*sent, *ended.rest]
        sent = []
        for stream, text in ((1, task[0]), (2, task[1])):
            assert b"".join(piece for which, piece in rest if which == stream) == text


@given(st.lists(st.binary(max_size=300), max_size=12), st.integers(200, 400))
def test_of_long_output_beginning_and_end_are_kept_and_the_rest_is_counted(parts: list[bytes], most: int) -> None:
    kept, whole = Kept(most), b"".join(parts)
    for part in parts:
        kept.add(part)
    shown = kept.take()
    assert len(shown) <= most
    if len(whole) <= most:
        assert shown == whole
    else:
        head, note, tail = shown[: most // 4], *shown[most // 4 :].removeprefix(b"\n[potluck: ").split(b"]\n", 1)
        assert whole.startswith(head) and whole.endswith(tail)
        assert note == b"%d bytes of output are left out here" % (len(whole) - len(head) - len(tail))
    assert kept.take() == b""


def test_a_worker_that_says_nonsense_about_its_output_harms_nobody() -> None:
    printed = Printed(100)
    printed.read(1, b"abc")
    assert printed.end(2**52, 0).stdout == b"abc"
    printed.read(1, b"def")
    assert printed.end(0, 0).stdout == b""
    assert printed.end(6, 0).stdout == b"def"
