"""The sandbox without namespaces: it is one, and what is not in a task's own folder is out of its reach."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from potluck.node.inside.confinement import LANDLOCK_MIN, landlock_version
from potluck.node.sandboxes import confined
from potluck.node.sandboxes.bare import BareSandbox
from potluck.node.sandboxes.cgroups import Hierarchy
from potluck.node.sandboxes.confined import ConfinedSandbox
from potluck.overlay.errors import SandboxUnavailable
from potluck.overlay.ports import Sandbox

from .sandbox_suite import SandboxSuite
from .test_sandboxes import ESCAPE, marked, run, until_marked

pytestmark = pytest.mark.skipif(landlock_version() < LANDLOCK_MIN, reason="this kernel's Landlock is too old")


class TestConfined(SandboxSuite):
    def sandbox(self) -> ConfinedSandbox:
        return ConfinedSandbox.find()


ATTEMPTS = """
import os, resource, socket, subprocess

def task(home, port, abstract, victim):
    numbers = iter(range(100))
    secret = lambda: f"{home}/secret{next(numbers)}"
    tries = {
        "read a file": lambda: open(secret()).read(),
        "list a folder": lambda: os.listdir(home),
        "write a file": lambda: open(secret(), "a").close(),
        "make a file": lambda: open(home + "/new", "w").close(),
        "make a file in /tmp": lambda: open("/tmp/" + abstract, "w").close(),
        "shared memory": lambda: open("/dev/shm/" + abstract, "w").close(),
        "remove a file": lambda: os.remove(secret()),
        "rename a file": lambda: os.rename(secret(), secret() + "renamed"),
        "link a file": lambda: os.link(secret(), home + "/linked"),
        "cut a file": lambda: os.truncate(secret(), 0),
        "open a file to all": lambda: os.chmod(secret(), 0o777),
        "give a file away": lambda: os.chown(secret(), os.getuid(), os.getgid()),
        "age a file": lambda: os.utime(secret(), (0, 0)),
        "follow a link": lambda: (os.symlink(secret(), "link"), open("link").read()),
        "TCP": lambda: socket.create_connection(("127.0.0.1", port), 1),
        "UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "an abstract socket": lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + abstract),
        "signal another process": lambda: os.kill(victim, 0),
        "look at another's environment": lambda: open(f"/proc/{victim}/environ", "rb").read(),
        "limit another process": lambda: resource.prlimit(victim, resource.RLIMIT_CORE, (0, 0)),
        "slow another process down": lambda: os.setpriority(os.PRIO_PROCESS, victim, 19),
        "bind another to a processor": lambda: os.sched_setaffinity(victim, {0}),
        "read a file in a child": lambda: subprocess.run(["cat", secret()], check=True, stderr=subprocess.DEVNULL),
    }
    done = []
    for name, one in tries.items():
        try:
            one()
            done.append(name)
        except (OSError, subprocess.CalledProcessError):
            pass
    open("mine", "w").close()
    return [done, sorted(set(tries) - set(done))]
"""


def attempts_in(sandbox: Sandbox, folder: Path) -> list[list[str]]:
    """Those that succeed, and those that do not."""
    folder.mkdir()
    for number in range(100):
        (folder / f"secret{number}").write_text("secret")
    abstract = f"potluck-test-{os.getpid()}-confined"
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX) as local,
        subprocess.Popen(["sleep", "600"]) as victim,
    ):
        local.bind("\0" + abstract)
        local.listen()
        try:
            return run(sandbox, ATTEMPTS, str(folder), listener.getsockname()[1], abstract, victim.pid)  # type: ignore
        finally:
            victim.kill()
            for left in (Path("/tmp", abstract), Path("/dev/shm", abstract)):
                left.unlink(missing_ok=True)


def test_nothing_but_its_own_folder_is_in_reach_and_bare_all_of_it_is(tmp_path: Path) -> None:
    done, failed = attempts_in(BareSandbox(), tmp_path / "bare")
    assert failed == [] and len(done) > 20
    done, _failed = attempts_in(ConfinedSandbox.find(), tmp_path / "confined")
    assert done == []
    assert {path.read_text() for path in (tmp_path / "confined").iterdir()} == {"secret"}


def test_programs_and_pools_work() -> None:
    source = """
import concurrent.futures, os, subprocess, threading

def task():
    said = subprocess.run(["sh", "-c", "echo hello | cat"], capture_output=True, text=True).stdout
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return [said, list(pool.map(abs, [-1, 2])), os.path.samefile(os.getcwd(), os.environ["HOME"])]
"""
    assert run(ConfinedSandbox.find(), source) == ["hello\n", [1, 2], True]


def test_in_a_control_group_nothing_survives_the_kill() -> None:
    groups = Hierarchy.find()
    if groups is None:
        pytest.skip("no control groups may be made here")
    mark = f"potluck-test-{os.getpid()}-confined-escape"
    sandbox = ConfinedSandbox.find(groups)
    assert sandbox.guarantees.kill_all and sandbox.guarantees.filesystem
    run(sandbox, ESCAPE, mark, 5, after=until_marked(mark, 6))
    assert not marked(mark)


def test_a_kernel_that_cannot_is_named_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "landlock_version", lambda: 3)
    with pytest.raises(SandboxUnavailable, match=r"network and filesystem .* version 3"):
        ConfinedSandbox.find()
