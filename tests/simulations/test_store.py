from __future__ import annotations

import random

import pytest
import trio
import trio.testing
from potluck.overlay.errors import Unavailable
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


def test_a_full_disk_fails_commits_until_there_is_room() -> None:
    async def play() -> None:
        disk = VirtualDisk()
        store = VirtualStore(disk, lambda: 0.1)
        disk.full = True
        await store.commit()  # of nothing
        store.put("t", b"k", b"v")
        with pytest.raises(Unavailable):
            await store.commit()
        assert store.get("t", b"k") == b"v"
        assert store.backlog == 1
        disk.full = False
        await store.commit()
        assert disk.tables["t"] == {b"k": b"v"}
        assert store.backlog == 0

    determinism.run(play, seed=1)


def test_a_flipped_bit_is_one_bit_of_one_value() -> None:
    disk = VirtualDisk()
    assert disk.flip_bit("t", random.Random(1)) == ""
    disk.tables["t"] = {bytes([number]): bytes(4) for number in range(5)}
    disk.flip_bit("t", random.Random(1))
    bits = [int.from_bytes(value, "big").bit_count() for value in disk.tables["t"].values()]
    assert sorted(bits) == [0, 0, 0, 0, 1]
