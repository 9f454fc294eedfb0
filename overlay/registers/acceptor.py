"""Engine of one node's share in registers: what it has promised and what it has accepted.

An answer holds only once the write that comes with it is on disk; the caller sees to that.

An acceptor that has forgotten a promise must not vote: it could help two values to be chosen. So what lies on disk is
sealed together with its key, and as long as one entry there is damaged (whose, its key may not tell any more) the
acceptor *doubts* every register of which it holds no sound entry:

| entry             | all others are sound | one is damaged                                                      |
|-------------------|----------------------|---------------------------------------------------------------------|
| sound             | answers              | answers                                                             |
| none, or damaged  | answers as new       | refuses, until `restored` with what others have chosen without it   |

A name that was asked about once is kept for ever, so that of one owner's nodes only so many are taken: more than all
directories together hold, so that no node that speaks truly is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ..ids import ID_BYTES
from ..sealing import opened, sealed
from ..wire.registers import Accept, Accepted, Ballot, Prepare, Promise, State
from .changes import ROOT, root_content

NEVER: Final = Ballot()
NAMES_OF_ONE_OWNER_MAX: Final = 1 << 19


class Slot(msgspec.Struct, frozen=True, array_like=True):
    """One register at one acceptor, as it lies on disk."""

    promised: Ballot = NEVER
    accepted: Ballot | None = None
    state: State | None = None
    brought_by: Annotated[bytes, Meta(max_length=ID_BYTES)] = b""
    """The owner whose node has asked about it first."""


_decoder: Final = msgspec.msgpack.Decoder(tuple[bytes, Slot])

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
        self._damaged: set[bytes] = set()
        self._names: Counter[bytes] = Counter()
        """How many each owner has brought."""

    def load(self, entries: Iterable[tuple[bytes, bytes]]) -> int:
        """Takes up what an earlier run has written; answers how many entries are damaged. These stay on disk until
        they are restored: the next run is to know of them, too."""
        for key, written in entries:
            slot = _read(key, written)
            if slot is None:
                self._damaged.add(key)
            else:
                self._slots[key] = slot
                self._names[slot.brought_by] += 1
        return len(self._damaged)

    def __iter__(self) -> Iterator[tuple[bytes, State]]:
        """Every register of which a value was accepted here."""
        return ((key, slot.state) for key, slot in list(self._slots.items()) if slot.state is not None)

    def accepted(self, founding: bytes, name: bytes) -> Accept | None:
        """The proposal that it has accepted last, as its proposer has sent it."""
        slot = self._slots.get(slot_key(founding, name), Slot())
        if slot.accepted is None or slot.state is None:
            return None
        return Accept(0, founding, name, slot.accepted, slot.state)

    def doubts(self, founding: bytes, name: bytes) -> bool:
        """Whether it may have forgotten what it promised for this register."""
        return bool(self._damaged) and slot_key(founding, name) not in self._slots

    def restored(self, founding: bytes, name: bytes, ballot: Ballot, state: State) -> Write:
        """Others have chosen this state under this ballot, in a round that this node has begun since it doubts, and in
        which it had no vote. Whoever it had promised a higher ballot has asked one of them, too, or has given up."""
        return self._write(slot_key(founding, name), Slot(ballot, ballot, state))

    def prepare(self, message: Prepare, owner: bytes = b"") -> tuple[Promise, Write | None]:
        """`owner`: whose node asks."""
        key = slot_key(message.founding, message.name)
        slot, ballot = self._slots.get(key, Slot(brought_by=owner)), message.ballot
        if self._is_apart(key, slot, message):
            return Promise(message.request, ballot, slot.promised, apart=True), None
        if not self._votes(key, owner):
            return Promise(message.request, ballot, NEVER), None
        if ballot < slot.promised:
            return Promise(message.request, ballot, slot.promised), None
        write = self._write(key, msgspec.structs.replace(slot, promised=ballot))
        return Promise(message.request, ballot, ballot, slot.accepted, slot.state), write

    def accept(self, message: Accept, owner: bytes = b"") -> tuple[Accepted, Write | None]:
        key = slot_key(message.founding, message.name)
        slot, ballot = self._slots.get(key, Slot(brought_by=owner)), message.ballot
        if self._is_apart(key, slot, message):
            return Accepted(message.request, ballot, slot.promised, apart=True), None
        if not self._votes(key, owner):
            return Accepted(message.request, ballot, NEVER), None
        if ballot < slot.promised:
            return Accepted(message.request, ballot, slot.promised), None
        write = self._write(key, Slot(ballot, ballot, message.state, slot.brought_by))
        return Accepted(message.request, ballot, ballot), write

    def _votes(self, key: bytes, owner: bytes) -> bool:
        return key in self._slots or not (self._damaged or self._names[owner] >= NAMES_OF_ONE_OWNER_MAX)

    def hold_to(self, founding: bytes) -> list[Write]:
        """From now on the root is that of this founding, or of none. Another one's is put aside with what was promised
        for it, and comes back should that founding do so."""
        self._founding = founding
        root = self._slots.get(_ROOT_KEY, Slot())
        theirs = _founding_of(root.state)
        aside = self._slots.get(founding, Slot()) if founding else Slot()
        if theirs == founding or (theirs == b"" and aside.state is None):
            return []
        restored = msgspec.structs.replace(aside, promised=max(aside.promised, root.promised))
        moved = [(theirs, root)] if theirs else []
        emptied = [(founding, Slot())] if founding else []
        return [self._write(key, slot) for key, slot in (*moved, (_ROOT_KEY, restored), *emptied)]

    def _is_apart(self, key: bytes, slot: Slot, message: Prepare | Accept) -> bool:
        """Whether this is about a root of another founding than ours; whoever knows of none yet may ask."""
        if key != _ROOT_KEY:
            return False
        theirs = {message.founding, _founding_of(message.state) if isinstance(message, Accept) else b""}
        ours = self._founding or _founding_of(slot.state)
        return bool(ours) and not theirs <= {b"", ours}

    def _write(self, key: bytes, slot: Slot) -> Write:
        self._names[slot.brought_by] += key not in self._slots
        self._slots[key] = slot
        self._damaged.discard(key)
        return key, sealed(msgspec.msgpack.encode((key, slot)))


def _read(key: bytes, written: bytes) -> Slot | None:
    """None for an entry that is not as it was written, or not where."""
    packed = opened(written)
    if packed is None:
        return None
    where, slot = _decoder.decode(packed)
    return slot if where == key else None


def _founding_of(state: State | None) -> bytes:
    return b"" if state is None else root_content(state).founding
