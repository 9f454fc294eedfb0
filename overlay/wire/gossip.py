"""Who is there and how busy: neighbours tell each other, and probe each other."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from .capabilities import LoadReport
from .codec import BootId, Count, HostName, Message, NodeName, RawId, RequestId
from .opening import Port


class Status(IntEnum):
    ALIVE = 0
    SUSPECTED = 1
    DEAD = 2
    LEFT = 3


class MemberNews(msgspec.Struct, frozen=True, array_like=True):
    """What the sender believes of one node. Higher incarnation wins; within one, the graver status."""

    node_id: RawId
    name: NodeName
    host: HostName
    port: Port
    boot_id: BootId
    incarnation: Count
    status: Status
    age_s: float = 0.0
    """How long ago the sender has had a sign of life."""


class LoadNews(msgspec.Struct, frozen=True, array_like=True):
    node_id: RawId
    boot_id: BootId
    load: LoadReport


class PeerExchange(Message, frozen=True, tag=10):
    """To every neighbour when something changed, and as a keep-alive. Not answered; repeats are harmless."""

    members: Annotated[list[MemberNews], Meta(max_length=1024)] = []
    loads: Annotated[list[LoadNews], Meta(max_length=1024)] = []


class Probe(Message, frozen=True, tag=11):
    """Are you there? Answered at once by ProbeAck."""

    request: RequestId
    time_s: float


class ProbeAck(Message, frozen=True, tag=12):
    """With what the sender says of its clock (`clock.Said`)."""

    request: RequestId
    time_s: float
    age_s: float = 0.0
    wall_s: float = 0.0
