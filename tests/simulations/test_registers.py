"""Registers and agreed keys on whole nodes in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.overlay.errors import Conflict, LinkLost, NotFound, PotluckError, Refused, Unavailable
from potluck.overlay.wire import values
from potluck.simulations import determinism
from potluck.simulations.checks import Check
from potluck.simulations.gathering import until
from potluck.simulations.linearizability import Operation
from potluck.simulations.registers import Outcome, RegistersScenario, judge
from potluck.simulations.run import run_with_log
from potluck.simulations.world import World


def _held(*, nodes: int, seed: int, kill: float) -> dict[str, object]:
    answer, log = run_with_log("registers", nodes=nodes, seed=seed, kill=kill)
    broken = [check for check in answer["checks"] if not check["held"]]  # type: ignore[attr-defined]
    assert answer["held"], "\n".join([str(answer["replay"]), *map(str, broken), *log[-20:]])
    return answer


@pytest.mark.parametrize("nodes,seed,kill", [(3, 1, 0.4), (5, 2, 0.4), (8, 3, 0.3)])
def test_registers_hold_under_every_fault(nodes: int, seed: int, kill: float) -> None:
    figures = _held(nodes=nodes, seed=seed, kill=kill)["figures"]
    assert isinstance(figures, dict)
    assert figures["answered"] > 20 * nodes


@settings(max_examples=4, deadline=None)
@given(nodes=st.integers(1, 4), seed=st.integers(0, 1 << 32), kill=st.floats(0, 0.5))
def test_small_meshes_hold_too(nodes: int, seed: int, kill: float) -> None:
    _held(nodes=nodes, seed=seed, kill=kill)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(200, 260))
def test_registers_hold_for_many_seeds(seed: int) -> None:
    _held(nodes=3 + seed % 10, seed=seed, kill=0.1 * (seed % 6))


def test_a_seed_gives_one_run() -> None:
    first, second = _held(nodes=4, seed=9, kill=0.25), _held(nodes=4, seed=9, kill=0.25)
    assert first["event_log_sha256"] == second["event_log_sha256"]


# One thing at a time


def play(story: Callable[[World, list[str]], Awaitable[None]], nodes: int, *, together: bool = True) -> None:
    async def told() -> None:
        async with trio.open_nursery() as nursery:
            world = World(5, nursery)
            names = [world.add_machine().name for _ in range(nodes)]
            if together:
                for name in names:
                    await world.start(name)
                await all_know(world, names)
            await story(world, names)
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(told, seed=5)


async def all_know(world: World, names: list[str]) -> None:
    with trio.fail_after(60):
        while any(len(world.node(name).membership.present()) != len(names) - 1 for name in names):  # noqa: ASYNC110
            await trio.sleep(0.1)


async def number(world: World, name: str, key: str) -> object:
    return values.decode_bytes((await world.node(name).memory.get(key))[0])


def test_a_plain_key_that_becomes_agreed_keeps_its_value_and_takes_plain_sets() -> None:
    async def story(world: World, names: list[str]) -> None:
        one, two, three = (world.node(name).memory for name in names)
        await one.set("k", values.encode_bytes(40), None)
        assert (await two.increment("k", 2))["value"] == 42
        assert await number(world, names[2], "k") == 42
        written = await three.set("k", values.encode_bytes("text"), None)
        assert await number(world, names[0], "k") == "text"
        with pytest.raises(Refused, match="no integer"):
            await one.increment("k", 1)
        version = written["version"]
        assert isinstance(version, int)
        with pytest.raises(Conflict):
            await two.set("k", b"", None, version - 1)
        await two.set("k", values.encode_bytes(1), 5.0, version)
        assert await number(world, names[1], "k") == 1
        await trio.sleep(6)
        with pytest.raises(NotFound):
            await one.get("k")
        await one.set("k", values.encode_bytes(2), None, 0)
        await three.delete("k")
        with pytest.raises(NotFound):
            await two.get("k")
        assert (await two.increment("k", 1))["value"] == 1

    play(story, 3)


def test_who_is_alone_gets_unavailable_and_nothing_else() -> None:
    async def story(world: World, names: list[str]) -> None:
        for name in names:
            await world.node(name).memory.increment("k", 1)
        world.unplug(names[0])
        cut = world.node(names[0])
        for _ in range(2):  # before and after the others are called dead
            with pytest.raises(Unavailable):
                await cut.memory.increment("k", 1)
            with pytest.raises(Unavailable):
                await cut.memory.get("k")
            with pytest.raises(Unavailable):
                await cut.memory.increment("fresh", 1)
        total = (await world.node(names[1]).memory.increment("k", 1))["value"]
        assert total == len(names) + 1
        world.plug(names[0])
        await all_know(world, names)
        assert await number(world, names[0], "k") in (total, total + 1, total + 2)

    play(story, 3)


def test_acceptors_that_die_are_replaced_so_that_more_may_die() -> None:
    async def story(world: World, names: list[str]) -> None:
        await world.node(names[0]).memory.increment("k", 1)
        for victims in (names[1:3], names[3:5], names[5:7]):
            for victim in victims:
                world.power_off(victim)
            await trio.sleep(25)
            await world.node(names[0]).memory.increment("k", 1)
        assert await number(world, names[-1], "k") == 4

    play(story, 9)


def test_a_mesh_that_grows_spreads_its_registers() -> None:
    async def story(world: World, names: list[str]) -> None:
        await world.start(names[0])
        await world.node(names[0]).memory.increment("k", 1)
        for name in names[1:]:
            await world.start(name)
        await all_know(world, names)
        await trio.sleep(20)
        world.kill(names[0])
        assert (await world.node(names[1]).memory.increment("k", 1))["value"] == 2

    play(story, 4, together=False)


def test_a_register_that_was_placed_while_one_was_dead_has_it_among_its_acceptors_later() -> None:
    async def story(world: World, names: list[str]) -> None:
        await world.node(names[0]).memory.increment("another", 1)
        world.kill(names[2])
        await until(lambda: len(world.node(names[0]).membership.present()) == 1, 20, 0.1)
        await world.node(names[0]).registers.exists(b"later")
        await world.start(names[2])
        await all_know(world, names)
        await trio.sleep(20)  # nobody looks after what is not there yet
        await world.node(names[0]).registers.change(b"later", lambda content: (b"value", None))
        assert await until(lambda: len(world.node(names[0]).registers.acceptors_of(b"later")) == 3, 30, 0.1)

    play(story, 3)


def test_after_a_guest_has_left_one_of_three_may_die() -> None:
    async def story(world: World, names: list[str]) -> None:
        await world.node(names[0]).memory.increment("k", 1)
        await world.leave(names[3])
        await trio.sleep(15)
        world.kill(names[2])
        for total, name in enumerate(names[:2], 2):
            assert (await world.node(name).memory.increment("k", 1))["value"] == total
        await world.start(names[3])
        await trio.sleep(15)
        world.kill(names[1])
        assert await number(world, names[3], "k") == 3
        assert (await world.node(names[0]).memory.increment("k", 1))["value"] == 4

    play(story, 4)


@pytest.mark.parametrize("pause_s", [1.0, 15.0])
def test_of_five_who_leave_one_by_one_the_last_two_go_on(pause_s: float) -> None:
    async def story(world: World, names: list[str]) -> None:
        for total, name in enumerate(reversed(names[2:]), 1):
            assert (await world.node(names[0]).memory.increment("k", 1))["value"] == total
            await world.leave(name)
            await trio.sleep(pause_s)
        assert (await world.node(names[1]).memory.increment("k", 1))["value"] == 4
        for name in names[2:]:
            await world.start(name)
        await trio.sleep(15)
        for name in names[:2]:
            world.power_off(name)
        assert (await world.node(names[4]).memory.increment("k", 1))["value"] == 5

    play(story, 5)


@pytest.mark.parametrize("starts_again", [False, True])
def test_who_is_missing_is_said_by_name(starts_again: bool) -> None:
    async def story(world: World, names: list[str]) -> None:
        await world.node(names[0]).memory.increment("k", 1)
        await world.leave(names[1])
        world.kill(names[2])
        if starts_again:
            world.power_off(names[0])
            await world.start(names[0])
        for key in ("k", "another"):
            with pytest.raises(Unavailable, match=f"on '{key}' answers: {names[1]}, {names[2]} are missing; start "):
                await world.node(names[0]).memory.increment(key, 1)

    play(story, 3)


def test_a_node_that_returns_after_everybody_else_has_moved_on_finds_the_registers() -> None:
    async def story(world: World, names: list[str]) -> None:
        await world.node(names[0]).memory.increment("k", 1)
        world.power_off(names[0])
        for victim in names[1:3]:
            await trio.sleep(25)
            world.power_off(victim)
        await trio.sleep(25)
        await world.start(names[0])
        await trio.sleep(15)
        assert (await world.node(names[0]).memory.increment("k", 1))["value"] == 2

    play(story, 8)


def test_the_first_agreed_value_needs_everyone_who_is_known() -> None:
    async def story(world: World, names: list[str]) -> None:
        world.power_off(names[2])
        await trio.sleep(6)
        with pytest.raises(Unavailable, match=f"and {names[2]} died: start it again with `potluck up`"):
            await world.node(names[0]).memory.increment("k", 1)
        await world.start(names[2])
        await all_know(world, names)
        assert (await world.node(names[0]).memory.increment("k", 1))["value"] == 1

    play(story, 3)


def test_a_node_that_hears_of_the_founding_while_its_disk_is_full_lives() -> None:
    async def story(world: World, names: list[str]) -> None:
        for name in names[:2]:
            await world.start(name)
        await all_know(world, names[:2])
        await world.node(names[0]).memory.increment("k", 1)
        world.unplug(names[2])
        await world.start(names[2])
        disk = world.machines[names[2]].disk
        disk.full = True
        world.plug(names[2])
        await all_know(world, names)
        await trio.sleep(1)
        assert world.is_up(names[2])
        disk.full = False
        assert (await world.node(names[2]).memory.increment("k", 1))["value"] == 2

    play(story, 3, together=False)


def test_a_member_without_a_memory_waits_to_be_found_before_it_founds_anew() -> None:
    async def story(world: World, names: list[str]) -> None:
        await world.node(names[0]).memory.increment("n", 1)
        lost = names[2]
        world.power_off(lost)
        world.lose_disk(lost)
        world.unplug(lost)  # as where its clock is so wrong that its calls are nobody's
        await world.start(lost)
        counted: list[object] = []

        async def count() -> None:
            counted.append((await world.node(lost).memory.increment("n", 1))["value"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await trio.sleep(2.5)
            world.plug(lost)
        assert counted == [2]

    play(story, 3)


def test_founders_who_start_together_found_once() -> None:
    async def story(world: World, names: list[str]) -> None:
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(world.node(name).memory.increment, "k", 1)
        assert await number(world, names[0], "k") == len(names)
        assert len({world.node(name).registers.founding.known for name in names}) == 1

    play(story, 5)


def test_of_two_foundings_by_strangers_the_larger_stands_and_they_never_mix() -> None:
    async def story(world: World, names: list[str]) -> None:
        for name in names:
            await world.start(name)
            if name == names[0]:
                world.unplug(name)
        await all_know(world, names[1:])
        assert (await world.node(names[0]).memory.increment("k", 100))["value"] == 100
        await world.node(names[0]).memory.increment("mine", 6)
        await world.node(names[0]).memory.increment("mine", 1)
        assert (await world.node(names[1]).memory.increment("k", 1))["value"] == 1
        world.plug(names[0])
        await all_know(world, names)
        await trio.sleep(1)
        for total, name in enumerate(names, 2):
            assert (await world.node(name).memory.increment("k", 1))["value"] == total
            assert await number(world, name, "mine") == 7, "nobody else had it"
        assert (await world.node(names[2]).memory.increment("mine", 1))["value"] == 8

    play(story, 4, together=False)


# The checks themselves


def judged(change: Callable[[Outcome], None]) -> dict[str, bool]:
    """Whether each check holds for a scenario in which this has happened and nothing else."""

    async def told() -> list[Check]:
        async with trio.open_nursery() as nursery:
            world = World(1, nursery)
            scenario = RegistersScenario(world, 1, 3, 0.0)
            scenario.outcome.joined_s = 1.0
            change(scenario.outcome)
            checks, _ = judge(world, scenario)
            nursery.cancel_scope.cancel()
        return checks

    return {check.name: check.held for check in determinism.run(told, seed=1)}


@pytest.mark.parametrize("error,is_answer", [(Unavailable("x"), False), (LinkLost("x"), False), (Conflict("x"), True)])
def test_whoever_is_alone_may_say_so_and_nothing_else(error: PotluckError, is_answer: bool) -> None:
    async def told() -> bool:
        async with trio.open_nursery() as nursery:
            scenario = RegistersScenario(World(1, nursery), 1, 3, 0.0)
            scenario._alone = "a1"
            scenario._note_error("a1", "read", error, began_alone=True)
            scenario._note_error("b1", "read", error, began_alone=False)
            nursery.cancel_scope.cancel()
        return bool(scenario.outcome.alone)

    assert determinism.run(told, seed=1) is is_answer


def _forked(outcome: Outcome) -> None:
    won = [Operation("compare_and_set", 0, 5, True, expected=None, new=new) for new in (1, 2)]
    next(iter(outcome.histories.values())).extend(won)


def _lost(outcome: Outcome) -> None:
    outcome.added, outcome.counted = 3, {"a1": 2}


def _split(outcome: Outcome) -> None:
    outcome.added, outcome.in_doubt, outcome.counted = 1, 1, {"a1": 1, "b1": 2}


@pytest.mark.parametrize(
    "change,broken",
    [
        (lambda outcome: None, None),
        (lambda outcome: setattr(outcome, "joined_s", None), "everyone joined and knows everyone"),
        (_forked, "every history is linearizable"),
        (_lost, "no increment is lost or done twice"),
        (_split, "no increment is lost or done twice"),
        (lambda outcome: outcome.sums.extend([1, 1]), "no increment is lost or done twice"),
        (lambda outcome: outcome.alone.append("a1"), "who is alone gets no answer"),
        (lambda outcome: outcome.unanswered.append("a1"), "the last two are answered"),
        (lambda outcome: outcome.unhealed.append("a1"), "every register answers everybody in the end"),
    ],
)
def test_each_check_fails_for_its_own_reason(change: Callable[[Outcome], None], broken: str | None) -> None:
    assert [name for name, held in judged(change).items() if not held] == ([broken] if broken else [])
