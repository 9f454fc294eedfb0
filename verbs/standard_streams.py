"""Standard input, output and error of the command, whatever it was begun with."""

from __future__ import annotations

import io
import os
import sys
from typing import Final

_NAMES: Final = ("stdin", "stdout", "stderr")
"""By descriptor."""


def make_usable() -> None:
    """Those that were closed lead nowhere from now on: else a socket or a file of ours would be taken for them. What
    an output has no character for is shown escaped."""
    for descriptor, name in enumerate(_NAMES):
        if _is_closed(descriptor):
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def let_go() -> None:
    """What is not taken at the end is dropped: the interpreter would complain of it, after everything was said."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False
