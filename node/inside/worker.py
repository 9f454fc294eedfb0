"""The program inside a sandbox: `python -m potluck.node.inside.worker PIPE,TALLY [LIMIT=N ...]`.

It speaks `overlay.wire.worker` over the first inherited descriptor and runs one task at a time, in the main thread.
What it needs before the first task is the standard library and msgspec alone. File descriptors 1 and 2 are pipes that
the node reads, 0 is one that it feeds: whatever a task, its children or its C code print or read goes that way, and the
protocol never touches them.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Final, TextIO

from ...overlay.errors import LimitExceeded, LocalProtocolError
from ...overlay.wire import inside
from ...overlay.wire.setting import Setting, setting_in
from ...overlay.wire.work import Fault, Inline
from ...overlay.wire.worker import LoadProgram, RunTask, TaskFinished, WarmUp, WorkerReady, opened
from .keeping import States
from .programs import Libraries, Program, load
from .reports import Outcome, fault_of, outcome_of
from .surroundings import TaskFolder
from .tally import Written

LOOK_AGAIN_S: Final = 0.002
"""After a task this long, the node may have withdrawn what waits behind it."""

_LIMITS: Final = {
    "core": resource.RLIMIT_CORE,
    "files": resource.RLIMIT_NOFILE,
    "file_bytes": resource.RLIMIT_FSIZE,
    "processes": resource.RLIMIT_NPROC,
}


class Output:
    """stdout and stderr: one duplicate of each is kept, so that a task may close or replace them."""

    def __init__(self, written: Written) -> None:
        self._written = written
        self._kept = (os.dup(1), os.dup(2))
        self._ends = tuple(map(_end_of, self._kept))
        self._ours = (self._open(1), self._open(2))
        sys.stdout, sys.stderr = self._ours

    @staticmethod
    def _open(descriptor: int) -> TextIO:
        return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)

    def ends(self) -> tuple[int, int]:
        """Flushes; how much has been written to both, which is where the next task's output begins."""
        self._settle()
        return self._written.bytes_of(1, self._kept[0]), self._written.bytes_of(2, self._kept[1])

    def _settle(self) -> None:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            if (sys.stdout, sys.stderr) == self._ours and (_end_of(1), _end_of(2)) == self._ends:
                return
        except (OSError, ValueError, AttributeError):
            pass  # closed or replaced by something that cannot be flushed; either way the next task gets a sound one
        self._restore()

    def _restore(self) -> None:
        sound = []
        for ours, kept, descriptor in zip(self._ours, self._kept, (1, 2), strict=True):
            os.dup2(kept, descriptor)
            try:
                ours.flush()
                sound.append(ours)
            except (OSError, ValueError):
                sound.append(self._open(descriptor))
        self._ours = (sound[0], sound[1])
        sys.stdout, sys.stderr = self._ours


def _end_of(descriptor: int) -> tuple[int, int]:
    """Which pipe it is: what a task has opened in its place is another file. Raises OSError for one that is closed."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


class StandardInput:
    """Descriptor 0: nothing, but while a task runs that has a standard input."""

    def __init__(self) -> None:
        self._pipe = os.dup(0)
        self._point_at_nothing()

    def open(self) -> None:
        os.dup2(self._pipe, 0)
        sys.stdin = self._file()

    def close(self) -> None:
        self._point_at_nothing()
        sys.stdin = self._file()

    @staticmethod
    def _file() -> TextIO:
        return open(0, encoding="utf-8", errors="surrogateescape", closefd=False)

    @staticmethod
    def _point_at_nothing() -> None:
        nothing = os.open(os.devnull, os.O_RDONLY)
        if nothing:  # a task may have closed the descriptor
            os.dup2(nothing, 0)
            os.close(nothing)


class Worker:
    def __init__(self, pipe: inside.NodePipe, states: States, written: Written) -> None:
        self._pipe = pipe
        self._states = states
        self._output = Output(written)
        self._input = StandardInput()
        self._unloaded: dict[int, LoadProgram] = {}
        self._programs: dict[int, Program] = {}
        self._libraries = Libraries()
        self._setting = Setting()

    def serve(self) -> None:
        """Returns when the node has gone."""
        while (work := self._pipe.next_work()) is not None:
            if isinstance(work, LoadProgram):
                self._unloaded[work.program] = work
            elif isinstance(work, WarmUp):
                _import(work.modules)
            else:
                self._do(work)
            del work  # long arguments are not held while there is nothing to do

    def _do(self, task: RunTask) -> None:
        pipe = self._pipe
        finished = self._run(task)
        try:
            pipe.send_finished(finished)
        except LocalProtocolError as error:
            too_long = Fault(LimitExceeded.wire_code, f"the result is too long to be sent: {error}")
            pipe.send(TaskFinished(task.task, None, too_long, False, finished.elapsed_s))
        if finished.elapsed_s > LOOK_AGAIN_S:
            pipe.take_arrived()

    def _run(self, task: RunTask) -> TaskFinished:
        value: Inline | None = None
        fault: Fault | None = None
        pickled = False
        started_s = perf_counter()
        self._pipe.begin_task(task.task)
        self._states.begin(task.checkpoint)
        if task.takes_input:
            self._input.open()
        try:
            value, pickled, fault = self._outcome(task)
        except BaseException as error:  # noqa: BLE001 (SystemExit and KeyboardInterrupt too end the task, not the worker)
            fault = fault_of(error, may_pickle=task.may_pickle)
        if task.takes_input:
            self._input.close()
        self._pipe.end_task()
        stdout_end, stderr_end = self._output.ends()
        elapsed_s = perf_counter() - started_s
        with_files = value is not None and bool(self._setting.outputs)
        return TaskFinished(task.task, value, fault, pickled, elapsed_s, stdout_end, stderr_end, with_files)

    def _outcome(self, task: RunTask) -> Outcome:
        if task.program not in self._programs:
            self._take_needs()
        if self._setting.is_plain:
            return self._run_program(task)
        with TaskFolder(self._setting) as folder:
            return folder.run(lambda: self._run_program(task))

    def _run_program(self, task: RunTask) -> Outcome:
        program = self._programs.get(task.program) or self._load(task.program)
        return outcome_of(program.run(opened(task.arguments)), may_pickle=task.may_pickle)

    def _take_needs(self) -> None:
        for needed in [message for message in self._unloaded.values() if message.form in ("library", "setting")]:
            if needed.form == "library":
                self._libraries.add(needed)
            else:
                self._setting = setting_in(opened(needed.body))
                os.environ.update(self._setting.env)
            del self._unloaded[needed.program]

    def _load(self, number: int) -> Program:
        """A program that failed to load is tried again by the next task, which then has the same fault."""
        program = self._programs[number] = load(self._unloaded[number])
        del self._unloaded[number]
        return program


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        with suppress(Exception):  # whatever it is, the task that needs it has it again, and says so
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _limit(settings: list[str]) -> None:
    for setting in settings:
        name, _, number = setting.partition("=")
        if name == "end_with":
            _end_with(int(number))
            continue
        wanted = int(number)
        _soft, hard = resource.getrlimit(_LIMITS[name])
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(_LIMITS[name], (most, most))


def go_first() -> None:
    """When the machine runs out of memory, this goes before anything of its user."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        pass  # without /proc, or where it is not to be written


def _end_with(parent: int) -> None:
    """Has the kernel kill this process when the node dies, for sandboxes that do not see to it themselves."""
    from ctypes import CDLL

    set_parent_death_signal = 1
    CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main(arguments: list[str]) -> None:
    sys.argv = [""]  # ours say nothing to a task
    descriptor, tally = map(int, arguments[0].split(","))
    os.set_inheritable(descriptor, False)
    written = Written(tally)
    os.close(tally)
    _limit(arguments[1:])
    go_first()
    pipe = inside.NodePipe(descriptor)
    states = States(pipe)
    inside.enter(pipe, states)
    program = Worker(pipe, states, written)
    try:
        pipe.send(WorkerReady(f"{sys.version_info.major}.{sys.version_info.minor}"))
        _import([f"{__package__}.homeward"])  # while the node prepares the first task
        program.serve()
    except OSError:
        pass  # the node has gone, or this is a forked child that ran on into our code
    # Threads and exit handlers that tasks left behind have no one left to work for.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
