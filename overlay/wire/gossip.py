"""Who is there and how busy: neighbours tell each other, and probe each other."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from .capabilities import LoadReport
from .codec import BootId, Count, HostName, Message, NodeName, RawId, Real, RequestId
from .opening import Port

ACCUSERS_MAX: Final = 8


class Status(IntEnum):
    ALIVE = 0
    SUSPECTED = 1
    DEAD = 2
    LEFT = 3


class Reach(IntEnum):
    """What a neighbour says of one it was asked to probe."""

    SILENT = 0
    ANSWERED = 1
    NOT_LINKED = 2


class MemberNews(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What the sender believes of one node. Higher incarnation wins; within one, the graver status."""

    node_id: RawId
    name: NodeName
    host: HostName
    """Empty when a node speaks of itself: its neighbours know where they reach it."""
    port: Port
    boot_id: BootId
    incarnation: Count
    status: Status
    accusers: Annotated[list[RawId], Meta(max_length=ACCUSERS_MAX)] = []
    """Of one who is suspected: who has asked and had no answer."""


class LoadNews(msgspec.Struct, frozen=True, array_like=True):
    node_id: RawId
    boot_id: BootId
    load: LoadReport


class PeerExchange(Message, frozen=True, tag=10):
    """To neighbours when something changed, and as a keep-alive. Not answered; repeats are harmless."""

    members: Annotated[list[MemberNews], Meta(max_length=1024)] = []
    loads: Annotated[list[LoadNews], Meta(max_length=1024)] = []
    digest: Count | None = None
    """Of all whom the sender holds for present, itself included. Who comes to another one sends its list."""


class Probe(Message, frozen=True, tag=11):
    """Are you there? Answered at once by ProbeAck."""

    request: RequestId
    time_s: Real


class ProbeAck(Message, frozen=True, tag=12):
    """With what the sender says of its clock (`clock.Said`)."""

    request: RequestId
    time_s: Real
    age_s: Real = 0.0
    wall_s: Real = 0.0


class IndirectProbe(Message, frozen=True, tag=13):
    """Is this neighbour of yours there? I hear nothing of it. Answered by IndirectAck, at the latest when the time for
    an answer is nearly over."""

    request: RequestId
    target: RawId


class IndirectAck(Message, frozen=True, tag=14):
    request: RequestId
    reach: Reach
