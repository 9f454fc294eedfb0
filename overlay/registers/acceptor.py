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


_ROOT_KEY: Final = b""


def slot_key(founding: bytes, name: bytes) -> bytes:
    """The root is in force once on a node, everything else exists once per founding: what was founded apart never
    mixes. A root that is not in force lies aside under its founding's id."""
    return _ROOT_KEY if name == ROOT else founding + name


class Acceptor:
    def __init__(self) -> None:
        self._slots: dict[bytes, Slot] = {}
        self._founding = b""
        """That this node holds to; empty while it knows of none."""

    def load(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Takes up what an earlier run has written."""
        self._slots = {key: _decoder.decode(value) for key, value in entries}

    def __iter__(self) -> Iterator[tuple[bytes, State]]:
        """Every register of which a value was accepted here."""
        return ((key, slot.state) for key, slot in list(self._slots.items()) if slot.state is not None)

    def prepare(self, message: Prepare) -> tuple[Promise, Write | None]:
        key = slot_key(message.founding, message.name)
        slot, ballot = self._slots.get(key, Slot()), message.ballot
        if self._is_apart(key, slot, message):
            return Promise(message.request, ballot, slot.promised, apart=True), None
        if ballot < slot.promised:
            return Promise(message.request, ballot, slot.promised), None
        write = self._write(key, msgspec.structs.replace(slot, promised=ballot))
        return Promise(message.request, ballot, ballot, slot.accepted, slot.state), write

    def accept(self, message: Accept) -> tuple[Accepted, Write | None]:
        key = slot_key(message.founding, message.name)
        slot, ballot = self._slots.get(key, Slot()), message.ballot
        if self._is_apart(key, slot, message):
            return Accepted(message.request, ballot, slot.promised, apart=True), None
        if ballot < slot.promised:
            return Accepted(message.request, ballot, slot.promised), None
        return Accepted(message.request, ballot, ballot), self._write(key, Slot(ballot, ballot, message.state))

    def hold_to(self, founding: bytes) -> list[Write]:
        """From now on the root is that of this founding. Another one's is put aside with what was promised for it, and
        comes back should that founding do so."""
        self._founding = founding
        root = self._slots.get(_ROOT_KEY, Slot())
        theirs = _founding_of(root.state)
        aside = self._slots.get(founding, Slot())
        if theirs == founding or (theirs == b"" and aside.state is None):
            return []
        restored = msgspec.structs.replace(aside, promised=max(aside.promised, root.promised))
        moved = [(theirs, root)] if theirs else []
        return [self._write(key, slot) for key, slot in (*moved, (_ROOT_KEY, restored), (founding, Slot()))]

    def _is_apart(self, key: bytes, slot: Slot, message: Prepare | Accept) -> bool:
        """Whether this is about a root of another founding than ours; whoever knows of none yet may ask."""
        if key != _ROOT_KEY:
            return False
        theirs = {message.founding, _founding_of(message.state) if isinstance(message, Accept) else b""}
        ours = self._founding or _founding_of(slot.state)
        return bool(ours) and not theirs <= {b"", ours}

    def _write(self, key: bytes, slot: Slot) -> Write:
        self._slots[key] = slot
        return key, msgspec.msgpack.encode(slot)


def _founding_of(state: State | None) -> bytes:
    return b"" if state is None else root_content(state).founding
