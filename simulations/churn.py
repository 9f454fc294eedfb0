"""Scenario `churn`: keys are set and read; then a fraction of the machines dies in one moment, and in that same moment
every key is read again. Nobody has been told of any death: silence is all there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import trio

from ..overlay.errors import PotluckError
from .checks import Check, check
from .entropy import named_stream
from .overlays import Overlay, Overlays
from .programs import Deed

KEYS_MIN: Final = 100
KEYS_MAX: Final = 500
VALUE_BYTES: Final = 100
SETTLE_S: Final = 5.0
"""After this, everyone knows what it has to hold."""
SPREAD_S: Final = 10.0
"""After this, the further copies of small values have been made."""
LIMITS_AT: Final = 200
"""Up to so many nodes the times are held to the limits below."""
BEFORE_S: Final = (0.12, 0.40)
AFTER_S: Final = (0.15, 1.2)
"""p50 and p99."""
_APART_S: Final = 0.05


class Reads(msgspec.Struct):
    took_s: list[float] = []
    failed: list[str] = []
    requests: int = 0
    """Everything asked meanwhile, late questions of the last gets not included."""

    def percentile_s(self, fraction: float) -> float | None:
        ordered = sorted(self.took_s)
        return round(ordered[min(int(len(ordered) * fraction), len(ordered) - 1)], 4) if ordered else None

    @property
    def ok(self) -> float:
        return len(self.took_s) / max(1, len(self.took_s) + len(self.failed))


class Outcome(msgspec.Struct):
    values: dict[bytes, bytes] = {}
    unwritten: list[str] = []
    before: Reads = msgspec.field(default_factory=Reads)
    after: Reads = msgspec.field(default_factory=Reads)
    killed: int = 0
    deeds: list[Deed] = []


class ChurnScenario:
    def __init__(self, world: Overlays, seed: int, nodes: int, kill: float) -> None:
        self._world = world
        self._draws = named_stream(seed, "scenario churn")
        self._nodes = nodes
        self._kills = min(round(kill * nodes), nodes - 1)
        self.outcome = Outcome()

    async def play(self) -> None:
        await self._world.gather(self._nodes)
        await trio.sleep(SETTLE_S)
        await self._set_all()
        await trio.sleep(SPREAD_S)
        await self._get_all(self.outcome.before)
        for overlay in self._draws.sample(self._world.alive, self._kills):
            self._world.power_off(overlay)
            self.outcome.killed += 1
        await self._get_all(self.outcome.after)

    async def _set_all(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(max(KEYS_MIN, min(self._nodes, KEYS_MAX))):
                await trio.sleep(_APART_S)
                value = self._draws.randbytes(VALUE_BYTES)
                nursery.start_soon(self._set, self._draws.choice(self._world.alive), b"key %d" % number, value)

    async def _set(self, overlay: Overlay, key: bytes, value: bytes) -> None:
        deed = self._deed("set", key, overlay)
        try:
            await overlay.replication.put("mem", key, value)
        except PotluckError as error:
            deed.error = error.kind
            self.outcome.unwritten.append(f"{key.decode()}: {error}")
        else:
            self.outcome.values[key] = value
        deed.returned_s = trio.current_time()

    def _deed(self, kind: str, key: bytes, overlay: Overlay) -> Deed:
        deed = Deed(kind, key.decode(), overlay.name, trio.current_time())
        self.outcome.deeds.append(deed)
        return deed

    async def _get_all(self, reads: Reads) -> None:
        """All of them at this moment, each by a node of its own."""
        requests = self._world.air.requests
        async with trio.open_nursery() as nursery:
            for key in sorted(self.outcome.values):
                nursery.start_soon(self._get, self._draws.choice(self._world.alive), key, reads)
        reads.requests = self._world.air.requests - requests

    async def _get(self, overlay: Overlay, key: bytes, reads: Reads) -> None:
        deed = self._deed("get", key, overlay)
        try:
            record = await overlay.replication.get("mem", key)
        except PotluckError as error:
            fault = str(error)
        else:
            fault = "not found" if record is None else ""
            if record is not None and record.value != self.outcome.values[key]:
                fault = "another value"
        deed.returned_s, deed.error = trio.current_time(), fault
        took_s = deed.returned_s - deed.called_s
        self._world.log.note(overlay.name, "got", f"{key.decode()} {fault or 'in'} {took_s:.4f} s")
        if fault:
            reads.failed.append(f"{overlay.name} got {key.decode()}: {fault}")
        else:
            reads.took_s.append(took_s)


def judge(world: Overlays, scenario: ChurnScenario) -> tuple[list[Check], dict[str, object]]:
    outcome = scenario.outcome
    before, after = outcome.before, outcome.after
    checks = [
        check("every write is acknowledged", outcome.unwritten, f"{len(outcome.values)} keys"),
        check("every key is read before anybody dies", before.failed, f"{len(before.took_s)} gets"),
        check("every key is read at once after", after.failed, f"{len(after.took_s)} gets, {outcome.killed} dead"),
        check("no get takes long", _slow(len(world.everyone), outcome), "within the limits"),
    ]
    figures: dict[str, object] = {
        "keys": len(outcome.values),
        "killed": outcome.killed,
        "get_ok_before": before.ok,
        "get_ok_after": after.ok,
        "get_p50_s_before": before.percentile_s(0.5),
        "get_p99_s_before": before.percentile_s(0.99),
        "get_p50_s_after": after.percentile_s(0.5),
        "get_p99_s_after": after.percentile_s(0.99),
        "get_rpcs_before": round(before.requests / max(1, len(before.took_s)), 2),
        "get_rpcs_after": round(after.requests / max(1, len(after.took_s)), 2),
    }
    return checks, figures


def _slow(nodes: int, outcome: Outcome) -> Iterator[str]:
    if nodes > LIMITS_AT:
        return
    for when, reads, limits_s in (("before", outcome.before, BEFORE_S), ("after", outcome.after, AFTER_S)):
        for fraction, limit_s in zip((0.5, 0.99), limits_s, strict=True):
            figure_s = reads.percentile_s(fraction)
            if figure_s is not None and figure_s > limit_s:
                yield f"p{fraction * 100:g} {when} is {figure_s:g} s, more than {limit_s:g}"
