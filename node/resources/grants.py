"""Engine: memory and devices that are set aside for tasks which have asked for them.

    asked ──granted──▶ held ──ended──▶ free
      └──withdrawn, or nobody wants it any more──▶ gone

Properties: what is held together is never more than there is, and no device is held by two. A grant lasts until its
task has ended and its process is gone: one that is stopped, suspended or waits keeps it, for what it has put there
still lies there. Nobody is overtaken by who wants the same: those that have asked for memory are served in their
order, higher priority first, and those that have asked for devices likewise; so whoever asks for no more than there is
gets it once those before it have ended. Where purses are counted, what one of them pays for is never more than it
holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ...overlay.wire.needs import Needs


class Grant(NamedTuple):
    memory_bytes: int
    gpus: tuple[int, ...]


class Wish(NamedTuple):
    """`rank`: lower comes first, of equals who has asked earlier."""

    rank: int
    needs: Needs
    prefers: Callable[[], Iterable[int]]
    """Devices that it would have at once."""
    purse: bytes = b""
    """Whose memory it is counted as, of which each may have so much; empty: nobody's."""


class Grants:
    def __init__(self, memory_bytes: int, gpus: int, purse_bytes: int = 0) -> None:
        self._purse_bytes = purse_bytes
        self._purses: dict[int, tuple[bytes, int]] = {}
        """Whose memory is held by whom."""
        self._memory_bytes = memory_bytes
        self._gpus = gpus
        self.free_bytes = memory_bytes
        self._free_gpus = set(range(gpus))
        self._held: dict[int, Grant] = {}
        self._wishes: dict[int, Wish] = {}
        self._stirred = False

    @property
    def free_gpus(self) -> int:
        return len(self._free_gpus)

    def could_ever_fit(self, needs: Needs) -> bool:
        return needs.memory_bytes <= self._memory_bytes and needs.gpus <= self._gpus

    def held_by(self, number: int) -> Grant | None:
        return self._held.get(number)

    def ask(self, number: int, wish: Wish) -> None:
        """Answered by `granted`, unless it is released before. Only for what could ever fit."""
        assert number not in self._held and self.could_ever_fit(wish.needs)
        self._wishes[number] = wish
        self._stirred = True

    def asks(self, number: int) -> bool:
        return number in self._wishes

    def release(self, number: int) -> None:
        """It wants nothing any more, if it did, and has nothing."""
        if (grant := self._held.pop(number, None)) is not None:
            self.free_bytes += grant.memory_bytes
            self._free_gpus.update(grant.gpus)
            self._purses.pop(number, None)
        elif self._wishes.pop(number, None) is None:
            return
        self._stirred = True

    def granted(self) -> Iterator[int]:
        """Who has got what it asked for."""
        if not self._stirred:
            return
        self._stirred = False
        memory_is_awaited = gpus_are_awaited = False
        empty: set[bytes] = set()
        """Purses: who has one waits for itself, and for nobody else."""
        for number, wish in sorted(self._wishes.items(), key=lambda one: one[1].rank):
            needs = wish.needs
            if wish.purse in empty or not self._affords(wish):
                empty.add(wish.purse)
                continue
            overtakes = (needs.memory_bytes and memory_is_awaited) or (needs.gpus and gpus_are_awaited)
            if not overtakes and needs.memory_bytes <= self.free_bytes and needs.gpus <= len(self._free_gpus):
                self._grant(number, wish)
                yield number
            else:
                memory_is_awaited |= needs.memory_bytes > 0
                gpus_are_awaited |= needs.gpus > 0

    def _affords(self, wish: Wish) -> bool:
        if not wish.purse:
            return True
        spent = sum(size for purse, size in self._purses.values() if purse == wish.purse)
        return spent + wish.needs.memory_bytes <= self._purse_bytes

    def cannot_be(self, number: int, held_on: Iterable[int]) -> bool:
        """Whether what it asks for is not there as long as these hold what they have."""
        held = [grant for one in held_on if (grant := self._held.get(one)) is not None]
        needs = self._wishes[number].needs
        beside_bytes = self._memory_bytes - sum(grant.memory_bytes for grant in held)
        return needs.memory_bytes > beside_bytes or needs.gpus > self._gpus - sum(len(grant.gpus) for grant in held)

    def asking(self) -> Iterator[int]:
        yield from self._wishes

    def _grant(self, number: int, wish: Wish) -> None:
        del self._wishes[number]
        wanted = [gpu for gpu in wish.prefers() if gpu in self._free_gpus] if wish.needs.gpus else []
        gpus = (wanted + sorted(self._free_gpus.difference(wanted)))[: wish.needs.gpus]
        self._free_gpus.difference_update(gpus)
        self.free_bytes -= wish.needs.memory_bytes
        if wish.purse:
            self._purses[number] = wish.purse, wish.needs.memory_bytes
        self._held[number] = Grant(wish.needs.memory_bytes, tuple(sorted(gpus)))
