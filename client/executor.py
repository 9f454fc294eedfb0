"""`potluck.Executor`: the mesh as a concurrent.futures executor."""

from __future__ import annotations

import concurrent.futures
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Never, NoReturn, ParamSpec, TypeVar

import msgspec

from ..overlay.errors import NoNode, NotAllowed, UsageError
from ..overlay.wire import inside
from ..overlay.wire.control import JobOptions
from ..overlay.wire.setting import Setting, encoded
from . import porting
from .connection import Connection
from .dependencies import Call, futures_in, resolved, when_done
from .dialling import dial, greet
from .files import Home, body_of_setting
from .forking import forgets_parent
from .futures import Job, TaskFuture
from .kinds import Kind, call_of
from .mapping import Inputs, Pulse, Window, mapping, sizer_for
from .options import Optioned, lifted, plain
from .private import OF_PROGRAM
from .programs import Arguments, Body, Packer, body_of
from .progress import Wish, bar_for
from .redialling import Redialler
from .references import References
from .stateful import is_stateful, taken
from .surroundings import Surroundings, here

P = ParamSpec("P")
R = TypeVar("R")

FUNCTIONS_KEPT: Final = 256
"""Pickled functions an executor remembers. More serve programs that go round many; a lambda is new each time."""

PROGRAMS_MAX: Final = 8192
"""Of one job, that a node keeps for it: of a program that makes a function for each call, the next is another job's."""


class _Line(NamedTuple):
    """Where calls of one function go."""

    job: Job
    body: Body
    fault: Exception | None
    """Why the function cannot travel."""
    libraries: tuple[Body, ...]
    """Those of the program when the function was pickled."""
    references: References
    """What it referred to then."""
    kind: str = ""
    """Whatever handles it is at the nodes."""

    def serves(self, libraries: tuple[Body, ...]) -> bool:
        """A call of now, when these are the program's libraries."""
        return self.libraries is libraries and not self.job.is_retired and self.job.connection.error is None


class _Lines:
    """Lines of functions by identity, for as long as somebody else holds the function: none is kept alive here."""

    def __init__(self) -> None:
        self._found: OrderedDict[int, tuple[weakref.ref[Any], _Line]] = OrderedDict()

    def get(self, function: object) -> _Line | None:
        known = self._found.get(id(function))
        if known is None or known[0]() is not function or not known[1].references.hold():
            return None
        return known[1]

    def keep(self, function: object, line: _Line) -> None:
        """For what changes as it likes, or knows no weak references, every call is the first."""
        if is_stateful(function):
            return
        key, found = id(function), self._found
        try:
            found[key] = weakref.ref(function, lambda _gone: found.pop(key, None)), line
        except TypeError:
            return
        if len(found) > FUNCTIONS_KEPT:
            found.popitem(last=False)


class Executor(concurrent.futures.Executor):
    """Runs functions on the mesh of this user's running node, or on a private node when the user runs none.

    node           which of the user's nodes; default: POTLUCK_NODE, else the first by name that runs
    trust_results  open results that are pickles even when another owner's machine made them
    output         what tasks print is shown here, as lines, while they run; `future.stdout` has its beginning and end
    surroundings   where the user's nodes lie; default: what the environment says

    A function is pickled when it is first submitted, and again when a name that it refers to stands for something else
    or modules of the program are loaded again, as in a notebook; what is changed in place is taken as it was. Other
    objects that can be called are pickled at each call, or once for a `map`. A node keeps thousands of functions and
    states of such objects; after that the next ones go to sandboxes of their own, and it forgets the others.
    `submit` never blocks; what the node has no room for waits in this program. After `os.fork` the child's calls go
    over a connection of its own, and futures it has copied fail there if they were pending.
    """

    def __init__(
        self,
        node: str | None = None,
        *,
        trust_results: bool = False,
        output: bool = True,
        surroundings: Surroundings | None = None,
        **others: Never,
    ) -> None:
        """Raises UsageError for what other executors are given, and says what to do instead."""
        porting.check(node, others)
        self._node = node
        self._output = output
        self._surroundings = surroundings
        self._trust_results = trust_results
        self._connection: Connection | None = None
        self._jobs: dict[tuple[JobOptions, bytes | None, int], Job] = {}
        """By options, the setting that their tasks run in, and the generation of the program's own modules."""
        self._lines = _Lines()
        self._packer = Packer()
        self._lock = threading.RLock()
        self._is_shut = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """What cannot be pickled fails at `result()`, as with other executors.

        A future among the arguments, or in a list or tuple among them, stands for its result: the call is sent once
        all of them are done, and only then pickled. It fails as the first of them that does.
        """
        self._check_open()
        if awaited := futures_in(args, kwargs):
            return self._submit_later(fn, (args, kwargs), awaited)
        return self._submit(fn, *args, **kwargs)

    def _submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        line = self._line_of(fn)
        classes: list[type] = []
        try:
            arguments = self._arguments(line, (args, kwargs), classes)
        except Exception as error:  # noqa: BLE001  pickling runs the user's own __reduce__
            return line.job.failed(line.body, error)
        if line.fault is not None:
            return line.job.failed(line.body, line.fault)
        if line.libraries is not self._packer.libraries:
            line = self._line(fn)  # the program has imported more since the function was pickled
        return line.job.submit(line.body, arguments, classes, kind=line.kind)

    def _arguments(self, line: _Line, call: Call, classes: list[type]) -> Arguments:
        return call_of(line.kind, *call) if line.kind else self._packer.arguments(*call, classes)

    def _submit_later(self, fn: Callable[..., Any], call: Call, awaited: Sequence[Future[Any]]) -> TaskFuture:
        line = self._line_of(fn)
        if line.fault is not None:
            return line.job.failed(line.body, line.fault)
        future = line.job.defer(line.body)
        future.kind = line.kind

        def send() -> None:
            classes: list[type] = []
            try:
                arguments = self._arguments(line, resolved(call), classes)
                if line.libraries is not self._packer.libraries:
                    future.program = self._line(fn).body  # the program has imported more meanwhile
            except Exception as error:  # noqa: BLE001  pickling runs the user's own __reduce__
                future.fail(error)
            else:
                future.classes = classes
                line.job.send_deferred(future, arguments)

        when_done(awaited, future, send, line.job.connection.turns)
        return future

    def map(
        self,
        fn: Callable[..., R],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 0,
        buffersize: int | None = None,
        progress: Wish = False,
    ) -> Iterator[R]:
        """Results in the order of the inputs.

        Fills its window at the call and takes further inputs as results are taken, so that inputs may be endless. The
        window is `buffersize` inputs, else 1024 tasks. `chunksize` 0: calls are put together so that a task takes about
        50 ms; then, and until the first have been seen, it is 64 tasks, or four for each slot of the mesh. Calls that
        are put together are given their arguments at once and send their results at once, so that what one of them
        changes in an object that another has, too, both see; `chunksize=1` keeps them apart.
        `progress` True: a bar on a terminal (stderr) or in a notebook; "always": else lines of text, too.
        """
        self._check_open()
        pulse = Pulse(bar_for(progress, iterables, getattr(fn, "__name__", "map")))
        return mapping(self.window(fn, iterables, chunksize, buffersize, pulse.beat), pulse, timeout_s=timeout)

    def window(
        self,
        fn: Callable[..., R],
        iterables: tuple[Iterable[Any], ...],
        chunksize: int,
        buffersize: int | None,
        on_progress: Callable[[int], None],
    ) -> Window[R]:
        """What a map is made of, for those who wait in another way than by blocking a thread."""
        self._check_open()
        fn = taken(fn)
        return Window(
            self._submit,
            fn,
            Inputs(iterables),
            sizer=sizer_for(fn, chunksize),
            buffersize=buffersize,
            on_progress=on_progress,
            run_at_once=self._slots(),
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._is_shut = True
            connection, jobs = self._connection, list(self._jobs.values())
        if connection is None:
            return
        if cancel_futures:
            for job in jobs:
                for future in job.unfinished():
                    future.cancel()
        if not wait or connection.is_own_thread:  # a callback of a task that waits for the others would wait for ever
            connection.close_when_idle()
            return
        connection.wait_idle()
        connection.close()

    def abandon(self) -> None:
        """Shuts down at once: what runs is ended, and what is unfinished fails."""
        self._is_shut = True
        if self._connection is not None:
            self._connection.close()

    def __enter__(self) -> Executor:
        """Connects: a node that is yet to be started starts meanwhile, and a wrong name is an error here."""
        with self._lock:
            self._check_open()
            self._connected()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.abandon()  # who pressed Ctrl+C does not want to wait for the rest
            return
        try:
            self.shutdown(wait=True)
        except KeyboardInterrupt:
            self.abandon()
            raise

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Executor belongs to its program: a task cannot be given one")

    def end_with_task(self) -> None:
        """What it has submitted inside a task ends with that; a next task's call begins a connection anew."""
        if self._connection is not None:
            self._connection.close()
        self.forget_parent()

    def forget_parent(self) -> None:
        """In a forked child: the next call begins a connection of the child's own."""
        self._lock = threading.RLock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._connection = None
        self._jobs = {}
        self._lines = _Lines()

    def _check_open(self) -> None:
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if not threading.main_thread().is_alive():  # what is pending is finished, and nothing is begun any more
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def _line_of(self, fn: Callable[..., Any]) -> _Line:
        self._packer.look_again()
        line = self._lines.get(fn)
        return line if line is not None and line.serves(self._packer.libraries) else self._line(fn)

    def _line(self, fn: Callable[..., Any]) -> _Line:
        """Raises NoNode where the named node does not run."""
        with self._lock:
            lost = self._connection
            if lost is not None and lost.error is not None and lost.was_greeted:
                self._begin_anew()  # whoever calls from now on is served by whoever runs by now
            of = lifted(fn)
            options, setting = (of.options, of.setting) if isinstance(of, Optioned) else (JobOptions(), None)
            trusts, shows = self._trust_results, self._output
            wanted = msgspec.structs.replace(options, trust_results=trusts, streams_output=shows)
            job, needs = self._job(wanted, setting), body_of_setting(setting)
            function = plain(of)
            if isinstance(function, Kind):
                line = _Line(
                    job,
                    body_of("kind", b""),
                    _fault_of_kind(options),
                    self._packer.libraries,
                    References(function),
                    function.name,
                )
                self._lines.keep(fn, line)
                return line
            references = References(function)  # before it is pickled, which may take a while
            try:
                body, fault = self._packer.body(function, needs), None
            except Exception as error:  # noqa: BLE001  pickling runs the user's own __reduce__
                body, fault = body_of("callable", b""), error
            line = _Line(job, body, fault, self._packer.libraries, references)
            self._lines.keep(fn, line)
            return line

    def _job(self, options: JobOptions, setting: Setting | None) -> Job:
        key = options, None if setting is None else encoded(setting).data, self._packer.generation
        for known, one in list(self._jobs.items()):
            if known[2] != key[2] or len(one.programs_sent) >= PROGRAMS_MAX:
                one.is_retired = True
                del self._jobs[known]
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = self._connected().open_job(options)
            if setting is not None and setting.outputs:
                job.home = Home(Path.cwd(), setting.outputs)
        return job

    def _slots(self) -> int:
        """Of the mesh, as far as its node has told."""
        connection = self._connection
        if connection is None or not connection.greeted.done() or connection.greeted.exception() is not None:
            return 0
        return connection.greeted.result().slots_in_mesh

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = _connection_to(self._node, self._surroundings or here())
            forgets_parent(self)
            if (pipe := inside.current()) is not None:
                pipe.when_task_ends(partial(_end_with_task, weakref.ref(self)))
            connection.start()
            self._connection = connection  # not before: one whose start was interrupted serves nobody
            # An executor that nobody holds any more is shut down without waiting.
            weakref.finalize(self, connection.close_when_idle).atexit = False
        return self._connection


def _fault_of_kind(options: JobOptions) -> Exception | None:
    if options.cache:
        return UsageError("what a handler returns is not kept for later: two nodes may have different ones")
    return None


def _end_with_task(held: weakref.ref[Executor]) -> None:
    """What it has submitted ends; the worker's next task may use the same executor."""
    if (executor := held()) is not None:
        executor.end_with_task()


def _connection_to(node: str | None, surroundings: Surroundings) -> Connection:
    """To a node that runs: at once, so that a wrong name is an error here. Else to one that is yet to be started.
    Inside a task, to the node that runs it."""
    if (pipe := inside.current()) is not None:
        if node:
            raise NotAllowed("a task submits to the node that runs it: leave out the node's name")
        line = pipe.open_line()
        return Connection(lambda: greet(line))
    inside.check_no_child()
    try:
        link = dial(surroundings, node)
    except NoNode:
        if node or surroundings.node:
            raise
        OF_PROGRAM.want()
        return Connection(OF_PROGRAM.dial, OF_PROGRAM.let_go, Redialler(OF_PROGRAM.dial))
    return Connection(lambda: greet(link), link.close, Redialler(lambda: greet(dial(surroundings, node))))
