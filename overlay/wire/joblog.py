"""The log of a job that outlives its master: what the master tells its deputies."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from .codec import Count, Message, RawId, Real, RequestId, ShortText, decoded
from .control import JobOptions, TaskSpec
from .work import Checkpoint, Finished, Program

DEPUTIES_MAX: Final = 2
EPOCHS_MAX: Final = 1024
ENTRIES_MAX: Final = 4096

LastingJob = Annotated[str, Meta(min_length=16, max_length=16)]
"""Names of equal length: none is the beginning of another."""


class Opened(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Always the first entry."""

    owner: Annotated[bytes, Meta(max_length=20)]
    submitter: ShortText
    """Name of the node that took it."""
    submitted_s: Real
    """Mesh time."""
    options: JobOptions


class Added(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Tasks of one program; its body comes with the first entry that names it."""

    program: Program
    tasks: Annotated[list[TaskSpec], Meta(max_length=65_536)]


class Sealed(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """No more tasks come."""


class Given(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Tasks that must not run twice may begin from now on."""

    indexes: Annotated[list[Count], Meta(max_length=65_536)]
    node: ShortText


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Outcomes that were accepted; each index once in a log."""

    node: ShortText
    """That ran them; empty where they ran nowhere."""
    own: bool
    """Same owner as the job's."""
    reports: Annotated[list[Finished], Meta(max_length=65_536)]
    at_s: Real = 0.0
    """Mesh time. Of what has run nowhere no report tells when it ended."""


class Came(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """How far a task has come, and whether it stands still."""

    index: Count
    suspended: bool = False
    checkpoint: Checkpoint | None = None
    """None: none yet, or a later entry of this task has a newer one."""
    replaces: Count = 0
    """The entry whose checkpoint it makes needless; 0: there is none."""


Entry = Opened | Added | Sealed | Given | Ended | Came

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    return _encoder.encode(entry)


def decode_entry(data: bytes) -> Entry:
    """Raises RemoteProtocolError."""
    entry: Entry = decoded(_decoder, data, "an entry of a job's log")
    return entry


class Era(msgspec.Struct, frozen=True, array_like=True):
    """From entry `first` on, a log was written under this epoch."""

    epoch: Count
    first: Count


class JobLog(Message, frozen=True, tag=50):
    """Master → deputy: entries from `first` on of a log that is `length` long. Answer: JobLogged, once on disk.

    A deputy keeps what both logs have in common and drops the rest of its own.
    """

    request: RequestId
    job: LastingJob
    eras: Annotated[list[Era], Meta(min_length=1, max_length=EPOCHS_MAX)]
    """Rising; the last is the sender's own."""
    length: Count
    shown: Count
    """Every deputy has this much, and users may have seen it."""
    first: Count
    entries: Annotated[list[bytes], Meta(max_length=ENTRIES_MAX)]
    deputies: Annotated[list[RawId], Meta(max_length=2 * DEPUTIES_MAX)]


class JobLogged(Message, frozen=True, tag=51):
    """`epoch` higher than the sender's: another one is master. Else this much of the sender's log is on disk."""

    request: RequestId
    epoch: Count
    length: Count
    refused: bool = False
    """It keeps no more for this owner."""
