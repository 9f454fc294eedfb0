"""Why tasks wait: what `explain` tells."""

from __future__ import annotations

from typing import NamedTuple


class Waiting(NamedTuple):
    task: int
    """Its index."""
    reason: str
    lacking: tuple[tuple[str, str], ...] = ()
    """Nodes that cannot run it, and what they lack."""

    def as_dict(self, job: str) -> dict[str, object]:
        return {
            "task": f"{job}/{self.task}",
            "reason": self.reason,
            "lacking": [{"node": node, "what": what} for node, what in self.lacking],
        }
