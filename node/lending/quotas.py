"""Engine: how much of this machine other owners may take, and have taken.

CPU time counts for 24 hours, by the hour: each owner has so much of it, and all together. What was taken is told to
whoever keeps it on disk, so that it counts after a restart, too. Time is the mesh's: an hour that lies ahead, because
time was wrong once, counts like the present one.

Property: whoever has less than its quota is not refused; whoever has reached it is, until hours that count hold less.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ...overlay.config import Quota
from ...overlay.errors import QuotaExceeded

HOUR_S = 3600
HOURS = 24


class Quotas:
    def __init__(self, rules: Quota) -> None:
        self.rules = rules
        self._taken: dict[bytes, dict[int, float]] = defaultdict(dict)
        """By owner and hour."""
        self._changed: set[tuple[bytes, int]] = set()

    def begin_with(self, owner: bytes, hour: int, cpu_s: float) -> None:
        """Of an earlier life."""
        self._taken[owner][hour] = cpu_s

    def charge(self, now_s: float, owner: bytes, cpu_s: float) -> None:
        if cpu_s <= 0:
            return
        hour = int(now_s // HOUR_S)
        hours = self._taken[owner]
        hours[hour] = hours.get(hour, 0.0) + cpu_s
        self._changed.add((owner, hour))

    def taken_s(self, now_s: float, owner: bytes) -> float:
        since = int(now_s // HOUR_S) - HOURS
        return sum(cpu_s for hour, cpu_s in self._taken.get(owner, {}).items() if hour > since)

    def refusal(self, now_s: float, owner: bytes) -> QuotaExceeded | None:
        rules = self.rules
        if rules.cpu_s and self.taken_s(now_s, owner) >= rules.cpu_s:
            return QuotaExceeded(f"its owner lends each of the others {rules.cpu_s:g} s of CPU time in 24 hours")
        if rules.total_cpu_s and sum(self.taken_s(now_s, one) for one in self._taken) >= rules.total_cpu_s:
            return QuotaExceeded(f"its owner lends the others {rules.total_cpu_s:g} s of CPU time in 24 hours")
        return None

    def changes(self) -> Iterator[tuple[bytes, int, float]]:
        """Since the last time: owner, hour and what it is now."""
        changed, self._changed = self._changed, set()
        for owner, hour in changed:
            yield owner, hour, self._taken[owner][hour]

    def forget_before(self, now_s: float) -> Iterator[tuple[bytes, int]]:
        """What does not count any more."""
        since = int(now_s // HOUR_S) - HOURS
        for owner, hours in list(self._taken.items()):
            for hour in [one for one in hours if one <= since and (owner, one) not in self._changed]:
                del hours[hour]
                yield owner, hour
            if not hours:
                del self._taken[owner]

    def row(self, now_s: float) -> dict[str, object]:
        """For a person."""
        rules = self.rules
        taken = {owner.hex(): round(self.taken_s(now_s, owner), 3) for owner in sorted(self._taken)}
        return {
            "cpu_s": rules.cpu_s or None,
            "total_cpu_s": rules.total_cpu_s or None,
            "memory": rules.memory_bytes or None,
            "disk": rules.disk_bytes or None,
            "taken": [{"owner": owner, "cpu_s": cpu_s} for owner, cpu_s in taken.items()],
        }
