"""What a running node says of itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping

logger = logging.getLogger("potluck.node")

Show = Callable[[Mapping[str, object], str], None]


class Announcer:
    """What is not taken, because its reader has gone or its disk is full, is dropped: a node goes on without it."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._is_taken = True

    def __call__(self, event: Mapping[str, object], line: str) -> None:
        try:
            self._show(event, line)
        except OSError as error:
            if self._is_taken:
                logger.warning("what this node says is not taken, and dropped: %s", error.strerror)
            self._is_taken = False
        else:
            self._is_taken = True


def event_line(event: Mapping[str, object]) -> str:
    if event.get("event") == "clock":
        from ..node.timekeeping import error_text

        return f"clock: {error_text(float(str(event.get('error_s'))))}"
    if event.get("event") == "banned":
        return (
            f"banned: this machine is shut out of mesh {event.get('mesh')}. Ask who let you in, or a founder, for a new"
            " invite, and take it with `potluck join CODE --anew`"
        )
    if event.get("event") == "cleared":
        return f"cleared: {event.get('node')} ({str(event.get('node_id'))[:12]}) is there after all"
    if event.get("event") == "moved":
        return f"moved: {event.get('node')} is at {event.get('address')} now"
    if event.get("event") != "ready":
        return f"{event.get('event')}: {event.get('node')} ({str(event.get('node_id'))[:12]})"
    return (
        f"{event.get('name')} is ready at {event.get('address')}"
        f" (mesh {event.get('mesh')}, sandbox {event.get('sandbox')}). Ctrl+C leaves."
    )


def silence_output() -> None:
    """Nobody listens any more; what is still said must not fail for it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
