"""A program on a machine without threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

NO_THREAD_LEFT = """
import threading
from potluck.client.connection import Connection
from potluck.client.input import StandardInput
from potluck.client.output import Printer
from potluck.overlay.errors import Unavailable

threading.stack_size(1 << 46)
try:
    START
except Unavailable as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("start", "name"),
    [
        ("Connection(print).start()", "potluck-reader"),
        ("StandardInput(print).ask(None)", "potluck-input"),
        ("Printer().put(1, b'')", "potluck-printer"),
    ],
)
def test_where_no_thread_is_left_one_line_says_what_to_do(start: str, name: str) -> None:
    program = NO_THREAD_LEFT.replace("START", start)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith(f"{name} cannot run (can't start new thread): ")
    assert "ulimit" in done.stdout
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
