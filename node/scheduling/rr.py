"""Round robin (Silberschatz, Galvin, Gagne, Operating System Concepts, §5.3.3): everybody in turn, for a quantum.

With n items ready none waits longer than (n - 1) quanta for its next turn on one processor.
"""

from __future__ import annotations

from .fcfs import FirstCome
from .policy import SLICE_TOLERANCE_S, Item


class RoundRobin(FirstCome[Item]):
    name = "rr"
    preempts = True
    chooses = True

    def __init__(self, *, time_quantum_ms: int = 1000) -> None:
        super().__init__()
        self._quantum_s = time_quantum_ms / 1000

    def preempted(self, now_s: float, item: Item, ran_s: float) -> None:
        if ran_s >= self._quantum_s - SLICE_TOLERANCE_S:
            self._ready.append(item)
        else:
            self._ready.put_first(item)

    def slice_s(self, item: Item) -> float:
        return self._quantum_s
