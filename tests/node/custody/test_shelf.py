"""What a deputy takes, from whom, and what it says when it cannot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import trio
import trio.testing
from potluck.node.custody.archive import Archive
from potluck.node.custody.questions import _rows_in
from potluck.node.custody.shelf import Shelf
from potluck.node.custody.volatile import Volatile
from potluck.overlay.errors import NotFound, Unavailable
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.joblog import Added, Entry, Era, JobLog, JobLogged, Opened, Sealed, encode_entry
from potluck.overlay.wire.questions import JobSaid
from potluck.overlay.wire.work import Inline, Program, Reference

JOB, OWNER, MASTER, OTHER = "00" * 8, b"o" * 20, b"m" * 20, b"x" * 20
OPENED = Opened(OWNER, "ana", 1.0, JobOptions(lasting=True))
SEALED = Sealed()
LONG = Added(Program(bytes(32), "function", "f"), [TaskSpec(0, Reference(b"r" * 16, 9, MASTER))])


class Link:
    def __init__(self, node_id: bytes = MASTER, owner: bytes = OWNER) -> None:
        self.peer = SimpleNamespace(node_id=node_id, owner_id=owner)
        self.said: list[JobLogged] = []
        self.lost: list[Exception] = []

    def post(self, message: JobLogged) -> None:
        self.said.append(message)

    def lose(self, error: Exception) -> None:
        self.lost.append(error)


class Judge:
    seated = OTHER

    async def may_write(self, job: str, sender: bytes) -> bool:
        return sender == self.seated

    async def outranked(self, job: str, sender: bytes, epoch: int) -> int | None:
        return None


class FullDisk(Volatile):
    async def commit(self) -> None:
        raise Unavailable("no space")


async def nothing_there(reference: Reference) -> bytes:
    raise NotFound("not here")


def shelf_on(store: Volatile, fetch: Any = nothing_there) -> Shelf:
    return Shelf(Archive(store), Judge(), fetch, OWNER, 1 << 20)  # type: ignore[arg-type]


def log(entries: list[Entry], *, epoch: int = 1, first: int = 0, length: int | None = None) -> JobLog:
    end = first + len(entries)
    return JobLog(1, JOB, [Era(epoch, 0)], length or end, 0, first, [encode_entry(one) for one in entries], [])


def taken(shelf: Shelf, message: JobLog, link: Link | None = None) -> JobLogged | None:
    link = link or Link()
    trio.run(shelf.take, link, message)
    return link.said[0] if link.said else None


def test_the_log_of_its_owners_master_is_taken() -> None:
    shelf = shelf_on(Volatile())
    assert taken(shelf, log([OPENED])) == JobLogged(1, 1, 1)
    assert list(shelf.entries(JOB, 1)) == [OPENED]


def test_nothing_is_kept_for_another_owner() -> None:
    shelf = shelf_on(Volatile())
    answer = taken(shelf, log([OPENED]), Link(owner=b"guest" * 4))
    assert answer is not None and answer.refused and not shelf.heads


def test_the_logs_of_a_machine_that_has_another_owner_now_are_that_owners() -> None:
    store = Volatile()
    taken(shelf_on(store), log([OPENED, SEALED]))
    later = Shelf(Archive(store), Judge(), nothing_there, OTHER, 1 << 20)  # type: ignore[arg-type]
    for _ in range(2):
        later.load()
        assert later.heads[JOB].owner == OTHER
        assert list(later.entries(JOB, 2)) == [msgspec.structs.replace(OPENED, owner=OTHER), SEALED]


def test_a_log_that_does_not_parse_keeps_no_machine_from_starting() -> None:
    store = Volatile()
    taken(shelf_on(store), log([OPENED]))
    Archive(store).write(JOB, 0, [b"damaged"])
    later = Shelf(Archive(store), Judge(), nothing_there, OTHER, 1 << 20)  # type: ignore[arg-type]
    later.load()
    assert JOB in later.heads


def test_whoever_the_register_does_not_name_changes_nothing_at_any_epoch() -> None:
    shelf = shelf_on(Volatile())
    taken(shelf, log([OPENED]))
    stranger = Link(b"s" * 20)
    for epoch in (1, 2, 99):
        answer = taken(shelf, log([], epoch=epoch), stranger)
        assert answer is not None
    assert (shelf.heads[JOB].length, shelf.heads[JOB].master) == (1, MASTER)
    taken(shelf, log([], epoch=2, first=1, length=1), Link(OTHER))
    assert shelf.heads[JOB].master == OTHER


def test_a_deputy_that_cannot_have_it_all_says_so() -> None:
    missing = taken(shelf_on(Volatile()), log([OPENED, LONG]))
    assert missing is not None and missing.refused
    full = taken(shelf_on(FullDisk()), log([OPENED]))
    assert full is not None and full.refused


def test_a_log_that_got_another_place_meanwhile_is_not_written_over() -> None:
    async def slowly(reference: Reference) -> bytes:
        shelf.heads.pop(JOB)  # this node is master by now
        return b"payload"

    shelf = shelf_on(Volatile(), slowly)
    taken(shelf, log([OPENED]))
    assert taken(shelf, log([LONG], first=1)) is None
    assert JOB not in shelf.heads


def test_eras_that_no_master_writes_cost_the_link() -> None:
    link = Link()
    message = JobLog(1, JOB, [Era(2, 0), Era(1, 3)], 5, 0, 5, [], [])
    assert taken(shelf_on(Volatile()), message, link) is None and link.lost


def test_what_another_node_says_of_jobs_may_be_nonsense() -> None:
    for said in (b"{", b"5", b'[1, "x"]', b"\xff"):
        assert _rows_in(JobSaid(1, json=said)) == []
    assert _rows_in(JobSaid(1, json=b'[{"job": "a"}]')) == [{"job": "a"}]


def test_payloads_by_value_need_nobody() -> None:
    short = Added(Program(bytes(32), "function", "f"), [TaskSpec(0, Inline(b"x"))])
    assert taken(shelf_on(Volatile()), log([OPENED, short])) == JobLogged(1, 1, 2)


def test_long_payloads_are_taken_a_few_at_a_time() -> None:
    size_bytes = 3 << 20
    names = [bytes([number]) * 16 for number in range(5)]
    program = Program(bytes(32), "function", "f")
    added = [Added(program, [TaskSpec(0, Reference(name, size_bytes, MASTER))]) for name in names]
    unwritten: list[int] = []

    class Counted(Volatile):
        fresh = 0

        def put(self, table: str, key: bytes, value: bytes) -> None:
            self.fresh += len(value) > 1000
            super().put(table, key, value)

        async def commit(self) -> None:
            unwritten.append(self.fresh)
            self.fresh = 0

    async def at_master(reference: Reference) -> bytes:
        return bytes(1001)  # a shelf counts what is announced

    shelf = shelf_on(Counted(), at_master)
    held = 0
    for _ in range(4):
        answer = taken(shelf, log([OPENED, *added][held:], first=held, length=6))
        assert answer is not None and answer.length > held
        held = answer.length
        if held == 6:
            break
    assert unwritten == [2, 2, 1]


def test_one_that_is_too_long_for_a_few_comes_alone() -> None:
    async def at_master(reference: Reference) -> bytes:
        return b"payload"

    longer = Added(Program(bytes(32), "function", "f"), [TaskSpec(0, Reference(b"l" * 16, 1 << 30, MASTER))])
    shelf = shelf_on(Volatile(), at_master)
    assert taken(shelf, log([OPENED, longer, SEALED])) == JobLogged(1, 1, 1)
    assert taken(shelf, log([longer, SEALED], first=1, length=3)) == JobLogged(1, 1, 2)


def test_two_logs_of_a_job_are_never_taken_at_once() -> None:
    """Also where one of them has waited until another of the job was done, and a third comes then."""

    class Slow(Judge):
        def __init__(self) -> None:
            self.under_way: list[tuple[str, trio.Event]] = []

        async def outranked(self, job: str, sender: bytes, epoch: int) -> int | None:
            mine = job, trio.Event()
            self.under_way.append(mine)
            assert sum(other == job for other, _ in self.under_way) == 1
            await mine[1].wait()
            self.under_way.remove(mine)
            return None

        def let_go(self, job: str) -> None:
            next(event for other, event in self.under_way if other == job).set()

    async def main() -> None:
        judge: Any = Slow()
        shelf = Shelf(Archive(Volatile()), judge, nothing_there, OWNER, 1 << 20)
        shelf._taking = trio.CapacityLimiter(2)
        link: Any = Link()
        of_another = msgspec.structs.replace(log([OPENED]), job="11" * 8)
        async with trio.open_nursery() as nursery:
            for message in (log([OPENED]), of_another, log([OPENED])):  # the last of them waits for a place
                nursery.start_soon(shelf.take, link, message)
                await trio.testing.wait_all_tasks_blocked()
            judge.let_go(JOB)
            await trio.testing.wait_all_tasks_blocked()
            judge.let_go(of_another.job)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(shelf.take, link, log([OPENED]))
            for _ in range(2):
                await trio.testing.wait_all_tasks_blocked()
                judge.let_go(JOB)
        assert len(link.said) == 4
        assert not shelf._locks

    trio.run(main)
