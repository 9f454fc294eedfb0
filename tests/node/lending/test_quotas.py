"""CPU time of others against a naive reading of everything that was ever charged."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from potluck.node.lending.book import QuotaBook
from potluck.node.lending.quotas import HOUR_S, HOURS, Quotas
from potluck.node.store import SqliteStore
from potluck.overlay.config import Quota
from potluck.simulations import determinism
from potluck.simulations.store import VirtualDisk, VirtualStore

RULES = Quota(cpu_s=10.0, total_cpu_s=15.0)
OWNERS = (b"one", b"two", b"three")


class QuotasThroughTime(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.quotas = Quotas(RULES)
        self.charged: list[tuple[int, bytes, float]] = []
        self.now_s = 1e9
        self.disk: dict[tuple[bytes, int], float] = {}

    @rule(owner=st.sampled_from(OWNERS), cpu_s=st.sampled_from([0.0, 0.5, 4.0, 9.5]))
    def somebody_takes(self, owner: bytes, cpu_s: float) -> None:
        self.quotas.charge(self.now_s, owner, cpu_s)
        self.charged.append((int(self.now_s // HOUR_S), owner, cpu_s))

    @rule(hours=st.sampled_from([0.4, 1.0, 7.0, 24.0, -2.0]))
    def time_passes(self, hours: float) -> None:
        self.now_s += hours * HOUR_S

    @rule()
    def it_is_written(self) -> None:
        self.disk.update({(owner, hour): cpu_s for owner, hour, cpu_s in self.quotas.changes()})
        for owner, hour in self.quotas.forget_before(self.now_s):
            del self.disk[owner, hour]
            self.charged = [one for one in self.charged if one[:2] != (hour, owner)]

    @rule()
    def the_node_is_restarted(self) -> None:
        self.it_is_written()
        self.quotas = Quotas(RULES)
        for (owner, hour), cpu_s in self.disk.items():
            self.quotas.begin_with(owner, hour, cpu_s)

    def _taken_s(self, owner: bytes) -> float:
        since = int(self.now_s // HOUR_S) - HOURS
        return sum(cpu_s for hour, one, cpu_s in self.charged if one == owner and hour > since)

    @invariant()
    def whoever_has_reached_a_quota_is_refused_and_nobody_else(self) -> None:
        together_s = sum(map(self._taken_s, OWNERS))
        for owner in OWNERS:
            refused = self._taken_s(owner) >= RULES.cpu_s or together_s >= RULES.total_cpu_s
            assert (self.quotas.refusal(self.now_s, owner) is not None) == refused
        assert len(self.disk) <= len(OWNERS) * (HOURS + 3) + len(self.charged)


TestQuotasThroughTime = QuotasThroughTime.TestCase


def test_without_quotas_nobody_is_refused() -> None:
    quotas = Quotas(Quota())
    quotas.charge(0.0, b"one", 1e9)
    assert quotas.refusal(0.0, b"one") is None


def test_what_was_taken_is_known_after_a_restart_and_what_is_old_leaves_the_disk(tmp_path: Path) -> None:
    async def life(now_s: float) -> tuple[float, int]:
        store = SqliteStore(tmp_path / "state.db")
        quotas = Quotas(RULES)
        book = QuotaBook(quotas, store, lambda: now_s)
        async with trio.open_nursery() as nursery:
            await nursery.start(book.run)
            quotas.charge(now_s, b"one", 4.0)
            await book.write()
            nursery.cancel_scope.cancel()
        left = len(list(store.scan("quota")))
        await store.aclose()
        return quotas.taken_s(now_s, b"one"), left

    now_s = 1e9
    assert [trio.run(life, now_s) for _ in range(3)] == [(4.0, 1), (8.0, 1), (12.0, 1)]
    later_s = now_s + (HOURS + 1) * HOUR_S
    assert trio.run(life, later_s) == (4.0, 1)


def test_a_full_disk_and_a_garbled_record_end_no_node() -> None:
    async def story() -> None:
        disk, now_s = VirtualDisk(), 1e9
        quotas = Quotas(RULES)
        store = VirtualStore(disk, lambda: 0.0)
        book = QuotaBook(quotas, store, lambda: now_s)
        async with trio.open_nursery() as nursery:
            await nursery.start(book.run)
            disk.full = True
            quotas.charge(now_s, b"one", 4.0)
            await book.write()
            assert not disk.tables.get("quota")
            disk.full = False
            quotas.charge(now_s, b"two", 3.0)
            await book.write()
            nursery.cancel_scope.cancel()
        for key in disk.tables["quota"]:
            if key.startswith(b"one"):
                disk.tables["quota"][key] = struct.pack(">d", math.nan)
        again = Quotas(RULES)
        async with trio.open_nursery() as nursery:
            await nursery.start(QuotaBook(again, VirtualStore(disk, lambda: 0.0), lambda: now_s).run)
            nursery.cancel_scope.cancel()
        assert (again.taken_s(now_s, b"one"), again.taken_s(now_s, b"two")) == (0.0, 3.0)

    determinism.run(story, seed=1)
