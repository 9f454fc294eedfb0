"""Fair share by submitter: whoever has had the least runs next, for a quantum.

Start-time fair queuing (Goyal, Vin, Cheng 1996): each submitter's virtual time is what its items have run. One who
comes, or comes back, begins where the others are, so that nobody saves up a share. What was picked counts as if it ran
as long as that submitter's items lately have, until it is known: several processors share fairly, too.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic

import msgspec

from .policy import Item
from .queues import Groups

WEIGHT: Final = 0.2
"""Of the latest run, in what a submitter's next one is expected to take."""
ACCOUNTS_SWEPT: Final = 1024
"""From so many accounts on, those that mean nothing any more are looked for."""


class _Account(msgspec.Struct):
    used_s: float
    expected_s: float
    here: int = 0
    """How many of its items are ready or running."""


class FairShare(Generic[Item]):
    name = "fair"
    preempts = True
    chooses = True

    def __init__(self, *, time_quantum_ms: int = 1000) -> None:
        self._quantum_s = time_quantum_ms / 1000
        self._ready: Groups[Item] = Groups()
        self._accounts: dict[Hashable, _Account] = {}
        self._charged_s: dict[Item, float] = {}
        """In advance, of what runs."""
        self._floor_s = 0.0
        """Where the one served last began: nobody begins below."""

    def add(self, now_s: float, item: Item) -> None:
        account = self._entered(item.submitter)
        self._ready.append(item, item.submitter, account.used_s)

    def put_back(self, item: Item) -> None:
        account = self._settle(item, 0.0)
        self._ready.put_first(item, item.submitter, account.used_s)

    def preempted(self, now_s: float, item: Item, ran_s: float) -> None:
        account = self._settle(item, ran_s)
        self._ready.append(item, item.submitter, account.used_s)

    def blocked(self, now_s: float, item: Item, ran_s: float) -> None:
        self._leave(item.submitter, self._settle(item, ran_s))

    def ended(self, now_s: float, item: Item, ran_s: float, *, completed: bool = True) -> None:
        if item in self._charged_s:
            self._leave(item.submitter, self._settle(item, ran_s))

    def peek(self, now_s: float) -> Item | None:
        return self._ready.first()

    def pick(self, now_s: float) -> Item | None:
        item = self._ready.take_first()
        if item is not None:
            account = self._accounts[item.submitter]
            self._floor_s = max(self._floor_s, account.used_s)
            self._charge(item, account, account.expected_s)
        return item

    def remove(self, key: int) -> Item | None:
        item = self._ready.remove(key)
        if item is not None:
            self._leave(item.submitter, self._accounts[item.submitter])
        return item

    def slice_s(self, item: Item) -> float:
        return self._quantum_s

    def rank(self, item: Item, ran_s: float) -> float:
        return 0.0

    def lengths(self) -> list[int]:
        return [len(self._ready)]

    def __len__(self) -> int:
        return len(self._ready)

    def _charge(self, item: Item, account: _Account, time_s: float) -> None:
        self._charged_s[item] = time_s
        account.used_s += time_s
        self._ready.rerank(item.submitter, account.used_s)

    def _entered(self, submitter: Hashable) -> _Account:
        account = self._accounts.get(submitter)
        if account is None:
            self._sweep()
            account = self._accounts[submitter] = _Account(self._floor_s, self._quantum_s)
        elif not account.here:
            account.used_s = max(account.used_s, self._floor_s)
        account.here += 1
        return account

    def _settle(self, item: Item, ran_s: float) -> _Account:
        charged_s = self._charged_s.pop(item, None)
        account = self._entered(item.submitter) if charged_s is None else self._accounts[item.submitter]
        account.used_s += ran_s - (charged_s or 0.0)
        if ran_s:
            account.expected_s += WEIGHT * (ran_s - account.expected_s)
        self._ready.rerank(item.submitter, account.used_s)
        return account

    def _leave(self, submitter: Hashable, account: _Account) -> None:
        account.here -= 1
        if not account.here and account.used_s <= self._floor_s:
            del self._accounts[submitter]

    def _sweep(self) -> None:
        if len(self._accounts) >= ACCOUNTS_SWEPT:
            kept = {who: one for who, one in self._accounts.items() if one.here or one.used_s > self._floor_s}
            self._accounts = kept
