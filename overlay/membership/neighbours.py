"""Whom a node keeps a link to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from heapq import nsmallest
from itertools import islice

from ..config import Links
from ..ids import NodeId, distance
from .members import Members


def choose(own_id: NodeId, others: Iterable[NodeId], config: Links) -> set[NodeId]:
    """Everyone in a small mesh; in a larger one the nearest in id space, and some that are as good as random.

    The far ones are drawn by a hash of both ids: stable while members come and go, different for every node.
    """
    everyone = set(others)
    if len(everyone) < config.neighbours_full:
        return everyone
    nearest = nsmallest(config.neighbours_near, everyone, key=lambda node_id: distance(own_id, node_id))
    rest = everyone.difference(nearest)
    far = nsmallest(
        config.neighbours_random,
        rest,
        key=lambda node_id: hashlib.blake2b(own_id + node_id, digest_size=8).digest(),
    )
    return {*nearest, *far}


class Neighbours:
    """By the members that are present; reckoned anew only when somebody has come or gone."""

    def __init__(self, own_id: NodeId, config: Links, members: Members) -> None:
        self._own_id = own_id
        self._config = config
        self._members = members
        self._wanted: set[NodeId] = set()
        self._version = -1

    def wanted(self) -> set[NodeId]:
        """This node's own."""
        if self._version != self._members.version:
            self._version = self._members.version
            self._wanted = choose(self._own_id, self._members.present_ids, self._config)
        return self._wanted

    def of(self, node_id: NodeId) -> set[NodeId]:
        """Another node's, as far as it knows whom we know; this node may be among them."""
        others = {self._own_id, *self._members.present_ids} - {node_id}
        return choose(node_id, others, self._config)

    def superfluous(self, now_s: float, used_s: Mapping[NodeId, float]) -> list[NodeId]:
        """Of the linked, by when each was last used: those beyond what is kept for use, the longest unused first.
        Neighbours of either side are none, nor is who was used just now. So of links that are neither, `cached_max`
        are left."""
        wanted, config = self.wanted(), self._config
        excess = len(used_s.keys() - wanted) - config.cached_max
        if excess <= 0:
            return []
        unwanted = sorted((at_s, node_id) for node_id, at_s in used_s.items() if node_id not in wanted)
        idle = (node_id for at_s, node_id in unwanted if at_s <= now_s - config.cached_s)
        return list(islice((node_id for node_id in idle if self._own_id not in self.of(node_id)), excess))
