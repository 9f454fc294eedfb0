"""Where strangers' bytes come in, a fault of ours ends what they have asked for, and not the node.

There are three such edges: what a program asks, what a task or its worker says, and what a peer says. Anybody can say
there whatever comes to their mind, and a node that ended by something nobody had thought of would take along everything
else that it does, for everybody else. Nowhere else is a fault of ours caught: what a node does of its own accord is not
tried again by whoever likes to, and a node that does it wrongly had better end and begin again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Final

from .errors import InternalError, LocalProtocolError, PotluckError

logger = logging.getLogger("potluck.faults")

Failed = Callable[[str, Exception], None]
"""Told of each fault: what has failed, and how."""


def log(what: str, fault: Exception) -> None:
    logger.error("%s has failed by a fault of potluck's own, which should be reported", what, exc_info=fault)


class Boundary:
    """`with` it, whatever is none of the errors `expected` there is told to `failed`, and goes on as InternalError. It
    may be entered by several at a time."""

    __slots__ = ("_expected", "_failed", "_what")

    def __init__(self, what: str, failed: Failed, *expected: type[PotluckError]) -> None:
        self._what: Final = what
        self._failed: Final = failed
        self._expected: Final = expected

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Exception, and not what ends a task or a process: Cancelled, KeyboardInterrupt, SystemExit.
        if isinstance(error, Exception) and (
            not isinstance(error, self._expected) or isinstance(error, LocalProtocolError)
        ):
            self._failed(self._what, error)
            raise InternalError(
                f"{self._what} has failed by a fault of potluck's own: {type(error).__name__}"
            ) from error
