"""Who did not answer, for a while: longer each time, until it is heard again."""

from __future__ import annotations

from typing import Final, NamedTuple

from ..ids import NodeId

PAUSE_S: Final = 5.0
"""As long as membership takes to judge a neighbour, and some."""
PAUSE_MAX_S: Final = 300.0
KEPT_MAX: Final = 1024
"""The one set aside first is forgotten for one more."""


class _Pause(NamedTuple):
    until_s: float
    length_s: float


class Aside:
    def __init__(self) -> None:
        self._pauses: dict[NodeId, _Pause] = {}

    def put(self, now_s: float, node_id: NodeId, least_s: float = PAUSE_S) -> None:
        """It did not answer. Several questions that fail at the same time count as one."""
        before = self._pauses.pop(node_id, None)
        length_s = least_s
        if before is not None:
            again = before.until_s <= now_s
            length_s = min(max(2 * before.length_s if again else before.length_s, least_s), PAUSE_MAX_S)
            if not again and length_s == before.length_s:
                self._pauses[node_id] = before
                return
        self._pauses[node_id] = _Pause(now_s + length_s, length_s)
        if len(self._pauses) > KEPT_MAX:
            del self._pauses[next(iter(self._pauses))]

    def release(self, node_id: NodeId) -> bool:
        """It has been heard. Whether it had been set aside."""
        return self._pauses.pop(node_id, None) is not None

    def holds(self, now_s: float, node_id: NodeId) -> bool:
        pause = self._pauses.get(node_id)
        return pause is not None and pause.until_s > now_s

    def __len__(self) -> int:
        return len(self._pauses)
