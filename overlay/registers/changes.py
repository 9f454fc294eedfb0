"""Change functions: from the state that was agreed to the one to be agreed next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Final, Protocol

import msgspec
from msgspec import Meta

from ..errors import LimitExceeded, PotluckError, QuotaExceeded, Unavailable
from ..ids import ID_BYTES
from ..wire.codec import Count, RawId, decoded
from ..wire.framing import VALUE_BYTES_MAX
from ..wire.registers import (
    ACCEPTORS_MAX,
    FOUNDERS_MAX,
    RECENT_MAX,
    WITNESSES_MAX,
    Applied,
    Ballot,
    Configuration,
    State,
    Witness,
)
from .quorums import FOUNDERS, is_changing, moved, settled

ROOT: Final = b""
_DIRECTORY: Final = b"directory\0"
_DIRECTORIES: Final = 64
ENTRIES_OF_ONE_OWNER_MAX: Final = 3000
"""In each directory; not quite half of what it holds."""

Content = Callable[[bytes | None], tuple[bytes | None, Any]]
"""From the present content to the next and what the operation answers. An error it raises is its answer."""


class Step(Protocol):
    """From the present state to the next and what the operation answers; the same state where nothing changes."""

    def __call__(self, state: State, ballot: Ballot) -> tuple[State, Any]: ...


class ContentStep:
    """Applies a change of the content once, however often it is tried.

    An attempt that found no majority may have been completed by somebody else. Every change therefore leaves its token
    in the state; one that has scrolled out of it leaves its operation in doubt, which is said and not guessed.
    """

    def __init__(self, token: bytes, change: Content) -> None:
        self._token = token
        self._change = change
        self._answers: dict[int, Any] = {}
        self._first_index: int | None = None

    def __call__(self, state: State, ballot: Ballot) -> tuple[State, Any]:
        for applied in state.recent:
            if applied.token == self._token:
                if applied.counter in self._answers:
                    return state, self._answers[applied.counter]
                return state, Unavailable("an acceptor shows an attempt that was never made: it is not to be believed")
        if self._first_index is not None and state.index - RECENT_MAX >= self._first_index:
            return state, Unavailable("too much has happened meanwhile to tell whether the change was made")
        try:
            content, answer = self._change(state.content)
        except PotluckError as error:
            return state, error
        if content == state.content:
            return state, answer
        index = state.index + 1
        self._answers[ballot.counter] = answer
        self._first_index = index if self._first_index is None else min(self._first_index, index)
        recent = [*state.recent, Applied(self._token, ballot.counter)][-RECENT_MAX:]
        return State(state.configuration, index, content, recent), answer


def unchanged(state: State, ballot: Ballot) -> tuple[State, Any]:
    """A read."""
    return state, state.content


class ChosenAgain:
    """A read for whoever has to know under which ballot the state was chosen in the end."""

    def __init__(self) -> None:
        self.ballot = Ballot()

    def __call__(self, state: State, ballot: Ballot) -> tuple[State, Any]:
        self.ballot = ballot
        return unchanged(state, ballot)


class Move:
    """To other acceptors, unless they are changing already. `choose` goes by the acceptors that really are."""

    def __init__(self, choose: Callable[[Configuration], list[bytes]]) -> None:
        self._choose = choose

    def __call__(self, state: State, ballot: Ballot) -> tuple[State, Any]:
        configuration = state.configuration
        chosen = self._choose(configuration)
        if is_changing(configuration) or set(chosen) == set(configuration.acceptors):
            return state, None
        return msgspec.structs.replace(state, configuration=moved(configuration, chosen)), None


class Settle:
    """From a change of acceptors that was chosen, exactly this one, to the new acceptors alone."""

    def __init__(self, chosen: Configuration) -> None:
        self._chosen = chosen

    def __call__(self, state: State, ballot: Ballot) -> tuple[State, Any]:
        if state.configuration != self._chosen:
            return state, None
        return msgspec.structs.replace(state, configuration=settled(self._chosen)), None


# Directories: where registers begin


class Entry(msgspec.Struct, frozen=True, array_like=True):
    number: Count
    acceptors: Annotated[list[RawId], Meta(max_length=ACCEPTORS_MAX)]
    owner: Annotated[bytes, Meta(max_length=ID_BYTES)] = b""
    """Whose node has entered it."""


class Directory(msgspec.Struct, frozen=True, array_like=True):
    """Content of the root and of the directories: the acceptors of other registers, as they were first agreed and
    after every change that was reported since."""

    founding: bytes = b""
    """Of the root only."""
    entries: dict[bytes, Entry] = {}
    witnesses: Annotated[list[Witness], Meta(max_length=WITNESSES_MAX)] = []
    """Who stands for the founding; of the root only."""


_directory: Final = msgspec.msgpack.Decoder(Directory)


def root_content(state: State) -> Directory:
    return directory_of(state.content)


def directory_of(content: bytes | None) -> Directory:
    """Raises RemoteProtocolError for what no node of ours has written."""
    return Directory() if content is None else decoded(_directory, content, "a directory of registers")


def directory_for(name: bytes) -> bytes:
    """The register in which the first acceptors of `name` stand."""
    if name.startswith(_DIRECTORY):
        return ROOT
    return _DIRECTORY + bytes([hashlib.sha256(name).digest()[0] % _DIRECTORIES])


def _entry_key(name: bytes) -> bytes:
    """Short, whatever the name: directories are rewritten with every entry."""
    return hashlib.sha256(name).digest()[:16]


def enter(name: bytes, first: Entry) -> Content:
    """Answers with the entry of `name`, which is `first` if there was none."""
    key = _entry_key(name)

    def change(content: bytes | None) -> tuple[bytes | None, Entry]:
        directory = directory_of(content)
        present = directory.entries.get(key)
        if present is not None:
            return content, present
        if sum(entry.owner == first.owner for entry in directory.entries.values()) >= ENTRIES_OF_ONE_OWNER_MAX:
            raise QuotaExceeded("your machines have made as many agreed keys as one owner may: each of them stays")
        return _with(directory, key, first), first

    return change


def report(name: bytes, entry: Entry) -> Content:
    """Notes where a register has moved to, unless it is known to have moved on."""
    key = _entry_key(name)

    def change(content: bytes | None) -> tuple[bytes | None, None]:
        directory = directory_of(content)
        present = directory.entries.get(key)
        if present is not None and present.number >= entry.number:
            return content, None
        owner = entry.owner if present is None else present.owner
        return _with(directory, key, msgspec.structs.replace(entry, owner=owner)), None

    return change


def _with(directory: Directory, key: bytes, entry: Entry) -> bytes:
    entries = {**directory.entries, key: entry}
    content = msgspec.msgpack.encode(msgspec.structs.replace(directory, entries=entries))
    if len(content) > VALUE_BYTES_MAX:
        raise LimitExceeded("there are more agreed keys than their directory holds")
    return content


# The founding


class Found:
    """The root register's very first state; whoever finds one leaves it."""

    def __init__(self, founding: bytes, acceptors: list[bytes]) -> None:
        self._content = msgspec.msgpack.encode(Directory(founding))
        self._acceptors = acceptors

    def __call__(self, state: State, ballot: Ballot) -> tuple[State, Any]:
        if state.configuration.number != FOUNDERS:
            return state, None
        return State(moved(state.configuration, self._acceptors), 0, self._content), None


class SettleFounding:
    """From the founding to its acceptors alone, with those who bear witness to it written down."""

    def __init__(self, chosen: State, witnesses: list[Witness]) -> None:
        self._settle = Settle(chosen.configuration)
        self._content = msgspec.msgpack.encode(msgspec.structs.replace(root_content(chosen), witnesses=witnesses))

    def __call__(self, state: State, ballot: Ballot) -> tuple[State, Any]:
        following, _ = self._settle(state, ballot)
        if following is state:
            return state, None
        return msgspec.structs.replace(following, content=self._content), None


def founding_id(founders: int, draw: bytes) -> bytes:
    """Of two foundings the lower id stands: the one by more nodes."""
    return bytes([255 - min(founders, FOUNDERS_MAX // 2 - 1)]) + draw
