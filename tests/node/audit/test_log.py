"""What has run is written down once, in order, and no head is told that is not on disk."""

from __future__ import annotations

from typing import Any, cast

import trio
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.audit.chain import Checker
from potluck.node.audit.log import AuditLog, Ran
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.wire.audit import entry_in
from potluck.overlay.wire.work import Finished, Inline
from potluck.simulations import determinism
from potluck.simulations.store import VirtualDisk, VirtualStore

OWNER, MASTER = b"o" * 20, b"m" * 20


class Alone:
    """Links of a node that has none."""

    def __init__(self) -> None:
        self.up: list[Any] = []

    def on(self, _message: object, _handler: object) -> None:
        pass

    def __iter__(self) -> Any:
        return iter(())


class Clock:
    def now_s(self) -> float:
        return trio.current_time()


def log_on(disk: VirtualDisk) -> AuditLog:
    store = VirtualStore(disk, lambda: 0.01)
    return AuditLog(KeyPair.from_seed(bytes(32)), store, cast("Any", Alone()), cast("Any", Clock()))


def ran(index: int, job: str) -> Ran:
    return Ran(OWNER, MASTER, job, bytes(32), Finished(index, 0, value=Inline(b"v")), Inline(b"v"))


async def reopened(disk: VirtualDisk, nursery: trio.Nursery) -> AuditLog:
    """As after a crash: only what is on disk is there."""
    log = log_on(disk)
    await nursery.start(log.run)
    return log


@given(st.lists(st.lists(st.sampled_from("ab"), max_size=4), max_size=6))
def test_whoever_writes_at_the_same_time_all_of_it_is_there_once_and_no_head_is_ahead_of_the_disk(
    batches: list[list[str]],
) -> None:
    disk, jobs = VirtualDisk(), [job for batch in batches for job in batch]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            log = await reopened(disk, nursery)
            for number, batch in enumerate(batches):
                log.ran(ran(number, job) for job in batch)
                nursery.start_soon(log.write)
                await trio.sleep(0.004)
                assert log.head[0] <= (await reopened(disk, nursery)).head[0]
            await log.write()
            checker = Checker([log.signed_head()])
            first, previous, entries = log.entries(1)
            checker.begin(max(1, first), previous)
            for entry in entries:
                checker.take(entry)
            checker.end()
            assert checker.broken is None
            assert [entry.job for entry in map(entry_in, entries) for _ in entry.runs] == jobs
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=1)
