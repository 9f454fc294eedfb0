"""A hostile task gets nothing: each attempt succeeds with one guarantee switched off, and fails as the sandbox is."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from potluck.node.inside.seccomp import MACHINES
from potluck.node.sandboxes.cgroups import Hierarchy
from potluck.overlay.wire.limits import Limits

from .escapes import ATTEMPTS

RUNNER = Path(__file__).with_name("escape_runner.py")
MACHINE = Limits(memory_bytes=1 << 30, processes=400)
STATUS_MAX_S = 1.0
NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "--kill-child")

Ask = Callable[[str], dict[str, Any]]


@cache
def hierarchy() -> Hierarchy | None:
    """One for both machines: it numbers its groups."""
    return Hierarchy.find()


@contextmanager
def throw_away_machine(backend: str, folder: Path, *programs: str) -> Iterator[Ask]:
    """Inside namespaces and a control group of its own, gone afterwards."""
    groups = hierarchy()
    if os.getuid() or groups is None or not all(map(shutil.which, ("unshare", "ip", "bwrap", *programs))):
        pytest.skip(f"a throw-away machine takes root, control groups, unshare, ip, bwrap {' '.join(programs)}")
    if platform.machine() not in MACHINES:
        pytest.skip("the numbers of system calls are not known for this machine")
    with ExitStack() as gone:
        group = groups.make()
        gone.callback(group.remove)
        group.limit(MACHINE)
        command = f'read go; exec unshare {" ".join(NAMESPACES)} "$@"'
        machine = subprocess.Popen(
            ["sh", "-c", command, "sh", sys.executable, str(RUNNER), str(folder), backend],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        gone.enter_context(machine)
        group.enter(machine.pid)
        assert machine.stdin is not None and machine.stdout is not None

        def one(line: str) -> dict[str, Any]:
            machine.stdin.write(f"{line}\n")
            machine.stdin.flush()
            said = machine.stdout.readline()
            assert said, "the throw-away machine has ended"
            return json.loads(said)

        assert one("go") == {"ready": True}
        yield one
        machine.stdin.close()
        assert machine.wait(60) == 0


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with throw_away_machine("bubblewrap", tmp_path_factory.mktemp("machine")) as one:
        yield one


@pytest.fixture(scope="module")
def ask_container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """With an engine of its own."""
    if "DOCKER_HOST" not in os.environ:
        pytest.skip("no engine is named, so none may work here")
    with throw_away_machine("docker", tmp_path_factory.mktemp("machine"), "dockerd") as one:
        yield one


def check(said: dict[str, Any]) -> None:
    assert said["loose"] is True, "an attempt that cannot succeed shows nothing"
    assert said["held"] is not True
    assert said["status_s"] < STATUS_MAX_S


@pytest.mark.parametrize("name", ATTEMPTS)
def test_nothing_gets_out_that_would_without_the_guarantee(ask: Ask, name: str) -> None:
    check(ask(name))


SAMPLE = {attempt.guarantee: name for name, attempt in reversed(ATTEMPTS.items()) if attempt.guarantee != "cpu"}
"""One for each guarantee that takes no long work to show."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLE.values() else pytest.mark.nightly) for name in ATTEMPTS]
)
def test_nothing_gets_out_of_a_container_either(ask_container: Ask, name: str) -> None:
    check(ask_container(name))


def test_there_are_as_many_attempts_as_were_promised() -> None:
    assert len(ATTEMPTS) >= 60
