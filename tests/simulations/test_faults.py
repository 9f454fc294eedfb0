"""Plans of faults: what they may hold, and that a storm carries out and undoes all of it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.overlay.errors import NotFound
from potluck.overlay.wire.peer import PEER
from potluck.overlay.wire.records import Stored
from potluck.simulations import determinism
from potluck.simulations.entropy import named_stream
from potluck.simulations.faults import (
    CLOCKS,
    ISOLATING,
    LOSING,
    LOSSES,
    MISCONDUCT,
    PAIRS,
    Fault,
    Plan,
    Storm,
    draw_plan,
    spare_disks,
)
from potluck.simulations.gathering import all_know_all, until
from potluck.simulations.storms import Storms
from potluck.simulations.world import World


def plan_of(seed: int, nodes: int, *, lossless: bool = False, kill: float = 0.1) -> Plan:
    names = [f"n{number}" for number in range(nodes)]
    liar = names[-1] if nodes >= 4 else ""
    return draw_plan(names, liar, named_stream(seed, "plan"), 300.0, lossless=lossless, kill=kill)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1 << 32), nodes=st.integers(1, 12), lossless=st.booleans(), kill=st.floats(0, 1))
def test_a_plan_never_breaks_a_promise_by_itself(seed: int, nodes: int, lossless: bool, kill: float) -> None:
    plan = plan_of(seed, nodes, lossless=lossless, kill=kill)
    here = {f"n{number}" for number in range(nodes)}
    for storm in plan.storms:
        kinds = Counter(fault.kind for fault in storm.faults)
        assert sum(kinds[kind] for kind in LOSSES) <= (spare_disks(len(here)) if storm.loses else 0)
        assert not (lossless and storm.loses)
        assert sum(kinds[kind] for kind in CLOCKS) <= max(0, (len(here) - 1) // 2 - len(here) // 8)
        assert sum(kinds[kind] for kind in MISCONDUCT) <= 1
        for fault in storm.faults:
            allowed = LOSING if storm.loses else ISOLATING
            assert fault.kind in (*allowed, *MISCONDUCT)
            assert set(fault.whom) <= here and len(set(fault.whom)) == len(fault.whom) > 0
            assert min(fault.at_s, fault.lasts_s) >= 0 and fault.at_s + fault.lasts_s <= storm.lasts_s + 1e-6
            assert fault.kind not in PAIRS or len(fault.whom) == 2
            assert fault.kind not in MISCONDUCT or fault.whom == (f"n{nodes - 1}",)
            if fault.kind in ("parted", "unheard"):
                assert len(fault.whom) <= len(here) / 2
        here -= {fault.whom[0] for fault in storm.faults if fault.kind == "gone"}
    assert len(here) >= min(nodes, 5)


def test_every_fault_is_drawn_sooner_or_later_and_a_seed_draws_one_plan() -> None:
    drawn = {fault.kind for seed in range(40) for fault in plan_of(seed, 10).faults}
    assert drawn == {*LOSING, *ISOLATING, *MISCONDUCT} - {"misconduct"}
    assert plan_of(3, 7) == plan_of(3, 7) != plan_of(4, 7)


def suffer(*faults: Fault, nodes: int = 5, lasts_s: float = 8.0) -> World:
    """A world that has been through this storm and found together again."""

    async def main() -> World:
        async with trio.open_nursery() as nursery:
            world = World(1, nursery)
            for _ in range(nodes):
                await world.start(world.add_machine().name)
            assert await until(lambda: all_know_all(world), 20, 0.1)
            written = await world.node("a1").memory.set("k", b"v", None)
            storms = Storms(world, named_stream(1, "storms"))
            began_s = trio.current_time()
            await storms.rage(Storm(faults, lasts_s, loses=True))
            assert trio.current_time() - began_s >= lasts_s
            assert await until(lambda: all_know_all(world), 90, 0.1)
            for machine in world.running():
                try:
                    assert await world.node(machine.name).memory.get("k") == (b"v", written["version"])
                except NotFound:
                    pytest.fail(f"lost at {machine.name}")
            assert not world.failures
            nursery.cancel_scope.cancel()
        return world

    return determinism.run(main, seed=1)


@pytest.mark.parametrize("kind", sorted({*LOSING, *ISOLATING, *MISCONDUCT} - {"misconduct"}))
def test_a_storm_of_each_kind_is_noted_undone_and_survived(kind: str) -> None:
    whom = ("b1", "c1") if kind in (*PAIRS, "parted", "unheard") else ("b1",)
    amount = {"lags": 0.01, "crawls": 0.2, "clogs": 5000.0, "jumps": 1800.0, "drifts": 0.05}.get(kind, 0.0)
    world = suffer(Fault(kind, 1.0, 5.0, whom, amount))
    noted = [event for event in world.log.events if event.event in ("fault", "over")]
    assert [(event.event, event.node) for event in noted] == [("fault", "b1"), ("over", "b1")]
    assert noted[0].detail.startswith(kind)
    machine = world.machines["b1"]
    assert not machine.disk.full
    assert machine.mouth(b"said") == b"said"
    assert world.ether.weather.passes(machine.address, world.machines["c1"].address)


def test_faults_that_meet_on_one_machine_do_what_makes_sense() -> None:
    suffer(
        Fault("paused", 0.5, 5.0, ("b1",)),
        Fault("crashed", 1.0, 3.0, ("b1",), 1.0),
        Fault("leaves", 2.0, 3.0, ("b1",)),
        Fault("paused", 5.0, 2.0, ("b1",)),
        Fault("paused", 5.5, 2.5, ("b1",)),
        Fault("full", 0.2, 6.0, ("b1",)),
        Fault("flipped", 6.0, 1.5, ("c1",)),
    )


def test_a_frozen_node_takes_no_step_and_goes_on_where_it_was() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            world = World(1, nursery)
            for _ in range(3):
                await world.start(world.add_machine().name)
            assert await until(lambda: all_know_all(world), 20, 0.1)
            world.freeze("b1")
            before = len([event for event in world.log.events if event.node == "b1"])
            stopped_s = trio.current_time()
            await trio.sleep(30)
            heard_s = [link.last_heard_s for link in world.node("b1").links]
            assert heard_s and max(heard_s) <= stopped_s, "what was said to it waits"
            assert len([event for event in world.log.events if event.node == "b1"]) == before
            assert [one.name for one in world.node("a1").membership.present()] == ["c1"], (
                "silence is death after a while"
            )
            world.thaw("b1")
            assert await until(lambda: all_know_all(world), 30, 0.1)
            world.freeze("c1")
            world.kill("c1")  # the dead are not stopped: nothing of it must be left waiting
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=1)


def test_a_holder_without_room_on_its_disk_is_asked_ever_more_rarely() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            world = World(1, nursery)
            names = [world.add_machine().name for _ in range(3)]
            for name in names:
                await world.start(name)
            assert await until(lambda: all_know_all(world), 20, 0.1)
            frames, asked_s = PEER.frames(), list[float]()

            def listen(said: bytes) -> bytes:
                frames.feed(said)
                while (body := frames.next_body()) is not None:
                    message = PEER.decode(body)
                    if isinstance(message, Stored) and not message.accepted:
                        asked_s.append(trio.current_time())
                return said

            full = world.machines["b1"]
            full.disk.full = True
            world.ether.host(full.address).mouth = listen
            await world.node("a1").memory.set("k", b"v", None)
            await trio.sleep(15)
            pauses_s = [later_s - earlier_s for earlier_s, later_s in pairwise(asked_s)]
            assert 5 <= len(asked_s) <= 12
            assert pauses_s[-1] > 4 * pauses_s[0]
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=1)
