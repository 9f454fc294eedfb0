"""What a running node says of itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


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
    if event.get("event") != "ready":
        return f"{event.get('event')}: {event.get('node')} ({str(event.get('node_id'))[:12]})"
    return (
        f"{event.get('name')} is ready at {event.get('address')}"
        f" (mesh {event.get('mesh')}, sandbox {event.get('sandbox')}). Ctrl+C leaves."
    )


def silence_output() -> None:
    """Nobody listens any more; what is still said must not fail for it."""
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
