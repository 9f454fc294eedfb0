"""Runs attempts to escape, inside a throw-away machine: `unshare … python escape_runner.py FOLDER BACKEND`.

Reads names of attempts, one per line; for each it says, as JSON, whether it succeeds with one guarantee switched off
(`loose`), and whether it does as a task of a real node (`held`), and how long that node ever took to tell its status.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import potluck
import psutil
from escapes import ATTEMPTS, PRELUDE, Attempt
from potluck.client.connection import Connection
from potluck.client.dialling import dial, greet
from potluck.client.surroundings import surroundings_of
from potluck.node.inside.seccomp import MACHINES, REFUSED
from potluck.node.sandboxes.bubblewrap import BubblewrapSandbox
from potluck.node.sandboxes.cgroups import Hierarchy
from potluck.node.sandboxes.supervised import Sizes
from potluck.overlay.errors import PotluckError
from potluck.overlay.wire import values
from potluck.overlay.wire.control import AskStatus
from potluck.overlay.wire.work import Inline
from potluck.overlay.wire.worker import FROM_WORKER, TaskFinished

LOOSE_TIMEOUT_S = 20.0
TASK_TIMEOUT_S = 10.0
FLIGHT_TIMEOUT_S = 2.0
STATUS_PAUSE_S = 0.05
NEIGHBOUR_S = 2.5
TASKS = 2_000
"""More than the node has numbered before the last attempt."""
HONEST = "def attempt(world):\n    time.sleep(world['neighbour_s'])\n    return 'honest'\n"
SEGMENT = 0x706F74
UNSHARED = {
    "--unshare-user": "kernel",
    "--unshare-ipc": "memory of others",
    "--unshare-pid": "processes of others",
    "--unshare-net": "network",
    "--unshare-uts": "",
}
FILES_FROM = ("--ro-bind", "--ro-bind-try", "--symlink")


class Loose(BubblewrapSandbox):
    """The shipped sandbox, without one of its guarantees."""

    off = ""

    def command(self, program: str, filters: Sequence[int]) -> Iterator[str]:
        line = list(self._line(() if self.off == "kernel" else filters))
        yield line.pop(0)
        while line:
            yield from self._judged(line)
        yield from ("--cap-add", "ALL") if self.off == "kernel" else ()
        yield from ("--", sys.executable, "-c", program)

    def _judged(self, line: list[str]) -> list[str]:
        """The next option, as it is with one guarantee off. Whole root instead of parts of it comes first of all."""
        word = line.pop(0)
        if word == "--unshare-all":
            kept = [one for one, guarantee in UNSHARED.items() if guarantee != self.off]
            return [*kept, *(("--dev-bind", "/", "/") if self.off == "filesystem" else ())]
        taken = {"--setenv": 2, "--size": 3, "--symlink": 2, "--ro-bind": 2, "--ro-bind-try": 2}.get(word, 1)
        if word in ("--die-with-parent", "--new-session", "--disable-userns", "--clearenv", "--unshare-user"):
            taken = 0
        arguments = [line.pop(0) for _ in range(taken)]
        switched_off = {
            "kernel": word in ("--unshare-user", "--disable-userns", "--cap-drop"),
            "environment": word in ("--clearenv", "--setenv"),
            "filesystem": word in (*FILES_FROM, "--remount-ro", "--dev", "--size", "--tmpfs"),
            # Whoever lives on outlives also the program that has started it all.
            "kill_all": word == "--die-with-parent",
        }
        if self.off == "filesystem" and arguments[-1:] in (["/scratch"], ["/tmp"]) and word != "--remount-ro":
            return ["--chdir", "/"] if word == "--chdir" else []
        return [] if switched_off.get(self.off) else [word, *arguments]


def serve_pong(family: int, kind: int, address: object) -> socket.socket:
    listener = socket.socket(family, kind)
    listener.bind(address)

    def answer() -> None:
        while True:
            if kind == socket.SOCK_DGRAM:
                _ping, sender = listener.recvfrom(4)
                listener.sendto(b"pong", sender)
            else:
                one, _ = listener.accept()
                with one:
                    one.settimeout(1)
                    try:
                        one.recv(4)
                        one.send(b"pong")
                    except OSError:
                        pass  # it came to look only

    if kind == socket.SOCK_STREAM:
        listener.listen()
    threading.Thread(target=answer, daemon=True).start()
    return listener


class Machine:
    """The throw-away machine: its victims, and a node with the shipped sandbox."""

    def __init__(self, folder: Path, backend: str) -> None:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "victims", str(folder)], check=True)
        (folder / "secret").write_text("secret")
        (folder / "home").mkdir()
        (folder / "home" / "letter").write_text("private")
        (folder / "run").mkdir(mode=0o700)
        os.environ.update(
            SECRET_TOKEN="token",
            POTLUCK_DATA_DIR=str(folder / "data"),
            XDG_RUNTIME_DIR=str(folder / "run"),
        )
        self.folder = folder
        self._listeners = {
            "tcp": serve_pong(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "tcp6": serve_pong(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            "udp": serve_pong(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        }
        self._abstract = serve_pong(socket.AF_UNIX, socket.SOCK_STREAM, "\0potluck-victim")
        self._victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "victim"])
        ctypes.CDLL(None).shmget(SEGMENT, 4096, 0o1600)
        self._engine = start_engine(folder) if backend == "docker" else None
        up = [sys.executable, "-m", "potluck", "up", "--json", "--name=victim", "--interface=127.0.0.1", "--slots=2"]
        self._node = subprocess.Popen(
            [*up, f"--sandbox={backend}"], stdout=subprocess.PIPE, stderr=(folder / "log").open("w"), text=True
        )
        assert self._node.stdout is not None
        self.ready = json.loads(self._node.stdout.readline())
        machine = MACHINES[platform.machine()]
        self._calls = {name: one[machine.column] for name, one in REFUSED.items()}
        self._calls |= {"clone": machine.clone, "clone3": machine.clone3}

    def world(self) -> dict[str, object]:
        (self.folder / "spare").write_text("spare")
        return {
            **{name: one.getsockname()[1] for name, one in self._listeners.items()},
            "abstract": "potluck-victim",
            "node_port": self.ready["port"],
            "victim": self._victim.pid,
            "secret": str(self.folder / "secret"),
            "spare": str(self.folder / "spare"),
            "home": str(self.folder / "home"),
            "key": str(next(self.folder.glob("data/nodes/*/key"))),
            "control": str(next(path for path in (self.folder / "run").rglob("*") if path.is_socket())),
            "packages": str(Path(psutil.__file__).parents[1]),
            "code": str(Path(potluck.__file__).parent / "node"),
            "segment": SEGMENT,
            "calls": self._calls,
            "mark": f"potluck-flight-{time.monotonic_ns()}",
            "neighbour_s": 0.0,
            "tasks": list(range(TASKS)),
        }

    def close(self) -> None:
        self._node.send_signal(signal.SIGINT)
        self._node.wait(20)
        self._victim.kill()
        self._victim.wait()
        if self._engine is not None:
            self._engine.terminate()
            self._engine.wait(30)


def start_engine(folder: Path) -> subprocess.Popen[bytes]:
    """Of this machine alone, with nothing outside the folder."""
    socket_path = folder / "engine.sock"
    kept = [f"--{name}={folder / 'engine' / name}" for name in ("data-root", "exec-root", "pidfile")]
    (folder / "engine").mkdir()
    engine = subprocess.Popen(
        ["dockerd", "--bridge=none", "--iptables=false", "--ip-forward=false", *kept, f"--host=unix://{socket_path}"],
        stdout=(folder / "engine.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    os.environ["DOCKER_HOST"] = f"unix://{socket_path}"
    end = time.monotonic() + LOOSE_TIMEOUT_S
    while not socket_path.exists() and engine.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    return engine


def program_of(attempt: Attempt, world: dict[str, object]) -> str:
    before = f"{attempt.leaves}\nattempt(WORLD)\n" if attempt.leaves else ""
    return f"{PRELUDE}\nWORLD = {world!r}\n{before}{attempt.program}\nprint(f'\\n{{attempt(WORLD)}}')\n"


def alive(mark: object) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if mark in (process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def succeeds_loose(sandbox: Loose, attempt: Attempt, world: dict[str, object]) -> object:
    """True, or what it said instead."""
    if attempt.spoofs:
        return spoofs_loose(sandbox, attempt, world)
    sandbox.off = "processes of others" if attempt.flees else attempt.guarantee
    read, write = os.pipe()
    os.write(write, sandbox._filter)
    os.close(write)
    command = list(sandbox.command(program_of(attempt, world), (read,)))
    limit_s = FLIGHT_TIMEOUT_S if attempt.flees else LOOSE_TIMEOUT_S
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(read,), start_new_session=True
    ) as process:
        os.close(read)
        if attempt.flees:
            return flees(world["mark"], lambda: process.kill(), limit_s)
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "it took too long"
    said = out.decode(errors="replace").strip().rpartition("\n")[2]
    return True if said == "True" else f"{said[-200:]} {err.decode(errors='replace')[-500:]}"


def spoofs_loose(sandbox: Loose, attempt: Attempt, world: dict[str, object]) -> object:
    """To a node that believes whatever comes through a pipe."""
    sandbox.off = ""
    ours, theirs = socket.socketpair()
    frames = FROM_WORKER.frames()
    with ours, theirs:
        ours.settimeout(LOOSE_TIMEOUT_S)
        command = list(sandbox.command(program_of(attempt, world), ()))
        with subprocess.Popen(command, pass_fds=(theirs.fileno(),), stdout=subprocess.DEVNULL) as process:
            while (body := frames.next_body()) is None:
                frames.feed(ours.recv(1 << 16))
            process.kill()
    said = FROM_WORKER.decode(body)
    return isinstance(said, TaskFinished) and isinstance(said.value, Inline) and values.decode(said.value) == "forged"


def flees(mark: object, end: Callable[[], object], limit_s: float) -> object:
    """Whether any is left when `end` has returned."""
    waited_s = time.monotonic() + limit_s
    while len(alive(mark)) < 3 and time.monotonic() < waited_s:
        time.sleep(0.02)
    begun = len(alive(mark))
    end()
    left = alive(mark)
    for process in left:
        process.kill()
    return True if left else f"{begun} began, none is left"


def run_task(program: str, world: dict[str, object]) -> object:
    names: dict[str, object] = {}
    exec(program, names)
    attempt = names["attempt"]
    assert callable(attempt)
    return attempt(world)


def succeeds_held(attempt: Attempt, world: dict[str, object]) -> object:
    """True, or how the node ended it."""
    limits = dict(attempt.limits)
    timeout = FLIGHT_TIMEOUT_S if attempt.flees else TASK_TIMEOUT_S
    options = potluck.options(limits=limits, timeout=timeout, retries=0)

    def one_job(program: str) -> object:
        with potluck.Executor("victim", output=False) as pool:
            return pool.submit(options(run_task), PRELUDE + program, world).result(60)

    if attempt.beside or attempt.spoofs:
        return held_beside(attempt, lambda: one_job(attempt.program), world)
    if attempt.leaves:
        one_job(attempt.leaves)
    try:
        if attempt.flees:
            return flees(world["mark"], lambda: ended(one_job, attempt.program), 0.0)
        return bool(one_job(attempt.program))
    except PotluckError as error:
        return f"{type(error).__name__}: {error}"


def held_beside(attempt: Attempt, try_it: Callable[[], object], world: dict[str, object]) -> object:
    """While another job of the same owner runs."""
    with potluck.Executor("victim", output=False) as pool:
        other = pool.submit(run_task, PRELUDE + (attempt.leaves or HONEST), world | {"neighbour_s": NEIGHBOUR_S})
        while not other.running():
            time.sleep(0.01)
        try:
            said = bool(try_it())
        except PotluckError as error:
            said = f"{type(error).__name__}: {error}"
        if attempt.spoofs:
            return other.result(60) == "forged"
        potluck.cancel(other)
        return said


def ended(one_job: Callable[[str], object], program: str) -> object:
    try:
        return one_job(program)
    except PotluckError as error:
        return error


class Watch:
    """Asks the node for its status all the time; the longest it has taken since `begin`."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._connection = Connection(lambda: greet(dial(surroundings_of(os.environ), "victim")))
        self._connection.start()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._stop.wait(STATUS_PAUSE_S):
            began_s = time.monotonic()
            self._connection.ask(AskStatus).result(30)
            self.longest_s = max(self.longest_s, time.monotonic() - began_s)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()


def main(folder: Path, backend: str) -> None:
    machine = Machine(folder, backend)
    sandbox = Loose.find(Sizes(), Hierarchy.find())
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        attempt = ATTEMPTS[line.strip()]
        loose = succeeds_loose(sandbox, attempt, machine.world())
        watch = Watch()
        try:
            held = succeeds_held(attempt, machine.world())
        finally:
            watch.close()
        print(json.dumps({"loose": loose, "held": held, "status_s": watch.longest_s}), flush=True)
    machine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
