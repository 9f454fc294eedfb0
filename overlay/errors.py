"""Every error potluck raises on purpose.

PotluckError
├── UsageError              the caller asked for something that makes no sense
├── ConfigError             the settings are wrong; lists every fault at once
├── LocalProtocolError      we were about to break the protocol: a bug of ours
├── RemoteProtocolError     the peer broke it: drop that link, keep the node
├── InternalError           a fault of potluck's own, where it was asked: see `boundary`
├── Unavailable             not now; trying again may help
│   ├── LinkLost
│   ├── DeadlineExceeded
│   ├── NoWorker            no node can take the task
│   ├── NoNode              no node of this user is running
│   ├── Syncing
│   └── NotLent             the machine's owner does not lend it now
├── Refused                 a rule says no; trying again will not help
│   ├── QuotaExceeded
│   ├── OutOfMemory
│   ├── LimitExceeded
│   ├── WouldDeadlock
│   ├── NotAllowed
│   ├── SandboxUnavailable
│   └── NameInUse
├── NotFound
├── Conflict                a compare-and-set lost
├── BadProgram              the submitted program cannot run: syntax, missing function
├── TaskFailed              the user's code raised; carries the remote traceback
├── TaskTimedOut
├── Cancelled
├── WorkerLost              the machine or process running the task died
└── ResultNotEncodable

The name of a class is its `kind` in JSON; `wire_code` is its number between nodes. Both are permanent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar


class PotluckError(Exception):
    """Base of the tree; never raised itself. `str(error)` is one clear line for a person."""

    wire_code: ClassVar[int] = 0

    def __init__(self, message: str = "") -> None:
        if type(self) is PotluckError:
            raise TypeError("raise one of the subclasses of PotluckError")
        super().__init__(message)

    @property
    def kind(self) -> str:
        return type(self).__name__


class UsageError(PotluckError):
    wire_code = 1


class ConfigError(PotluckError):
    """`faults` holds one line for every setting that is wrong."""

    wire_code = 2

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("; ".join(self.faults))


class LocalProtocolError(PotluckError):
    wire_code = 3


class RemoteProtocolError(PotluckError):
    wire_code = 4


class InternalError(PotluckError):
    wire_code = 5


class Unavailable(PotluckError):
    wire_code = 10


class LinkLost(Unavailable):
    """`refused`: the machine answers, and nothing listens there: the node is gone, not slow."""

    wire_code = 11

    def __init__(self, message: str = "", *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class DeadlineExceeded(Unavailable):
    wire_code = 12


class NoWorker(Unavailable):
    wire_code = 13


class NoNode(Unavailable):
    wire_code = 14


class Syncing(Unavailable):
    wire_code = 15


class NotLent(Unavailable):
    """Its owner lends the machine at other times."""

    wire_code = 16


class Refused(PotluckError):
    wire_code = 20


class QuotaExceeded(Refused):
    wire_code = 21


class OutOfMemory(Refused):
    wire_code = 22


class LimitExceeded(Refused):
    wire_code = 23


class WouldDeadlock(Refused):
    wire_code = 24


class NotAllowed(Refused):
    wire_code = 25


class SandboxUnavailable(Refused):
    wire_code = 26


class NameInUse(Refused):
    wire_code = 27


class NotFound(PotluckError):
    wire_code = 30


class Conflict(PotluckError):
    wire_code = 31


class BadProgram(PotluckError):
    wire_code = 40


class TaskFailed(PotluckError):
    """The user's code raised. `exception_type` is its qualified name, `remote_traceback` has none of our frames."""

    wire_code = 41

    def __init__(self, message: str = "", *, exception_type: str = "", remote_traceback: str = "") -> None:
        super().__init__(message)
        self.exception_type = exception_type
        self.remote_traceback = remote_traceback


class TaskTimedOut(PotluckError):
    wire_code = 42


class Cancelled(PotluckError):
    wire_code = 43


class WorkerLost(PotluckError):
    wire_code = 44


class ResultNotEncodable(PotluckError):
    wire_code = 45


def _tree(base: type[PotluckError]) -> Iterator[type[PotluckError]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from _tree(subclass)


BY_WIRE_CODE: dict[int, type[PotluckError]] = {
    cls.wire_code: cls for cls in _tree(PotluckError) if cls.__module__ == __name__
}


def from_wire(code: int, message: str) -> PotluckError:
    """The error that a peer or node reported; a code of a later version becomes `Unavailable`."""
    return BY_WIRE_CODE.get(code, Unavailable)(message)


def reason(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to tell a person of a group that nurseries have made: an interruption first, then an error of ours; the
    group itself where it holds neither, because then it is a fault of ours."""
    for wanted in (KeyboardInterrupt, PotluckError):
        found: BaseException | None = group.subgroup(wanted)
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if found is not None:
            return found
    return group
