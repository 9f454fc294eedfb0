"""The sandbox in containers, on a real engine: it is one, it holds, and nothing of it is left behind."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest
import trio
from potluck.node.doctor import machine
from potluck.node.sandboxes.backends import available_sandboxes
from potluck.node.sandboxes.containers import ContainerEngine
from potluck.node.sandboxes.docker import DockerSandbox
from potluck.node.sandboxes.spawning import clean_environment
from potluck.node.sandboxes.supervised import Sizes
from potluck.overlay.errors import SandboxUnavailable
from potluck.overlay.parcels import seal
from potluck.overlay.ports import Sandbox
from potluck.overlay.wire.work import Attached
from potluck.overlay.wire.worker import RunTask

from ...kin import descendants
from .sandbox_suite import SandboxSuite, Talk, call, function
from .test_sandboxes import (
    ESCAPE,
    KILL_MAX_S,
    PRINTING,
    assert_folders_are_as_large_as_stated,
    marked,
    run,
    until_marked,
)

PATIENCE_S = 20.0
TRIES = 8
SIZES = Sizes(scratch_bytes=64 << 20, tmp_bytes=4 << 20, shared_memory_bytes=8 << 20, processes=64)


@functools.cache
def docker_or_skip() -> Sandbox:
    """Where an engine was named, it has to work."""
    try:
        return DockerSandbox.find(SIZES)
    except SandboxUnavailable as error:
        if os.environ.get("DOCKER_HOST"):
            raise
        pytest.skip(str(error))


@contextmanager
def nothing_left() -> Iterator[None]:
    """Once the engine has cleaned up, which it does by itself."""
    engine = ContainerEngine.connect()
    try:
        before = {one["Id"] for one in containers(engine)}
        yield
        end_s = time.monotonic() + PATIENCE_S
        while left := {one["Id"] for one in containers(engine)} - before:
            assert time.monotonic() < end_s, left
    finally:
        engine.close()


def containers(engine: ContainerEngine) -> list[dict[str, Any]]:
    """Of this process."""
    return [one for one in engine._api.containers(all=True) if one["Labels"].get("potluck.node") == engine._owner]


class TestDocker(SandboxSuite):
    def sandbox(self) -> Sandbox:
        return docker_or_skip()


WALLS = """
import os, socket

def task(secret, port, name):
    hidden = (secret, "/etc/passwd", "/etc/shadow", "/root/.bashrc", "/sys/kernel", "/proc/kallsyms", "/var/run")
    seen = [path for path in hidden if os.path.exists(path) and (os.path.isdir(path) or open(path).read(1))]
    written = []
    for folder in ("/", "/usr", "/usr/bin", "/etc", "/dev", os.path.dirname(os.__file__), "/sys", "/proc/sys/kernel"):
        try:
            open(folder + "/potluck-was-here", "w").close()
            written.append(folder)
        except OSError:
            pass
    for folder in (".", "/tmp", "/dev/shm", os.environ["HOME"]):
        open(folder + "/fine", "w").close()
    reached = []
    for family, address in ((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_UNIX, "\\0" + name), (socket.AF_UNIX, "/door")):
        try:
            socket.socket(family, socket.SOCK_STREAM).connect(address)
            reached.append(str(address))
        except OSError:
            pass
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
    processes = [int(one) for one in os.listdir("/proc") if one.isdecimal()]
    return [seen, written, reached, sorted(os.environ), status, processes, os.getcwd(), sorted(os.listdir("/"))]
"""  # noqa: E501


def test_a_container_shows_no_more_of_the_machine_than_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    name = f"potluck-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0" + name)
        local.listen()
        said = run(docker_or_skip(), WALLS, str(secret), listener.getsockname()[1], name)
    seen, written, reached, environment, status, processes, folder, root = said  # type: ignore[misc]
    assert (seen, written, reached) == ([], [], [])
    assert set(environment) <= {"HOSTNAME", "LC_CTYPE", *clean_environment("")}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert int(status["Uid"].split()[0]) == os.getuid() or not os.getuid()
    assert status["Uid"].split()[0] != "0"
    assert len(processes) == 2 and folder == "/scratch"
    assert not {"home", "srv", "mnt", "var", "opt"} & set(root)


def test_folders_are_as_large_as_stated() -> None:
    assert_folders_are_as_large_as_stated(docker_or_skip(), SIZES)


def kill_s(mark: str) -> float:
    """How long it takes to end twenty that have fled, and all is over then."""
    took_s = []

    async def main() -> None:
        with trio.fail_after(60):
            process = await docker_or_skip().start()
            talk = Talk(process)
            await talk.give(function("task", ESCAPE), RunTask(1, 1, call(mark, 20)))
            await until_marked(mark, 21)(talk)
            began_s = trio.current_time()
            await process.kill()
            took_s.append(trio.current_time() - began_s)
        assert not marked(mark)

    trio.run(main)
    return took_s[0]


def test_nothing_survives_the_kill_and_the_engine_is_left_with_nothing() -> None:
    docker_or_skip()
    with nothing_left():
        kill_s(f"potluck-test-{os.getpid()}-docker")


@pytest.mark.nightly
def test_the_kill_is_as_fast_as_without_an_engine() -> None:
    """The fastest of a few tries is judged: how busy the machine is besides is not the sandbox's doing."""
    took_s: list[float] = []
    while len(took_s) < TRIES and min(took_s, default=KILL_MAX_S + 1) > KILL_MAX_S:
        took_s.append(kill_s(f"potluck-test-{os.getpid()}-docker-{len(took_s)}"))
    assert min(took_s) <= KILL_MAX_S


def test_a_worker_that_is_not_waited_for_leaves_no_container_behind() -> None:
    async def main(sandbox: Sandbox) -> None:
        for pause_s in (0.001, 0.05, 0.2, 0.3):
            with trio.move_on_after(pause_s):
                await (await sandbox.start()).kill()

    sandbox = docker_or_skip()
    with nothing_left():
        trio.run(main, sandbox)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os\ndef task(): os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("import os\ndef task(): os._exit(3)", "exit status 3"),
    ],
)
def test_a_worker_that_dies_says_how(source: str, said: str) -> None:
    async def main() -> None:
        with trio.fail_after(60):
            process = await docker_or_skip().start()
            await Talk(process).give(function("task", source), RunTask(1, 1, call()))
            assert await process.receive_some() == b""
            assert said in await process.wait()
            await process.kill()

    trio.run(main)


def test_long_payloads_pass_by_descriptor_and_nothing_printed_is_lost() -> None:
    """Neither goes by way of the engine."""
    source = "def task(xs):\n    return xs"
    array = numpy.arange(1 << 17)
    most = 10 * 200_001

    async def main() -> None:
        with trio.fail_after(60):
            process = await docker_or_skip().start()
            talk = Talk(process)
            await talk.give(function("task", source))
            parcel = seal(call(array))
            attached = RunTask(1, 1, Attached(parcel.size_bytes))
            await talk.give_beside([parcel], attached)
            value = await talk.value()
            assert isinstance(value, numpy.ndarray) and (value == array).all()
            await talk.give(function("task", PRINTING, 2), RunTask(2, 2, call(10)))
            printed = 0
            while printed < most:
                assert await process.output_arrived(1)
                printed += len(process.read_output(1))
            finished = await talk.finished()
            assert (finished.fault, printed, finished.stdout_end) == (None, most, most)
            await process.kill()

    trio.run(main)


NODE = """
import trio
from potluck.node.sandboxes.backends import available_sandboxes
from potluck.node.sandboxes.containers import ContainerEngine

async def main():
    process = await available_sandboxes("docker")[0].start()
    print(process.pid, flush=True)
    await trio.sleep_forever()

trio.run(main)
"""
LEFT = """
from potluck.node.sandboxes.containers import ContainerEngine
engine = ContainerEngine.connect()
image = engine.prepare_image()
print(engine._api.create_container_from_config({"Image": image, "Cmd": ["/x"], "Labels": {"potluck.node": engine._owner}})["Id"])
"""  # noqa: E501


def test_containers_end_with_a_node_that_is_killed_and_what_has_not_begun_goes_at_the_next_start(
    tmp_path: Path,
) -> None:
    docker_or_skip()
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", NODE], stdout=subprocess.PIPE, text=True, env=env) as node:
        assert node.stdout is not None
        first = psutil.Process(int(node.stdout.readline()))
        tree = [first, *descendants(first.pid)]
        node.send_signal(signal.SIGKILL)
    _gone, alive = psutil.wait_procs(tree, timeout=PATIENCE_S)
    assert not alive
    made = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, check=True).stdout.strip()
    engine = ContainerEngine.connect()
    try:
        assert made in {one["Id"] for one in engine._api.containers(all=True)}
        available_sandboxes("docker")
        assert made not in {one["Id"] for one in engine._api.containers(all=True)}
    finally:
        engine.close()


@contextmanager
def listening(folder: Path) -> Iterator[str]:
    """Somebody answers there; what, is not asked."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(folder / "s"))
        engine.listen()
        yield f"unix://{folder}/s"


def said_of(address: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Why there is no such sandbox, and what to do."""
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(SandboxUnavailable) as refused:
        available_sandboxes("docker")
    finding = machine.sandbox("docker")
    assert not finding.ok and str(refused.value) in finding.detail
    return str(refused.value), finding.fix


def test_no_engine_is_told_from_one_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    said, fix = said_of("unix:///nonexistent/docker.sock", monkeypatch)
    assert "no engine runs at /nonexistent/docker.sock" in said and "docker.io" in fix
    said, fix = said_of("tcp://127.0.0.1:1", monkeypatch)
    assert "DOCKER_HOST is tcp://127.0.0.1:1" in said and "unix:///" in fix


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with listening(tmp_path) as address:
        said, fix = said_of(address, monkeypatch)
    assert "the package `docker`" in said and "pip install docker" in fix


@pytest.mark.skipif(bool(os.getuid()), reason="the superuser alone can become somebody else")
def test_a_user_who_may_not_use_the_engine_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(tmp_path) as address:
        tmp_path.chmod(0o700)
        os.seteuid(65534)
        try:
            said, fix = said_of(address, monkeypatch)
        finally:
            os.seteuid(0)
    assert "this user may not use the engine" in said and "usermod -aG docker" in fix


def test_what_answers_and_is_no_engine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FALSE_ENGINE, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True
    ) as false:
        assert false.stdout is not None and false.stdout.readline()
        said, fix = said_of(f"unix://{tmp_path}/s", monkeypatch)
        false.kill()
    assert "cannot speak with the engine" in said and fix


FALSE_ENGINE = """
import socket, sys
one = socket.socket(socket.AF_UNIX)
one.bind(sys.argv[1])
one.listen()
print("ready", flush=True)
while True:
    other, _ = one.accept()
    if other.recv(4096):
        other.send(b"hello")
    other.close()
"""
