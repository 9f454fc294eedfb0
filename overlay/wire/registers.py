"""Registers: single values agreed by majorities (CASPaxos), and the questions their proposers ask."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from .codec import Count, Message, RawId, RequestId
from .framing import VALUE_BYTES_MAX
from .opening import CertificateDer

PROPOSER_BYTES = 28
ACCEPTORS_MAX = 16
FOUNDERS_MAX = 512
RECENT_MAX = 32
FOUNDING_BYTES = 8
WITNESSES_MAX = 8

RegisterName = Annotated[bytes, Meta(max_length=1100)]
FoundingId = Annotated[bytes, Meta(max_length=FOUNDING_BYTES)]
"""Which founding of the mesh's registers is meant; empty while there is none."""


Counter = Annotated[int, Meta(ge=0, lt=1 << 50)]
"""Well below what the wire carries elsewhere: whoever outruns a peer stays within its own type."""


class Ballot(msgspec.Struct, frozen=True, array_like=True, order=True):
    """`proposer`: node id and eight bytes drawn at its start, so that no two boots ever share a ballot."""

    counter: Counter = 0
    proposer: Annotated[bytes, Meta(max_length=PROPOSER_BYTES)] = b""


class Configuration(msgspec.Struct, frozen=True, array_like=True):
    """Who has to agree: a majority of `acceptors`, and of `previous` too while one follows the other.

    0 and 1 are the founding, where all of `acceptors` and all of `previous` have to agree; 2 is where any other
    register begins.
    """

    number: Count
    acceptors: Annotated[list[RawId], Meta(max_length=FOUNDERS_MAX)]
    previous: Annotated[list[RawId], Meta(max_length=FOUNDERS_MAX)] = []


class Applied(msgspec.Struct, frozen=True, array_like=True):
    """A change that is part of the value: whose, and in which of its attempts."""

    token: Annotated[bytes, Meta(max_length=16)]
    counter: Count


class State(msgspec.Struct, frozen=True, array_like=True):
    """The value of a register: what it holds, and who its acceptors are."""

    configuration: Configuration
    index: Count = 0
    """How many changes of the content there were."""
    content: Annotated[bytes, Meta(max_length=VALUE_BYTES_MAX + 1024)] | None = None
    recent: Annotated[list[Applied], Meta(max_length=RECENT_MAX)] = []
    """The last changes, oldest first: whoever tries again finds its own."""


class Witness(msgspec.Struct, frozen=True, array_like=True):
    """A node that has agreed to a founding. Whose node it is, is proved by its chain, leaf first."""

    chain: Annotated[list[CertificateDer], Meta(min_length=2, max_length=8)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Prepare(Message, frozen=True, tag=40):
    """Promise to accept nothing below this ballot, and say what was accepted. Answer: Promise."""

    request: RequestId
    founding: FoundingId
    name: RegisterName
    ballot: Ballot


class Promise(Message, frozen=True, tag=41):
    """Given when `promised` is the ballot asked for; else that one is higher. Sent when it is on disk."""

    request: RequestId
    ballot: Ballot
    """The one asked for."""
    promised: Ballot
    accepted: Ballot | None = None
    state: State | None = None
    """What was accepted under `accepted`."""
    apart: bool = False
    """Refused: this node's registers come from another founding."""


class Accept(Message, frozen=True, tag=42):
    """Take this value. Answer: Accepted."""

    request: RequestId
    founding: FoundingId
    name: RegisterName
    ballot: Ballot
    state: State


class Accepted(Message, frozen=True, tag=43):
    """Taken when `promised` is the ballot asked for; else that one is higher. Sent when it is on disk."""

    request: RequestId
    ballot: Ballot
    promised: Ballot
    apart: bool = False
    witness: Witness | None = None
    """To the founding, where that is what was taken."""


class Founded(Message, frozen=True, tag=44):
    """Which founding the sender's registers belong to, who bears witness to it, and its root's acceptors now."""

    founding: FoundingId
    configuration: Configuration
    witnesses: Annotated[list[Witness], Meta(max_length=WITNESSES_MAX)] = []
