"""Bugs that a drawn seed has found, each with the seed that found it. Each has a direct test, too, beside the code that
was wrong: a seed's events move with the code, so that it need not meet for ever what it once met.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pytest
from potluck.simulations.run import run_with_log


@dataclass(frozen=True)
class Named:
    what: str
    found_by: str
    """The check of scenario `mixed` that did not hold."""
    seed: int
    nodes: int
    hit: float = 0.0
    """The fraction of messages that are lost, and of those that come twice."""


FOUND = [
    Named("a node with a flipped bit in a record did not start", "no node failed", 4, 4),
    Named("a worker that missed the end of a job kept its sandboxes for ever", "nothing is left running", 26, 6),
    Named("a worker that was held for dead for a moment did so, too", "nothing is left running", 54, 6),
    Named("a node that heard of the founding while its disk was full ended", "no node failed", 1, 7),
    Named("disks lost one after another took agreed values along", "everything answers everybody in the end", 1000, 3),
    Named(
        "what was said on a link that only one side had lost was never said again",
        "every job is done in the end",
        1034,
        4,
    ),
    Named("one liar refused for holders that were silent just then", "who gets no answer is told why", 6, 4),
    Named(
        "the one holder still in reach refused for those that were cut off", "who gets no answer is told why", 2012, 4
    ),
    Named("the founding gave up whoever was late", "everything answers everybody in the end", 2001, 9, hit=0.3),
    Named("the parts of a first increment had no limit together", "every operation ends in time", 70018, 10, hit=0.3),
    Named(
        "what was answered while one of two links was ended found none, though there was the other",
        "every job is done in the end",
        300022,
        5,
    ),
    Named(
        "a node without a memory that nobody heard founded anew",
        "no increment is lost or done twice",
        415196,
        10,
    ),
    Named(
        "a register that was begun later than placed kept two acceptors",
        "everything answers everybody in the end",
        415336,
        3,
    ),
    Named("a task was given up while its arguments could not arrive", "every job is done in the end", 400263, 10),
]


_EVERY_DAY: Final = (4, 1000, 2012)
"""Five minutes of a mesh take a while: the direct tests of the others are for every day."""


def _case(named: Named) -> Any:
    marks = [pytest.mark.nightly] if named.seed not in _EVERY_DAY else []
    return pytest.param(named, marks=marks, id=f"{named.seed}: {named.what}")


@pytest.mark.parametrize("named", [_case(named) for named in FOUND])
def test_what_a_seed_has_found_stays_mended(named: Named) -> None:
    answer, log = run_with_log("mixed", seed=named.seed, nodes=named.nodes, loss=named.hit, duplicate=named.hit)
    checks: Any = answer["checks"]
    assert named.found_by in {check["name"] for check in checks}
    broken = [check for check in checks if not check["held"]]
    assert not broken, "\n".join([str(answer["replay"]), *map(str, broken), *log[-20:]])
