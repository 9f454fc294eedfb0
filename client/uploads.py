"""Payloads too long for a frame go ahead, as parcels or in parts, and what needs them then refers to them."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Generator, Iterator
from typing import Final, NamedTuple

import msgspec

from ..overlay import parcels
from ..overlay.errors import LimitExceeded
from ..overlay.parcels import Parcel
from ..overlay.wire import control
from ..overlay.wire.control import TO_NODE
from ..overlay.wire.layout import encode_inline
from ..overlay.wire.work import Inline, Program, Reference
from .dialling import Way
from .futures import Job
from .programs import Arguments, Body, travels_inline

PART_BYTES: Final = 512 << 10


class Towards(NamedTuple):
    """The node that payloads are handed to."""

    node_id: bytes
    takes_parcels: bool


class Beside(NamedTuple):
    """A frame, and the parcel that goes with it."""

    frame: bytes
    parcel: Parcel


Sent = bytes | Beside


def send(link: Way, due: Iterator[Sent]) -> None:
    """All of it; and keeps nothing of it. Raises OSError."""
    for sent in due:
        if isinstance(sent, Beside):
            assert isinstance(link, socket.socket)
            parcels.send_all(link, sent.frame, [sent.parcel])
        else:
            link.sendall(sent)


def upload(payload: Arguments, towards: Towards) -> Generator[Sent, None, Reference]:
    """What to send, in order; in the end what stands for it."""
    object_id = secrets.token_bytes(16)
    if not towards.takes_parcels:
        return (yield from _upload_in_parts(object_id, payload, towards))
    try:
        parcel = payload if isinstance(payload, Parcel) else parcels.seal(payload)
    except LimitExceeded:  # then as ever
        return (yield from _upload_in_parts(object_id, payload, towards))
    yield Beside(TO_NODE.encode(control.PutParcel(object_id, parcel.size_bytes)), parcel)
    return Reference(object_id, parcel.size_bytes, towards.node_id)


def _upload_in_parts(object_id: bytes, payload: Arguments, towards: Towards) -> Generator[Sent, None, Reference]:
    held = payload if isinstance(payload, Parcel) else encode_inline(payload)
    size_bytes = parcels.size_of(held)
    for number, part in enumerate(parcels.pieces_of(held, PART_BYTES)):
        yield TO_NODE.encode(control.PutPart(object_id, number * PART_BYTES, size_bytes, part))
    return Reference(object_id, size_bytes, towards.node_id)


def named(job: Job, body: Body, towards: Towards) -> Generator[Sent, None, Program]:
    """The program as a submission names it: with its body the first time that the job does."""
    if body.program.program_id in job.programs_sent:
        return body.without_body
    job.programs_sent.add(body.program.program_id)
    inline = body.program.body
    if isinstance(inline, Inline) and not travels_inline(inline, body.size_bytes):
        reference = yield from upload(inline, towards)
        return msgspec.structs.replace(body.program, body=reference)
    return body.program
