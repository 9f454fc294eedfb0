"""Sandboxes of a user who is not root: no capability, no control group, and the same walls."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import potluck
import pytest

from .plain_user import NOBODY
from .test_docker import docker_or_skip

AS_NOBODY = Path(__file__).with_name("plain_user.py")
CHECKOUT = Path(potluck.__file__).parent

Nobody = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def as_nobody(tmp_path: Path) -> Nobody:
    """Runs this Python with arguments, as nobody, with a home of its own."""
    if os.getuid() or not all(map(shutil.which, ("unshare", "bwrap"))):
        pytest.skip("the superuser alone can become nobody; it takes unshare and bubblewrap")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    folders = [home, *dict.fromkeys(Path(one) for one in (sys.base_prefix, sys.prefix, CHECKOUT))]
    names = ("HOME", "TMPDIR", "POTLUCK_DATA_DIR", "XDG_RUNTIME_DIR", "HYPOTHESIS_STORAGE_DIRECTORY")
    env = {**dict.fromkeys(names, str(home)), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*arguments: str, engine: Path | None = None, timeout_s: float = 100) -> subprocess.CompletedProcess[str]:
        shown = [*folders, *([engine.parent] if engine is not None else [])]
        outermost = [
            str(one) for one in shown if not any(one != other and one.is_relative_to(other) for other in shown)
        ]
        group = str(engine.stat().st_gid) if engine is not None else ""
        view = ["unshare", "--mount", "--propagation", "private", sys.executable, str(AS_NOBODY), group, *outermost]
        return subprocess.run(
            [*view, "--", sys.executable, *arguments],
            capture_output=True,
            text=True,
            env=env | ({"DOCKER_HOST": f"unix://{engine}"} if engine is not None else {}),
            timeout=timeout_s,
        )

    return run


POOL = """
import json, os
import potluck
from potluck.node.sandboxes.bubblewrap import BubblewrapSandbox

def look():
    import multiprocessing, socket
    reached = []
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.socket(family).connect(("192.0.2.1", 9) if family == socket.AF_INET else ("2001:db8::1", 9))
            reached.append(family)
        except OSError:
            pass
    with multiprocessing.get_context("fork").Pool(2) as pool:
        lengths = pool.map(len, ["a", "bc"])
    return {"uid": os.getuid(), "reached": reached, "lengths": lengths, "folder": os.getcwd()}

with potluck.Executor() as pool:
    found = pool.submit(look).result(60)
print(json.dumps({"found": found, "guarantees": BubblewrapSandbox.find().guarantees.as_dict(), "uid": os.getuid()}))
"""


def test_a_program_of_a_plain_user_is_as_well_walled_in(as_nobody: Nobody) -> None:
    done = as_nobody("-c", POOL)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    found = said["found"]
    assert (said["uid"], found["uid"], found["reached"], found["lengths"]) == (NOBODY, NOBODY, [], [1, 2])
    assert found["folder"] == "/scratch"
    assert {name for name, kept in said["guarantees"].items() if not kept} <= {"cpu"}


@pytest.mark.nightly
def test_all_that_holds_for_root_holds_for_a_plain_user(as_nobody: Nobody) -> None:
    files = (
        *("sandboxes/test_sandboxes.py", "sandboxes/test_pools.py", "sandboxes/test_supervision.py"),
        *("execution/test_limits.py", "execution/test_service.py", "inside/test_worker.py"),
    )
    tests = [f"{CHECKOUT}/tests/node/{name}" for name in files]
    options = "--import-mode=importlib -p no:cacheprovider -m 'not nightly'"  # the usual ones name a folder of ours
    done = as_nobody(
        "-m", "pytest", "-q", "--rootdir", str(CHECKOUT), "-o", f"addopts={options}", *tests, timeout_s=1_000
    )
    assert done.returncode == 0, done.stdout[-4_000:]


CONTAINERS = """
import json, os, trio
from potluck.node.sandboxes.docker import DockerSandbox
from potluck.overlay.wire.limits import Limits

async def main():
    process = await DockerSandbox.find().start()
    process.limit(Limits(memory_bytes=100 << 20, processes=20))
    await process.stop()
    await process.resume()
    memory_bytes = process.usage().memory_bytes
    await process.kill()
    said = {"uid": os.getuid(), "memory": memory_bytes, "how": await process.wait()}
    print(json.dumps(said | {"guarantees": process.guarantees.as_dict()}))

trio.run(main)
"""


@pytest.mark.nightly
def test_who_is_of_the_engines_group_has_containers(as_nobody: Nobody) -> None:
    docker_or_skip()
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    done = as_nobody("-c", CONTAINERS, engine=Path(address.removeprefix("unix://")))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["uid"] == NOBODY and said["memory"] > 0 and all(said["guarantees"].values())
    assert said["how"] == "killed by SIGKILL"
