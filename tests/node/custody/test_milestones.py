"""A log in which newer checkpoints replace older ones, against one in which nothing is ever taken out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from potluck.node.custody.archive import Archive
from potluck.node.custody.milestones import Milestones, stripped
from potluck.node.custody.story import story_of
from potluck.node.custody.volatile import Volatile
from potluck.node.jobs.effects import Note
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.joblog import Added, Came, Ended, Entry, Opened, decode_entry, encode_entry
from potluck.overlay.wire.work import Checkpoint, Finished, Inline, Program

TASKS = 3
HEAD: list[Entry] = [
    Opened(bytes(20), "ana", 1.0, JobOptions(lasting=True)),
    Added(Program(bytes(32), "function", "f", body=Inline(b"x")), [TaskSpec(n, Inline(b"")) for n in range(TASKS)]),
]


@given(st.lists(st.tuples(st.integers(0, TASKS - 1), st.sampled_from(["saves", "saves", "rests", "ends"]))))
def test_of_each_task_the_newest_is_kept_and_of_an_ended_one_none(steps: list[tuple[int, str]]) -> None:
    archive, milestones = Archive(Volatile()), Milestones()
    whole = list(HEAD)
    archive.write("j", 0, [encode_entry(entry) for entry in whole])
    newest: dict[int, Checkpoint | None] = dict.fromkeys(range(TASKS))
    freed = 0

    def append(*entries: Entry) -> int:
        archive.write("j", len(whole), [encode_entry(entry) for entry in entries])
        whole.extend(entries)
        replaced = [entry.replaces for entry in entries if isinstance(entry, Came) and entry.replaces]
        return sum(archive.strip("j", number) for number in replaced)

    for index, what in steps:
        if index not in newest:
            continue
        if what == "ends":
            del newest[index]
            freed += append(Ended("bob", True, [Finished(index, 0, Inline(b"v"))]))
            freed += append(*milestones.ended([index]))
            continue
        if what == "saves":
            newest[index] = Checkpoint(len(whole), bytes(100))
        note = Note("j", index, what == "rests", newest[index] if what == "saves" else None)
        freed += append(milestones.entry(note, len(whole)))
    kept = [decode_entry(data) for data in archive.entries("j", 0, len(whole))]
    there = story_of(kept)
    assert {index: spec.checkpoint for index, (_, spec) in there.tasks.items()} == newest
    assert {index: spec for index, (_, spec) in there.tasks.items()} == {
        index: spec for index, (_, spec) in story_of(whole).tasks.items()
    }
    states = [entry for entry in kept if isinstance(entry, Came) and entry.checkpoint is not None]
    assert len(states) == sum(checkpoint is not None for checkpoint in newest.values())
    sizes = [sum(len(encode_entry(entry)) for entry in entries) for entries in (whole, kept)]
    assert sizes[0] - sizes[1] == freed
    later = Milestones()
    later.resume(there.came)
    assert all(later.entry(Note("j", n, False, Checkpoint(99, b"")), 99).replaces == there.came[n] for n in there.came)


def test_what_is_no_checkpoint_is_left_alone() -> None:
    for entry in (*HEAD, Came(0, True)):
        data = encode_entry(entry)
        assert stripped(data) is data
    assert Archive(Volatile()).strip("j", 7) == 0
