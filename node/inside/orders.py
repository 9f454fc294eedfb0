"""What a node orders of a `supervisor`, and what that says of its worker's end: a byte each, over a socket.

node                       supervisor
BEGIN     ──────────────▶                  once: the worker is forked; whatever limits it has hold from here on
STOP      ──────────────▶                  answered when every process of the sandbox has been sent the signal
CONTINUE  ──────────────▶
          ◀──────────────  the same byte
          ◀──────────────  ENDED and the worker's status, last of all
"""

from __future__ import annotations

import signal
from typing import Final

BEGIN: Final = b"B"
STOP: Final = b"S"
CONTINUE: Final = b"C"
ENDED: Final = b"E"

SIGNALLED: Final = 128
"""A process that ended by a signal is reported, as shells do, as this plus its number."""


def status_in(said: bytes) -> int:
    """From the last words. Who has none was killed."""
    _before, ended, status = said.partition(ENDED)
    return status[0] if ended and status else SIGNALLED + signal.SIGKILL
