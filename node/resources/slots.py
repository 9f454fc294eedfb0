"""Engine: the CPUs that a node lends. Whoever runs has a slot; whoever has asked for CPUs has a slot for each, and as
many cores to itself.

    free ──take──▶ taken ──give_back──▶ free

Properties: never are more slots taken than there are, and no core is had by two. Slots and cores go with running: a
task that is stopped, suspended or waits for its own tasks has given them back, and goes on, perhaps on other cores,
once there are as many free again. Who has asked for none has a slot, and runs on whichever cores the system finds for
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple


class Place(NamedTuple):
    slots: int
    cores: tuple[int, ...]


_ANYWHERE: Final = Place(1, ())


class Slots:
    def __init__(self, count: int, cores: Iterable[int]) -> None:
        self.count = count
        self.taken = 0
        self._free = set(cores)
        self._most = min(count, len(self._free))
        self._places: dict[int, Place] = {}

    @property
    def are_left(self) -> bool:
        return self.taken < self.count

    def could_ever_fit(self, cpus: int) -> bool:
        return cpus <= self._most

    def fit(self, cpus: int) -> bool:
        return self.taken + max(1, cpus) <= self.count and cpus <= len(self._free)

    def take(self, holder: int, cpus: int, before: Iterable[int] = ()) -> Place:
        """The cores it had `before`, as far as they are free, else the lowest. Only what fits, and once."""
        assert holder not in self._places and self.fit(cpus)
        if not cpus:
            self._places[holder] = _ANYWHERE
            self.taken += 1
            return _ANYWHERE
        again = [core for core in before if core in self._free]
        others = sorted(self._free.difference(again))
        place = self._places[holder] = Place(cpus, tuple(sorted((again + others)[:cpus])))
        self._free.difference_update(place.cores)
        self.taken += place.slots
        return place

    def give_back(self, holder: int) -> None:
        place = self._places.pop(holder)
        self._free.update(place.cores)
        self.taken -= place.slots
