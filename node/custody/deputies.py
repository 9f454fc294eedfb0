"""Who is to hold a job's log beside its master: a pure choice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from ...overlay.wire.joblog import DEPUTIES_MAX


def choose(job: str, present: Sequence[bytes], candidates: Iterable[bytes]) -> list[bytes]:
    """Who is deputy and is there stays; then others, in an order drawn by the job's name so that no node holds all
    logs. All are of the job's owner: whoever succeeds a master gives out work in the owner's name."""
    chosen = list(present[:DEPUTIES_MAX])
    others = sorted(
        (node_id for node_id in candidates if node_id not in chosen),
        key=lambda node_id: hashlib.sha256(job.encode() + node_id).digest(),
    )
    return chosen + others[: DEPUTIES_MAX - len(chosen)]
