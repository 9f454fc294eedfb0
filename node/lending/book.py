"""Shell of quotas: what was taken is on disk a little later, and counts after a restart."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import trio

from ...overlay.ports import Store
from .quotas import Quotas

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
            owner, hour = key[: -_HOUR.size], key[-_HOUR.size :]
            self._quotas.begin_with(owner, _HOUR.unpack(hour)[0], _TAKEN.unpack(value)[0])
        task_status.started()
        while True:
            await trio.sleep(WRITE_INTERVAL_S)
            await self.write()

    async def write(self) -> None:
        dirty = False
        for owner, hour, cpu_s in self._quotas.changes():
            self._store.put(_TABLE, owner + _HOUR.pack(hour), _TAKEN.pack(cpu_s))
            dirty = True
        for owner, hour in self._quotas.forget_before(self._mesh_time_s()):
            self._store.delete(_TABLE, owner + _HOUR.pack(hour))
            dirty = True
        if dirty:
            await self._store.commit()
