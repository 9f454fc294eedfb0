"""The signals that ask a node to leave."""

from __future__ import annotations

import signal


def ending() -> tuple[signal.Signals, ...]:
    """Also that its terminal has gone, as when a session of ssh is closed, unless it was begun to outlive that."""
    outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as `nohup` has it
    return (signal.SIGINT, signal.SIGTERM, *(() if outlives_terminal else (signal.SIGHUP,)))
