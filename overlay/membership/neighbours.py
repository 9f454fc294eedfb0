"""Whom a node keeps a link to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ..config import Links
from ..ids import NodeId, distance


def choose(own_id: NodeId, others: Iterable[NodeId], config: Links) -> set[NodeId]:
    """Everyone in a small mesh; in a larger one the nearest in id space, and some that are as good as random.

    The far ones are drawn by a hash of both ids: stable while members come and go, different for every node.
    """
    everyone = sorted(others)
    if len(everyone) < config.neighbours_full:
        return set(everyone)
    nearest = sorted(everyone, key=lambda node_id: distance(own_id, node_id))[: config.neighbours_near]
    rest = set(everyone) - set(nearest)
    far = sorted(rest, key=lambda node_id: hashlib.blake2b(own_id + node_id, digest_size=8).digest())
    return {*nearest, *far[: config.neighbours_random]}
