"""A process that may open few files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

from potluck.overlay.descriptors import is_lacking, words_of

FEW = """
import os, resource
from potluck.overlay.descriptors import check_room

resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1 + 3, 100))
for count in (3, 3, 4):
    try:
        check_room(count)
        print("room")
    except OSError as error:
        print(error.strerror)
"""


def test_room_is_looked_for_and_not_taken() -> None:
    done = subprocess.run([sys.executable, "-c", FEW], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "room\nroom\nToo many open files\n"


def test_whoever_may_open_no_more_is_told_what_to_do() -> None:
    few, other = (OSError(number, os.strerror(number)) for number in (errno.EMFILE, errno.EACCES))
    assert is_lacking(few) and not is_lacking(other) and not is_lacking(ValueError())
    assert words_of(few) == "Too many open files: let this process have more (`ulimit -n`)"
    assert words_of(other) == "Permission denied"
    assert words_of(OSError("odd")) == "odd"
