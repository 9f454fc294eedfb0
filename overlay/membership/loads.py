"""The latest load report of every node that sends us one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ..ids import NodeId
from ..wire.capabilities import LoadReport
from ..wire.gossip import LoadNews


class KnownLoad(msgspec.Struct, frozen=True):
    boot_id: bytes
    report: LoadReport
    at_s: float


class Loads:
    def __init__(self) -> None:
        self._loads: dict[NodeId, KnownLoad] = {}

    @property
    def known(self) -> Mapping[NodeId, KnownLoad]:
        return self._loads

    def heard(self, now_s: float, items: Iterable[LoadNews]) -> list[NodeId]:
        """Takes what is newer than what is known; returns whose load that was."""
        newer: list[NodeId] = []
        for item in items:
            node_id = NodeId(item.node_id)
            known = self._loads.get(node_id)
            if known and known.boot_id == item.boot_id and known.report.sequence >= item.load.sequence:
                continue
            self._loads[node_id] = KnownLoad(item.boot_id, item.load, now_s)
            newer.append(node_id)
        return newer

    def forget(self, node_id: NodeId) -> None:
        self._loads.pop(node_id, None)
