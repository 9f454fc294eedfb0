"""Payloads too long for a frame go ahead in parts, and what needs them then refers to them."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from typing import Final

import msgspec

from ..overlay.wire import control
from ..overlay.wire.control import TO_NODE
from ..overlay.wire.work import Inline, Program, Reference, encode_inline
from .futures import Job
from .programs import Body, travels_inline

PART_BYTES: Final = 512 << 10


def upload(payload: Inline, node_id: bytes) -> Generator[bytes, None, Reference]:
    """The frames, in order; in the end what stands for them."""
    data = memoryview(encode_inline(payload))
    object_id = secrets.token_bytes(16)
    for offset in range(0, len(data), PART_BYTES):
        part = bytes(data[offset : offset + PART_BYTES])
        yield TO_NODE.encode(control.PutPart(object_id, offset, len(data), part))
    return Reference(object_id, len(data), node_id)


def named(job: Job, body: Body, node_id: bytes) -> Generator[bytes, None, Program]:
    """The program as a submission names it: with its body the first time that the job does."""
    if body.program.program_id in job.programs_sent:
        return body.without_body
    job.programs_sent.add(body.program.program_id)
    inline = body.program.body
    if isinstance(inline, Inline) and not travels_inline(inline, body.size_bytes):
        reference = yield from upload(inline, node_id)
        return msgspec.structs.replace(body.program, body=reference)
    return body.program
