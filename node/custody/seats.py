"""Who is master of a job, in which epoch, and who may succeed it: the content of the registers of jobs.

    unseated ──take──▶ (master, 1) ──succeed, by a deputy or by the master's next life──▶ (that one, epoch + 1)
                            │ hold, with other deputies: same epoch          ──remove──▶ unseated for ever

Jobs share a few registers, because a register cannot be removed and a job can. Every change is one of the whole
content; for each job in it the epoch only grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from ...overlay.errors import LimitExceeded, NotFound
from ...overlay.wire.codec import Count, RawId, decoded
from ...overlay.wire.framing import VALUE_BYTES_MAX
from ...overlay.wire.joblog import DEPUTIES_MAX

_REGISTERS: Final = 16
_NAMESPACE: Final = b"jobs\0"

Change = Callable[[bytes | None], tuple[bytes | None, Any]]


class Seat(msgspec.Struct, frozen=True, array_like=True):
    master: RawId
    epoch: Count
    deputies: Annotated[list[RawId], Meta(max_length=DEPUTIES_MAX)] = []


Seats = dict[str, Seat]

_seats: Final = msgspec.msgpack.Decoder(Seats)


def register_of(job: str) -> bytes:
    return _NAMESPACE + bytes([hashlib.sha256(job.encode()).digest()[0] % _REGISTERS])


def seats_in(content: bytes | None) -> Seats:
    """Raises RemoteProtocolError."""
    if not content:
        return {}
    return decoded(_seats, content, "a list of the seats of jobs")


def take(job: str, master: bytes, deputies: Sequence[bytes]) -> Change:
    """A new job's first seat."""

    def change(seats: Seats) -> Seat:
        return seats.get(job) or Seat(master, 1, list(deputies))

    return _changing(job, change)


def succeed(job: str, by: bytes, after: bytes, epoch_least: int, still: Callable[[], bool] = lambda: True) -> Change:
    """The seat afterwards: `by` has it if it is a deputy and `after` was the master, or if it was the master itself, in
    another life. `still` is asked when it can be agreed: whether a deputy wants it then. Raises NotFound for a job that
    is forgotten."""

    def change(seats: Seats) -> Seat:
        seat = _seat(seats, job)
        if by != seat.master and (by not in seat.deputies or after != seat.master or not still()):
            return seat
        others = [node_id for node_id in seat.deputies if node_id != by]
        return Seat(by, max(seat.epoch + 1, epoch_least), others)

    return _changing(job, change)


def hold(job: str, by: bytes, epoch: int, deputies: Sequence[bytes]) -> Change:
    """The seat afterwards: of its master with other deputies, or, of two, of the survivor who went on under a higher
    epoch while nobody could agree to it. Unchanged where it is somebody else's by now. Raises NotFound."""

    def change(seats: Seats) -> Seat:
        seat = _seat(seats, job)
        went_on = seat.epoch < epoch and by in (seat.master, *seat.deputies)
        if went_on or (seat.master, seat.epoch) == (by, epoch):
            return Seat(by, epoch, list(deputies))
        return seat

    return _changing(job, change)


def remove(job: str) -> Change:
    """Whoever comes back with its log finds no seat, and forgets it, too."""

    def change(content: bytes | None) -> tuple[bytes | None, None]:
        seats = seats_in(content)
        if seats.pop(job, None) is None:
            return content, None
        return msgspec.msgpack.encode(seats), None

    return change


def _seat(seats: Seats, job: str) -> Seat:
    if job not in seats:
        raise NotFound(f"no job {job}")
    return seats[job]


def _changing(job: str, change: Callable[[Seats], Seat]) -> Change:
    def of_content(content: bytes | None) -> tuple[bytes | None, Seat]:
        seats = seats_in(content)
        seat = change(seats)
        if seats.get(job) == seat:
            return content, seat
        changed = msgspec.msgpack.encode({**seats, job: seat})
        if len(changed) > VALUE_BYTES_MAX:
            raise LimitExceeded("there are more lasting jobs than the mesh keeps: `potluck job forget` old ones")
        return changed, seat

    return of_content
