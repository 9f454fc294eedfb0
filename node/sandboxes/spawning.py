"""Starting a worker program as a child of the node: what the sandboxes that need no engine for it share.

Processes are started with `subprocess.Popen` from the main thread, or from one that stays until the end (`headstart`):
the kernel's parent-death signal follows the thread that forked, so a thread of a pool would take the worker with it
when it goes idle.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

import msgspec
import trio

from ...overlay.errors import SandboxUnavailable
from ...overlay.ports import Gpu
from ..resources.gpus import environment_of
from .pipes import Pipes, ending, open_pipes

WORKER_MODULE: Final = "potluck.node.inside.worker"


class Child:
    """A process that this one has started, and has to reap."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self._handle = os.pidfd_open(popen.pid)
        self._reaping = trio.Lock()

    @property
    def pid(self) -> int:
        return self._popen.pid

    async def wait(self) -> str:
        """How it ended, for a person."""
        async with self._reaping:
            if self._popen.returncode is None:
                await trio.lowlevel.wait_readable(self._handle)
                self._popen.wait()
        return ending(self._popen.returncode)

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)

    def close(self) -> None:
        os.close(self._handle)


class Spawned(msgspec.Struct):
    """A started process, and this side of its pipes."""

    child: Child
    pipes: Pipes


@contextmanager
def starting() -> Iterator[None]:
    """A worker. What the system does not give is a SandboxUnavailable."""
    try:
        yield
    except OSError as error:
        raise SandboxUnavailable(f"a worker process cannot be started: {error}") from error


def spawn(
    command: Callable[[str], Sequence[str]], *, env: dict[str, str], cwd: str | None = None, keep: Sequence[int] = ()
) -> Spawned:
    """Starts `command(the worker's descriptors, as its first argument)`. Raises OSError, and nothing is left."""
    with ExitStack() as theirs, ExitStack() as ours:
        pipes, ends = open_pipes(ours, theirs)
        stdin, stdout, stderr = ends.standard
        popen = subprocess.Popen(
            command(f"{ends.pipe},{ends.tally}"),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(ends.pipe, ends.tally, *keep),
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        child = _held(popen)
        ours.pop_all()
    return Spawned(child, pipes)


def _held(popen: subprocess.Popen[bytes]) -> Child:
    """Raises OSError, and nothing is left."""
    try:
        return Child(popen)
    except OSError:
        popen.kill()
        popen.wait()
        raise


def clean_environment(home: str, gpus: Sequence[Gpu] = ()) -> dict[str, str]:
    """Nothing of the node's own environment but where to find programs, and which GPUs they may use."""
    return {
        **environment_of(gpus),
        "HOME": home,
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": "/tmp",  # noqa: S108 (a sandbox has its own)
    }
