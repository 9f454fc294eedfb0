"""Open files, of which a process may have so many: whether there is room for more."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Final

_NOWHERE: Final = Path(os.devnull)


def check_room(count: int) -> None:
    """Raises OSError where this process may not open so many more."""
    with ExitStack() as spare:
        for _ in range(count):
            spare.enter_context(_NOWHERE.open("rb"))


def is_lacking(error: BaseException) -> bool:
    """Whether it says that no more can be opened."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def words_of(error: OSError) -> str:
    """What a person is told of an error of the system, and what to do about this one."""
    said = error.strerror or str(error)
    return f"{said}: let this process have more (`ulimit -n`)" if is_lacking(error) else said
