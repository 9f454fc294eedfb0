"""When a worker has served enough, and what spares get ready for. No I/O.

A worker is ended, as soon as it has nothing to do, after so many tasks; when at rest it has grown by so much since its
first task was over; and when what is installed here is no longer what it began with. A fresh one takes its place.

Spares import, while they wait, what jobs have lately used of the packages that take long to import.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from ...overlay.config import Execution
from ...overlay.wire.limits import Limits
from ...overlay.wire.worker import WarmUp
from .tasks import Task, Worker

WARMED: Final = ("numpy", "scipy", "pandas", "pyarrow", "PIL")
"""Nothing larger: what waits in every spare takes its memory, whether anybody comes for it or not."""
PROGRAMS_KEPT: Final = 16
ROOMY_BYTES: Final = 1 << 30
"""Of memory: who is given less may miss what the packages take."""


class Wear:
    def __init__(self, config: Execution) -> None:
        self._tasks_max = config.worker_tasks_max
        self._growth_bytes_max = config.worker_growth_bytes_max

    def ran(self, worker: Worker, task: Task) -> None:
        """To its own end. What nobody has looked at was too short to matter."""
        worker.served += 1
        used = task.process.used
        if used is not None and worker.settled_bytes is None:
            worker.settled_bytes = used.memory_bytes
        grown_bytes = used.memory_bytes - (worker.settled_bytes or 0) if used is not None else 0
        if worker.served >= self._tasks_max or grown_bytes > self._growth_bytes_max:
            worker.worn = True


class Warming:
    def __init__(self) -> None:
        self._used: deque[tuple[str, ...]] = deque(maxlen=PROGRAMS_KEPT)

    def seen(self, modules: Iterable[str]) -> bool:
        """A program of a job uses these. Whether that is news to spares."""
        before = self.message
        self._used.append(tuple(name for name in modules if name in WARMED))
        return self.message is not None and self.message != before

    @property
    def message(self) -> WarmUp | None:
        """What a spare is told."""
        wanted = {name for names in self._used for name in names}
        return WarmUp([name for name in WARMED if name in wanted]) if wanted else None


def is_fit(worker: Worker, limits: Limits) -> bool:
    """Packages take memory and threads, which count as if the job had taken them."""
    return not worker.warmed or (not limits.processes and not 0 < limits.memory_bytes < ROOMY_BYTES)
