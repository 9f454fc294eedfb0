"""Engine of one node's share in registers: what it has promised and what it has accepted.

An answer holds only once the write that comes with it is on disk; the caller sees to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from ..wire.registers import Accept, Accepted, Ballot, Prepare, Promise, State
from .changes import ROOT, root_content

NEVER: Final = Ballot()


class Slot(msgspec.Struct, frozen=True, array_like=True):
    """One register at one acceptor, as it lies on disk."""

    promised: Ballot = NEVER
    accepted: Ballot | None = None
    state: State | None = None


_decoder: Final = msgspec.msgpack.Decoder(Slot)

Write = tuple[bytes, bytes]
"""Key and value of what has to be on disk before the answer is given."""


def slot_key(founding: bytes, name: bytes) -> bytes:
    """The root exists once on a node, everything else once per founding: what was founded apart never mixes."""
    return b"" if name == ROOT else founding + name


class Acceptor:
    def __init__(self) -> None:
        self._slots: dict[bytes, Slot] = {}

    def load(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Takes up what an earlier run has written."""
        self._slots = {key: _decoder.decode(value) for key, value in entries}

    def __iter__(self) -> Iterator[tuple[bytes, State]]:
        """Every register of which a value was accepted here."""
        return ((key, slot.state) for key, slot in list(self._slots.items()) if slot.state is not None)

    def prepare(self, message: Prepare) -> tuple[Promise, Write | None]:
        key = slot_key(message.founding, message.name)
        slot, ballot = self._slots.get(key, Slot()), message.ballot
        if self._is_apart(key, slot, message.founding):
            return Promise(message.request, ballot, slot.promised, apart=True), None
        if ballot < slot.promised:
            return Promise(message.request, ballot, slot.promised), None
        write = self._write(key, msgspec.structs.replace(slot, promised=ballot))
        return Promise(message.request, ballot, ballot, slot.accepted, slot.state), write

    def accept(self, message: Accept) -> tuple[Accepted, Write | None]:
        key = slot_key(message.founding, message.name)
        slot, ballot = self._slots.get(key, Slot()), message.ballot
        if self._is_apart(key, slot, message.founding):
            return Accepted(message.request, ballot, slot.promised, apart=True), None
        if ballot < slot.promised:
            return Accepted(message.request, ballot, slot.promised), None
        return Accepted(message.request, ballot, ballot), self._write(key, Slot(ballot, ballot, message.state))

    def give_up_root(self) -> Write:
        """Forgets a root whose founding has given way. What was promised stays promised."""
        return self._write(b"", Slot(self._slots.get(b"", Slot()).promised))

    def _is_apart(self, key: bytes, slot: Slot, founding: bytes) -> bool:
        """A root of another founding; whoever has none yet may ask."""
        if key or not founding or slot.state is None:
            return False
        return root_content(slot.state).founding not in (b"", founding)

    def _write(self, key: bytes, slot: Slot) -> Write:
        self._slots[key] = slot
        return key, msgspec.msgpack.encode(slot)
