"""Who is to hold a job's log beside its master: a pure choice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...overlay.wire.joblog import DEPUTIES_MAX


class Candidate(NamedTuple):
    """A member that is there, of the job's owner: whoever succeeds a master gives out work in the owner's name."""

    node_id: bytes


def choose(job: str, present: Sequence[bytes], candidates: Iterable[Candidate]) -> list[bytes]:
    """Who is deputy and is there stays; then others, in an order drawn by the job's name so that no node holds all
    logs."""
    chosen = list(present[:DEPUTIES_MAX])
    others = sorted(
        (one for one in candidates if one.node_id not in chosen),
        key=lambda one: hashlib.sha256(job.encode() + one.node_id).digest(),
    )
    return chosen + [one.node_id for one in others[: DEPUTIES_MAX - len(chosen)]]
