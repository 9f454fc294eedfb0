"""Engine: whom a node dials by itself.

*Neighbours* that are wanted and not linked, every `dial_interval_s`, rarer when nobody answers; at once and often one
whose link was lost. And *the dead*, one at a time, the last dialled last: a part of the mesh that was cut off, or a
machine that slept, does not come by itself where there is no multicast. One that answers is enough: both sides compare
their lists, and whoever was held for dead refutes it.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from ..config import Membership as MembershipConfig
from ..ids import NodeId
from ..wire.gossip import Status
from .members import Member, Members
from .neighbours import Neighbours

_PAUSE_S: Final = 0.2
"""Who is a neighbour is reckoned no more often than this while members come and go."""
_DOUBLINGS_MAX: Final = 10


class Dial(msgspec.Struct, frozen=True):
    """Try to reach it."""

    member: Member


class Dialling:
    def __init__(self, own_id: NodeId, config: MembershipConfig, members: Members, neighbours: Neighbours) -> None:
        self._own_id = own_id
        self._config = config
        self._members = members
        self._neighbours = neighbours
        self._neighbours_s = math.inf
        self._reunion_s = math.inf
        self._reckoned_s = -math.inf
        self._reckoned_version = 0

    @property
    def due_s(self) -> float:
        return min(self._neighbours_s, self._reunion_s)

    def lost(self, now_s: float) -> None:
        """Somebody's link."""
        self._neighbours_s = now_s

    def ended(self, now_s: float, member: Member) -> None:
        member.redialled_s = now_s
        self._reunion_s = min(self._reunion_s, now_s + self._config.reunion_interval_s)

    def changed(self, now_s: float) -> None:
        """After every event."""
        if self._reckoned_version != self._members.version:
            self._neighbours_s = min(self._neighbours_s, max(now_s, self._reckoned_s + _PAUSE_S))

    def tick(self, now_s: float) -> list[Dial]:
        dials = self._neighbours_due(now_s) if now_s >= self._neighbours_s else []
        return [*dials, *self._reunion(now_s)] if now_s >= self._reunion_s else dials

    def _neighbours_due(self, now_s: float) -> list[Dial]:
        members = self._members
        self._reckoned_s, self._reckoned_version, self._neighbours_s = now_s, members.version, math.inf
        lost = {node_id for node_id in members.suspected if self._own_id in members.by_id[node_id].accusers}
        dials = []
        for node_id in sorted((self._neighbours.wanted() | lost) - members.linked):
            member = members.by_id[node_id]
            pause_s = self._config.probe_timeout_s if node_id in lost else self._pause_s(member)
            if member.redialled_s + pause_s <= now_s:
                member.redialled_s = now_s
                dials.append(Dial(member))
            self._neighbours_s = min(self._neighbours_s, member.redialled_s + pause_s)
        return dials

    def _pause_s(self, member: Member) -> float:
        doublings = min(max(0, member.dials_failed - self._config.hearsay_tries), _DOUBLINGS_MAX)
        return min(self._config.dial_interval_s * (1 << doublings), self._config.dial_interval_max_s)

    def _reunion(self, now_s: float) -> list[Dial]:
        """One of the dead. Who ended long ago is forgotten on the way."""
        members, config = self._members, self._config
        while members.ended:
            first = members.by_id[next(iter(members.ended))]
            if now_s - first.since_s < config.forget_s:
                break
            members.forget(first.node_id)
        dead = [one for node_id in members.ended if (one := members.by_id[node_id]).status is Status.DEAD]
        if not dead:
            self._reunion_s = now_s + config.forget_s if members.ended else math.inf
            return []
        often = now_s - max(one.since_s for one in dead) < config.reunion_often_s
        self._reunion_s = now_s + (config.reunion_interval_s if often else config.reunion_rare_interval_s)
        longest = min(dead, key=lambda one: (one.redialled_s, one.node_id))
        longest.redialled_s = now_s
        return [Dial(longest)]
