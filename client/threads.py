"""Threads of a program, on a machine that may have none left."""

from __future__ import annotations

import threading

from ..overlay.errors import Unavailable


def start(thread: threading.Thread) -> None:
    """Raises Unavailable."""
    try:
        thread.start()
    except RuntimeError as error:
        raise Unavailable(
            f"{thread.name} cannot run ({error}): let this program have more processes or memory (ulimit -u, ulimit -v)"
        ) from error
