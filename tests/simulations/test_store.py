from __future__ import annotations

import pytest
import trio
import trio.testing
from potluck.simulations import determinism
from potluck.simulations.store import VirtualDisk, VirtualStore


def test_a_crash_during_a_commit_loses_what_it_would_have_kept() -> None:
    async def play() -> None:
        disk = VirtualDisk()
        store = VirtualStore(disk, lambda: 1.0)
        store.put("t", b"early", b"1")
        await store.commit()
        store.put("t", b"late", b"2")
        with trio.move_on_after(0.5):
            await store.commit()
        store.cut()
        await store.commit()
        assert dict(VirtualStore(disk, lambda: 1.0).scan("t")) == {b"early": b"1"}

    determinism.run(play, seed=1)


@pytest.mark.parametrize("first_s,second_s", [(1.0, 3.0), (3.0, 1.0)])
def test_commits_that_overlap_each_keep_what_came_before_them(first_s: float, second_s: float) -> None:
    async def play() -> None:
        disk, delays = VirtualDisk(), iter([first_s, second_s])
        store = VirtualStore(disk, lambda: next(delays))
        async with trio.open_nursery() as nursery:
            for key, delay_s in ((b"a", first_s), (b"b", second_s)):
                store.put("t", key, b"")
                nursery.start_soon(_expect_after_commit, store, disk, key, delay_s)
                await trio.testing.wait_all_tasks_blocked()
            store.put("t", b"c", b"")
        assert set(disk.tables["t"]) == {b"a", b"b"}
        assert disk.commits == 2

    determinism.run(play, seed=1)


async def _expect_after_commit(store: VirtualStore, disk: VirtualDisk, key: bytes, delay_s: float) -> None:
    began_s = trio.current_time()
    await store.commit()
    assert trio.current_time() - began_s == delay_s
    assert key in disk.tables["t"]
