"""The command with standard streams that are closed, full, or short of characters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .mesh import mesh

SHOW = """
import os, sys
from potluck.verbs import standard_streams

standard_streams.make_usable()
report = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
print("nowhere", flush=True)
print("nowhere", file=sys.stderr, flush=True)
os.write(report, repr((report, sys.stdin.read(), [os.get_inheritable(number) for number in range(3)])).encode())
"""
CLOSED = 'exec "$0" "$@" <&- >&- 2>&-'
FULL = 'exec "$0" "$@" >/dev/full'


def test_streams_that_are_closed_lead_nowhere_and_nothing_of_ours_takes_their_places(tmp_path: Path) -> None:
    report = tmp_path / "report"
    subprocess.run(["sh", "-c", CLOSED, sys.executable, "-c", SHOW, str(report)], check=True, timeout=30)
    assert report.read_text() == repr((3, "", [True] * 3))


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["--version"], ["nonsense", "--json"]])
@pytest.mark.parametrize("how", [FULL, f"{FULL} 2>/dev/full", f"{FULL} 2>&-", CLOSED])
def test_what_cannot_be_said_ends_the_command_without_a_traceback(
    tmp_path: Path, how: str, arguments: list[str]
) -> None:
    environment = {**os.environ, "POTLUCK_DATA_DIR": str(tmp_path / "data"), "XDG_RUNTIME_DIR": str(tmp_path)}
    command = ["sh", "-c", how, sys.executable, "-m", "potluck", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in ((0, 1, 2) if how == CLOSED else (1, 2)), done
    assert done.stderr.count("\n") == (how == FULL), done


@pytest.mark.processes
def test_an_input_that_is_closed_is_empty_and_what_has_no_character_is_escaped(tmp_path: Path) -> None:
    with mesh(tmp_path, ["ant"]) as made:
        read = ["run", "-c", "import sys; print(repr(sys.stdin.read()))"]
        command = ["sh", "-c", 'exec "$0" "$@" <&-', sys.executable, "-m", "potluck", *read]
        done = subprocess.run(command, env=made.environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, "''\n"), done
        assert made.type("mem", "set", "é", "ü€").code == 0
        made.environment["PYTHONIOENCODING"] = "ascii"
        assert made.type("mem", "get", "é").out == "\\xfc\\u20ac\n"
