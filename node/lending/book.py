"""Shell of quotas: what was taken is on disk a little later, and counts after a restart."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Callable
from typing import Final

import trio

from ...overlay.errors import Unavailable
from ...overlay.ports import Store
from .quotas import Quotas

logger = logging.getLogger("potluck.node")

WRITE_INTERVAL_S: Final = 2.0
"""What a killed node has not written is not charged."""
_TABLE: Final = "quota"
_HOUR: Final = struct.Struct(">Q")
_TAKEN: Final = struct.Struct(">d")


class QuotaBook:
    def __init__(self, quotas: Quotas, store: Store, mesh_time_s: Callable[[], float]) -> None:
        self._quotas = quotas
        self._store = store
        self._mesh_time_s = mesh_time_s

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts when it has read what is there."""
        for key, value in list(self._store.scan(_TABLE)):
            if (taken_s := _taken_s(value)) is None:
                logger.warning(
                    "the disk has garbled what an owner has taken of this machine: an hour of it is forgotten"
                )
                self._store.delete(_TABLE, key)
                continue
            owner, hour = key[: -_HOUR.size], key[-_HOUR.size :]
            self._quotas.begin_with(owner, _HOUR.unpack(hour)[0], taken_s)
        task_status.started()
        while True:
            await trio.sleep(WRITE_INTERVAL_S)
            await self.write()

    async def write(self) -> None:
        """What cannot be written waits for the next time."""
        dirty = False
        for owner, hour, cpu_s in self._quotas.changes():
            self._store.put(_TABLE, owner + _HOUR.pack(hour), _TAKEN.pack(cpu_s))
            dirty = True
        for owner, hour in self._quotas.forget_before(self._mesh_time_s()):
            self._store.delete(_TABLE, owner + _HOUR.pack(hour))
            dirty = True
        if not dirty:
            return
        try:
            await self._store.commit()
        except Unavailable as error:
            logger.warning("what owners have taken of this machine cannot be written: %s", error)


def _taken_s(value: bytes) -> float | None:
    """None for what this node has not written."""
    if len(value) != _TAKEN.size:
        return None
    taken_s = float(_TAKEN.unpack(value)[0])
    return taken_s if 0 <= taken_s < math.inf else None
