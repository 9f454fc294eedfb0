"""Scenario `loss`: plain keys are written while machines die two at once, a disk is lost for good and the network falls
into two islands. Nothing acknowledged may be lost: once the nodes have converged, every key reads, at every node, a
version no lower than the highest that was acknowledged, all nodes read the same, and every holder has it.

Drawn from the seed: who writes what when, who dies how, whose disk is lost, who is on which island.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import msgspec
import trio

from ..overlay.errors import PotluckError
from ..overlay.ids import distance, key_id
from .checks import Check, check
from .entropy import named_stream
from .gathering import start_all, until
from .store import VirtualDisk
from .world import World

JOIN_S: Final = 20.0
CONVERGED_S: Final = 10.0
"""From the moment when membership knows what has happened; of islands from the moment when they are joined again."""
KNOWN_S: Final = 10.0
DEATHS_AT_ONCE: Final = 2
NODES_MIN: Final = 5
_POLL_S: Final = 0.25
_KEYS: Final = 6
_NAMESPACE: Final = "mem"
_PAUSE_S: Final = 0.8
_LARGE_BYTES: Final = 3000
"""More than is copied beyond the nearest holders."""
_PARTED_S: Final = (3.0, 8.0)
_TOLD_MAX: Final = 3


class Outcome(msgspec.Struct):
    joined_s: float | None = None
    acknowledged: dict[bytes, int] = {}
    """The highest version of each key that was."""
    deleted: set[bytes] = set()
    """Written by nobody since their deletion was acknowledged."""
    writes: int = 0
    unanswered: int = 0
    unconverged: list[str] = []
    converged_s: dict[str, float] = {}
    """How long it took, by the name of the figure."""


class LossScenario:
    def __init__(self, world: World, seed: int, nodes: int, kill: float) -> None:
        """`kill` is of no account: two die."""
        self._world = world
        self._draws = named_stream(seed, "scenario loss")
        self._names = [world.add_machine().name for _ in range(max(nodes, NODES_MIN))]
        self._busy = [b"busy%d" % number for number in range(_KEYS)]
        self._quiet = [b"quiet%d" % number for number in range(_KEYS)]
        """Written once, before anything happens: only hand-over keeps them."""
        self._writing = False
        self._since_s: float | None = None
        """When the islands were joined."""
        self.outcome = Outcome()

    async def play(self) -> None:
        began_s = trio.current_time()
        await start_all(self._world, self._names, self._draws)
        if await until(self._all_know_all, JOIN_S, _POLL_S):
            self.outcome.joined_s = trio.current_time() - began_s
        for key in self._quiet:
            await self._write_once(self._draws.choice(self._names), key, _LARGE_BYTES)
        await self._while_writing(self._two_die)
        await self._converges("after_deaths_s")
        await self._while_writing(self._they_return)
        await self._converges("after_returns_s")
        await self._while_writing(self._islands)
        await self._delete_some()
        await self._converges("reconverged_s")

    def _all_know_all(self) -> bool:
        running = {machine.name for machine in self._world.running()}
        return all(
            {member.name for member in self._world.node(name).membership.present()} == running - {name}
            for name in running
        )

    # Writers

    async def _while_writing(self, happening: Callable[[], Awaitable[None]]) -> None:
        """Programs on all machines write until it has happened."""
        self._writing = True
        async with trio.open_nursery() as nursery:
            for name in self._names:
                nursery.start_soon(self._write, name, named_stream(self._draws.getrandbits(64), name))
            await happening()
            self._writing = False

    async def _write(self, name: str, draws: random.Random) -> None:
        while self._writing:
            await trio.sleep(draws.uniform(0, _PAUSE_S))
            if self._world.machines[name].running is not None:
                await self._write_once(name, draws.choice(self._busy), draws.choice((8, _LARGE_BYTES)))

    async def _write_once(self, name: str, key: bytes, size_bytes: int) -> None:
        self.outcome.writes += 1
        running = self._world.machines[name].running
        assert running is not None
        try:
            put = await running.node.replication.put(_NAMESPACE, key, bytes(size_bytes))
        except PotluckError as error:
            self.outcome.unanswered += 1
            self._world.log.note(name, "no answer", error.kind)
        else:
            if self._world.machines[name].running is running:  # else nobody was there to be told
                self.outcome.acknowledged[key] = max(put.version, self.outcome.acknowledged.get(key, 0))
            self._world.log.note(name, "wrote", f"{key.decode()} {put.version} at {put.replicas}")

    async def _delete_some(self) -> None:
        """After a deletion nobody writes the key any more, so that it must stay deleted."""
        for key in self._draws.sample(self._busy, 2):
            machine = self._draws.choice(list(self._world.running()))
            try:
                await self._world.node(machine.name).replication.delete(_NAMESPACE, key)
            except PotluckError as error:
                self._world.log.note(machine.name, "no answer", error.kind)
                self.outcome.acknowledged.pop(key, None)  # deleted or not
            else:
                self.outcome.deleted.add(key)

    # What happens

    async def _two_die(self) -> None:
        await trio.sleep(self._draws.uniform(1, 2))
        victims = self._draws.sample(self._names, DEATHS_AT_ONCE)
        for name in victims:
            if self._draws.random() < 0.5:
                self._world.power_off(name)
            else:
                self._world.kill(name)
        await trio.sleep(self._draws.uniform(0, 2))

    async def _they_return(self) -> None:
        dead = [name for name in self._names if self._world.machines[name].running is None]
        self._world.machines[self._draws.choice(dead)].disk = VirtualDisk()
        for name in dead:
            await self._world.start(name)
        await trio.sleep(self._draws.uniform(0, 2))

    async def _islands(self) -> None:
        side = self._draws.sample(self._names, self._draws.randint(1, len(self._names) // 2))
        self._world.ether.partition({self._world.machines[name].address: 1 for name in side})
        self._world.log.note("", "parted", " ".join(sorted(side)))
        await trio.sleep(self._draws.uniform(*_PARTED_S))
        self._world.ether.heal()
        self._since_s = trio.current_time()
        self._world.log.note("", "healed")

    # What must hold then

    async def _converges(self, figure: str) -> None:
        if self._since_s is None:
            await until(self._all_know_all, KNOWN_S, _POLL_S)
        began_s = self._since_s or trio.current_time()
        faults = ["nothing was read in time"]
        with trio.move_on_at(began_s + CONVERGED_S):
            while faults := await self._faults():  # noqa: ASYNC110 - what it asks of many nodes has no one event
                await trio.sleep(_POLL_S)
        self.outcome.converged_s[figure] = trio.current_time() - began_s
        self.outcome.unconverged += [f"{figure}: {fault}" for fault in faults[:_TOLD_MAX]]
        self._world.log.note("", "converged" if not faults else "not converged", figure)

    async def _faults(self) -> list[str]:
        """What is wrong now: looked up at every holder, and when there all is well read at every node. Reading mends,
        and must not hide what is missing."""
        found = [fault for key in self.outcome.acknowledged for fault in self._missing(key)]
        if found:
            return found

        async def read(name: str) -> None:
            for key in sorted(self.outcome.acknowledged):
                found.extend(await self._misread(name, key))

        async with trio.open_nursery() as nursery:
            for machine in self._world.running():
                nursery.start_soon(read, machine.name)
        return sorted(found)

    async def _misread(self, name: str, key: bytes) -> list[str]:
        try:
            record = await self._world.node(name).replication.get(_NAMESPACE, key)
        except PotluckError as error:
            return [f"{name} cannot read {key.decode()}: {error}"]
        if key in self.outcome.deleted:
            return [] if record is None else [f"{name} reads {key.decode()}, which was deleted"]
        if record is None or record.version < self.outcome.acknowledged[key]:
            return [f"{name} reads {'nothing' if record is None else 'an older version'} under {key.decode()}"]
        return []

    def _missing(self, key: bytes) -> Iterator[str]:
        """Holders that have something else than the others, or nothing."""
        place = key_id(_NAMESPACE, key)
        nodes = [self._world.node(machine.name) for machine in self._world.running()]
        nodes.sort(key=lambda node: distance(node.node_id, place))
        nearest = nodes[: nodes[0].config.dht.replicas]
        copies = [node.dht.share.at(place) for node in nearest]
        for node, copy in zip(nearest, copies, strict=True):
            if copy != copies[0] or not copy:
                yield f"{node.name} holds {'something else' if copy else 'nothing'} under {key.decode()}"


def judge(world: World, scenario: LossScenario) -> tuple[list[Check], dict[str, object]]:
    outcome = scenario.outcome
    joined = "" if outcome.joined_s is None else f"after {outcome.joined_s:.2f} s"
    answered = outcome.writes - outcome.unanswered
    checks = [
        check("no node failed", world.failures, f"{len(world.machines)} nodes"),
        check("everyone joined and knows everyone", [] if joined else ["not in time"], joined),
        check("nothing acknowledged is lost", outcome.unconverged, f"{answered} writes, within {CONVERGED_S:g} s"),
    ]
    figures: dict[str, object] = {
        "joined_s": outcome.joined_s,
        "writes": outcome.writes,
        "acknowledged": answered,
        "handed_over": sum(world.node(machine.name).hand_over.taken for machine in world.running()),
        **{figure: round(took_s, 3) for figure, took_s in outcome.converged_s.items()},
    }
    return checks, figures
