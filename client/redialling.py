"""A node found in place of the one that was lost: the same, begun again, or another of this user's.

A link that breaks costs a program nothing but time. What was in flight is sent again (`Window.take_back`), for the
program is who decides which result counts; only somebody who is tried for too long, without a word, is given up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from ..overlay.errors import LinkLost, PotluckError, Unavailable
from .dialling import Link

PATIENCE_S: Final = 30.0
PAUSE_MIN_S: Final = 0.05
PAUSE_MAX_S: Final = 1.0

_log: Final = logging.getLogger(__name__)


class Redialler:
    """`again` is for the connection's writer; `heard` for its reader, at whatever a node has said."""

    def __init__(self, dial: Callable[[], Link], patience_s: float = PATIENCE_S) -> None:
        self._dial = dial
        self._patience_s = patience_s
        self._over = threading.Event()
        self._silent_since_s: float | None = None
        self._pause_s = 0.0

    def stop(self) -> None:
        """Nobody wants a link any more. In any thread."""
        self._over.set()

    def heard(self) -> None:
        self._silent_since_s = None

    def again(self, lost: PotluckError) -> Link | None:
        """None when stopped meanwhile. Raises LinkLost when none has come for 30 s, and what keeps one from starting.

        A node that is on its way out may take a connection and drop it: that counts as none.
        """
        if self._silent_since_s is None:
            self._silent_since_s, self._pause_s = time.monotonic(), 0.0
            _log.warning("%s; what is unfinished waits for a node of yours to run again", lost)
        while not self._over.wait(self._pause_s):
            self._pause_s = min(max(2 * self._pause_s, PAUSE_MIN_S), PAUSE_MAX_S)
            try:
                return self._dial()
            except Unavailable as error:
                if time.monotonic() > self._silent_since_s + self._patience_s:
                    raise LinkLost(f"{lost}; none has come back within {self._patience_s:g} s: {error}") from error
        return None
