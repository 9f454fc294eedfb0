"""The scenario `mixed`: it holds, and every one of its checks can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from potluck.node.execution.service import ExecutionService
from potluck.node.memory import SharedMemory
from potluck.overlay.clock import MeshTime
from potluck.overlay.dht.store import RecordStore
from potluck.overlay.errors import NotAllowed, Unavailable
from potluck.overlay.membership.service import Membership
from potluck.overlay.registers.service import Registers
from potluck.simulations.mixed import NODES, nodes_of
from potluck.simulations.run import run_with_log
from potluck.simulations.sandbox import VirtualWorker
from potluck.simulations.store import VirtualStore

from .planted import Bug, broken_checks, forgetful, lying, undying

SHORT_H = 0.005
"""One storm."""


def held(seed: int, **settings: Any) -> dict[str, Any]:
    answer, log = run_with_log("mixed", seed=seed, **settings)
    broken = [check for check in answer["checks"] if not check["held"]]  # type: ignore[attr-defined]
    assert answer["held"], "\n".join([str(answer["replay"]), *map(str, broken), *log[-20:]])
    return answer


@pytest.mark.parametrize("seed,nodes", [(1, 1), (2, 2), (3, 3), (4, 5), (5, 8)])
def test_everything_holds_while_everything_goes_wrong(seed: int, nodes: int) -> None:
    figures = held(seed, nodes=nodes, hours=0.01)["figures"]
    assert figures["operations"] > 20 * nodes
    assert figures["faults"] > 0


def test_links_that_stall_break_and_repeat_lose_nothing() -> None:
    held(1, nodes=5, hours=0.01, loss=0.3, duplicate=0.3)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(1000, 1060))
def test_everything_holds_for_many_seeds(seed: int) -> None:
    held(seed)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(20))
def test_bad_links_lose_nothing_for_many_seeds(seed: int) -> None:
    held(seed, loss=0.3, duplicate=0.3)


def test_the_number_of_nodes_is_drawn_where_none_is_given() -> None:
    assert {nodes_of(seed) for seed in range(60)} == set(range(NODES[0], NODES[1] + 1))


# Planted bugs


def _inventive(original: Any) -> Any:
    async def get(self: SharedMemory, key: str) -> tuple[bytes, int]:
        value, version = await original(self, key)
        return (b"\x01" if key == "plain1" else value), version

    return get


def _careless(original: Any) -> Any:
    """Takes every version for the one that is there."""

    async def set_(self: SharedMemory, key: str, value: bytes, ttl_s: Any, if_version: Any = None) -> Any:
        await trio.sleep(3)
        return await original(self, key, value, ttl_s)

    return set_


def _doubling(original: Any) -> Any:
    async def increment(self: SharedMemory, key: str, amount: int) -> Any:
        await original(self, key, amount)
        return await original(self, key, amount)

    return increment


def _stale(original: Any) -> Any:
    async def change(self: Registers, name: bytes, change: Any) -> Any:
        await original(self, name, change)
        return change(None)[1]

    return change


def _deaf(original: Any) -> Any:
    return lambda self, *args: None


def _slow(original: Any) -> Any:
    async def delete(self: SharedMemory, key: str) -> Any:
        await trio.sleep(40)
        return await original(self, key)

    return delete


def _refusing(error: Exception) -> Callable[[Any], Any]:
    def refusing(original: Any) -> Any:
        async def get(self: SharedMemory, key: str) -> Any:
            raise error

        return get

    return refusing


def _overlooking(original: Any) -> Any:
    return lambda self: original(self)[1:]


def _splitting(original: Any) -> Any:
    """Every node reads a version of its own."""

    numbers: dict[int, int] = {}

    async def get(self: SharedMemory, key: str) -> tuple[bytes, int]:
        value, version = await original(self, key)
        return value, version + numbers.setdefault(id(self), len(numbers))

    return get


def _late(original: Any) -> Any:
    numbers: dict[int, int] = {}
    return lambda self: original(self) + 3 * numbers.setdefault(id(self), len(numbers))


def _never_written(original: Any) -> Any:
    async def commit(self: VirtualStore) -> None:
        await trio.lowlevel.checkpoint()

    return commit


def _failing(original: Any) -> Any:
    def probed(self: Membership, *args: Any) -> None:
        raise ZeroDivisionError("sabotage")

    return probed


@pytest.mark.parametrize(
    "owner,name,sabotage,check",
    [
        (Membership, "_probed", _failing, "no node failed"),
        (RecordStore, "put", forgetful, "nothing acknowledged is lost"),
        (SharedMemory, "get", _inventive, "nobody reads what was never written"),
        (SharedMemory, "set", _careless, "of all who replace a version one wins"),
        (SharedMemory, "increment", _doubling, "no increment is lost or done twice"),
        (Registers, "change", _stale, "every history is linearizable"),
        (VirtualWorker, "_value", lying, "no task is accepted twice or wrong"),
        (ExecutionService, "assign", _deaf, "every job is done in the end"),
        (SharedMemory, "delete", _slow, "every operation ends in time"),
        (SharedMemory, "get", _refusing(NotAllowed("not for you")), "who gets no answer is told why"),
        (Membership, "present", _overlooking, "all find together after each storm"),
        (SharedMemory, "get", _refusing(Unavailable("not now")), "everything answers everybody in the end"),
        (SharedMemory, "get", _splitting, "everybody reads the same in the end"),
        (MeshTime, "now_s", _late, "clocks agree in the end"),
        (VirtualWorker, "kill", undying, "nothing is left running"),
        (VirtualStore, "commit", _never_written, "nothing piles up"),
    ],
)
def test_the_right_check_notices(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, sabotage: Bug, check: str
) -> None:
    assert check in broken_checks(monkeypatch, owner, name, sabotage, "mixed", nodes=4, seed=3, hours=SHORT_H)
