"""Everything that can go wrong with machines and the ways between them, drawn from a seed before any of it happens.

A plan is a row of storms, and each storm is followed by calm: everything is undone, and everybody must find together.
Two sorts of storm, because two promises meet at a price. What one side of a partition has acknowledged lies on that
side alone until the sides meet; whoever loses disks there meanwhile may lose it. So a storm either *isolates* or
*loses*:

| fault      | in storms that | what it is                                                                          |
|------------|----------------|-------------------------------------------------------------------------------------|
| `breaks`   | both           | every connection between two machines breaks                                        |
| `flickers` | both           | nothing passes between two machines for less than a second                          |
| `full`     | both           | a disk takes nothing more                                                           |
| misconduct | both           | the liar boasts, refuses, forges or babbles (`misconduct`)                          |
| `lags`     | losing         | the ways between two machines are slower, with a long tail                          |
| `jumps`    | losing         | a wall clock jumps by up to two hours, and back                                     |
| `drifts`   | losing         | a wall clock goes too fast or too slow                                              |
| `wiped`    | losing         | a machine dies with its disk and comes back as a node that nobody has met           |
| `gone`     | losing         | a machine dies for good                                                             |
| `flipped`  | losing         | a machine loses its power, and comes back with flipped bits in its records          |
| `stalls`   | isolating      | nothing passes between two machines for up to 20 s                                  |
| `crawls`   | isolating      | the ways between two machines have a heavy tail                                     |
| `clogs`    | isolating      | a trickle of bandwidth is left between two machines                                 |
| `parted`   | isolating      | two islands                                                                         |
| `unheard`  | isolating      | what some say reaches nobody else; they hear everybody                              |
| `paused`   | isolating      | a node takes no step, while time goes on                                            |
| `crashed`  | isolating      | processes are killed, or machines lose their power; their disks last                |
| `leaves`   | isolating      | a node says goodbye, and comes back                                                 |

A storm never loses more disks than a majority of five replicas (of all, in a smaller mesh) can spare, and never so many
clocks are wrong that the right ones are no majority.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

import msgspec

REPLICAS: Final = 5
CALM_S: Final = 12.0
"""After everybody has found together: for records to move and acceptors to be replaced."""
STORM_S: Final = (15.0, 30.0)
FAULTS: Final = (4, 9)
_STALL_S: Final = (0.1, 20.0)
_FLICKER_S: Final = (0.05, 0.9)
_PAUSE_S: Final = (0.2, 15.0)
_LAG_S: Final = (0.002, 0.02)
_CRAWL_S: Final = (0.05, 0.5)
_TRICKLE_BYTES_PER_S: Final = (2_000, 50_000)
_JUMP_S: Final = 7200.0
_DRIFT: Final = 0.05
_NODES_LEFT: Final = 5
"""So many must stay for a machine to be gone for good."""

PAIRS: Final = ("breaks", "flickers", "lags", "stalls", "crawls", "clogs")
LOSSES: Final = ("wiped", "gone", "flipped")
CLOCKS: Final = ("jumps", "drifts")
MISCONDUCT: Final = ("boasts", "refuses", "forges", "babbles")
BOTH: Final = ("breaks", "flickers", "full", "misconduct")
LOSING: Final = (*BOTH, "lags", *CLOCKS, *LOSSES)
ISOLATING: Final = (*BOTH, "stalls", "crawls", "clogs", "parted", "unheard", "paused", "crashed", "leaves")


class Fault(msgspec.Struct, frozen=True):
    """`whom`: one machine, the two ends of ways, or one side of a partition."""

    kind: str
    at_s: float
    """Since the storm began."""
    lasts_s: float
    whom: tuple[str, ...]
    amount: float = 0.0

    def shown(self) -> str:
        amount = f" {self.amount:g}" if self.amount else ""
        return f"{self.kind}{amount} {' '.join(self.whom)} for {self.lasts_s:.2f} s"


class Storm(msgspec.Struct, frozen=True):
    faults: tuple[Fault, ...]
    lasts_s: float
    loses: bool


class Plan(msgspec.Struct, frozen=True):
    storms: tuple[Storm, ...]

    @property
    def faults(self) -> Iterable[Fault]:
        return (fault for storm in self.storms for fault in storm.faults)


def spare_disks(nodes: int) -> int:
    """How many disks may be lost at once: one less than a majority of the holders that acknowledge."""
    return (min(nodes, REPLICAS) - 1) // 2


class Draw:
    """Draws one plan for these machines."""

    def __init__(self, names: list[str], liar: str, draws: random.Random, *, lossless: bool, kill: float) -> None:
        self._draws = draws
        self._liar = liar
        self._here = list(names)
        """Those who are not gone for good."""
        self._lossless = lossless
        self._crash = max(1, round(kill * len(names)))

    def plan(self, span_s: float) -> Plan:
        storms: list[Storm] = []
        left_s = span_s
        while left_s > 0:
            storms.append(self._storm(loses=not self._lossless and self._draws.random() < 0.5))
            left_s -= storms[-1].lasts_s + CALM_S
        return Plan(tuple(storms))

    def _storm(self, *, loses: bool) -> Storm:
        draws = self._draws
        lasts_s = draws.uniform(*STORM_S)
        budget = _Budget(len(self._here))
        faults: list[Fault] = []
        for _ in range(draws.randint(*FAULTS)):
            kind = draws.choice(LOSING if loses else ISOLATING)
            fault = self._fault(kind, lasts_s, budget)
            if fault is not None:
                faults.append(fault)
        for fault in faults:
            if fault.kind == "gone":
                self._here.remove(fault.whom[0])
        return Storm(tuple(sorted(faults, key=lambda fault: fault.at_s)), lasts_s, loses)

    def _fault(self, kind: str, storm_s: float, budget: _Budget) -> Fault | None:
        """None where the mesh is too small for it, or enough of it has been drawn."""
        at_s = self._draws.uniform(0, storm_s * 0.8)
        rest_s = storm_s - at_s
        if kind in PAIRS:
            return self._between(kind, at_s, rest_s)
        if kind in ("parted", "unheard"):
            return self._apart(kind, at_s, rest_s, budget)
        return self._of_one(kind, at_s, rest_s, budget)

    def _between(self, kind: str, at_s: float, rest_s: float) -> Fault | None:
        if len(self._here) < 2:
            return None
        draws = self._draws
        whom = tuple(draws.sample(self._here, 2))
        lasts_s, amount = draws.uniform(1, rest_s), 0.0
        match kind:
            case "breaks":
                lasts_s = 0.0
            case "flickers":
                lasts_s = draws.uniform(*_FLICKER_S)
            case "stalls":
                lasts_s = min(draws.uniform(*_STALL_S), rest_s)
            case "lags":
                amount = round(draws.uniform(*_LAG_S), 4)
            case "crawls":
                amount = round(draws.uniform(*_CRAWL_S), 3)
            case "clogs":
                amount = float(draws.randint(*_TRICKLE_BYTES_PER_S))
        return Fault(kind, at_s, lasts_s, whom, amount)

    def _apart(self, kind: str, at_s: float, rest_s: float, budget: _Budget) -> Fault | None:
        if len(self._here) < 2 or not budget.take("parted", 1):
            return None
        side = self._draws.sample(self._here, self._draws.randint(1, len(self._here) // 2))
        return Fault(kind, at_s, self._draws.uniform(min(1, rest_s), rest_s), tuple(sorted(side)))

    def _of_one(self, kind: str, at_s: float, rest_s: float, budget: _Budget) -> Fault | None:
        draws = self._draws
        if kind == "misconduct":
            if self._liar not in self._here or not budget.take(kind, 1):
                return None
            return Fault(draws.choice(MISCONDUCT), at_s, rest_s, (self._liar,))
        honest = [name for name in self._here if name != self._liar]
        if not self._may(kind, budget):
            return None
        lasts_s, amount = draws.uniform(min(1, rest_s), rest_s), 0.0
        whom: tuple[str, ...] = (draws.choice(honest),)
        match kind:
            case "jumps":
                amount = round(draws.choice((-1, 1)) * draws.uniform(1, _JUMP_S), 1)
            case "drifts":
                amount = round(draws.uniform(-_DRIFT, _DRIFT), 4)
            case "paused":
                lasts_s = min(draws.uniform(*_PAUSE_S), rest_s)
            case "crashed":
                whom = tuple(sorted(draws.sample(honest, min(len(honest), draws.randint(1, self._crash)))))
                amount = float(draws.randint(0, 1))
            case "gone":
                lasts_s = rest_s
        return Fault(kind, at_s, lasts_s, whom, amount)

    def _may(self, kind: str, budget: _Budget) -> bool:
        if kind == "gone" and (len(self._here) <= _NODES_LEFT or not budget.take(kind, 1)):
            return False
        if kind in LOSSES:
            return budget.take("disks", spare_disks(len(self._here)))
        if kind in CLOCKS:
            return budget.take("clocks", budget.clocks)
        return True


class _Budget:
    """How much of each thing one storm has used."""

    def __init__(self, nodes: int) -> None:
        wrong_from_the_start = nodes // 8
        self.clocks = max(0, (nodes - 1) // 2 - wrong_from_the_start)
        self._used: dict[str, int] = {}

    def take(self, what: str, most: int) -> bool:
        used = self._used.get(what, 0)
        self._used[what] = used + 1
        return used < most


def draw_plan(
    names: list[str], liar: str, draws: random.Random, span_s: float, *, lossless: bool = False, kill: float = 0.1
) -> Plan:
    """For about so long. `liar`: the only member that misbehaves, "" for none; `lossless`: no disk is lost; `kill`: the
    fraction of machines that may crash together."""
    return Draw(names, liar, draws, lossless=lossless, kill=kill).plan(span_s)
