"""One task, seen from the program."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ..overlay.errors import PotluckError, RemoteProtocolError, WorkerLost
from ..overlay.wire import inside
from ..overlay.wire.control import InputAsked, JobOptions, Printed
from ..overlay.wire.setting import files_in
from ..overlay.wire.work import Finished, Inline
from .files import Home
from .input import StandardInput
from .outcomes import CancelledWhileRunning, exception_of, value_of
from .output import JobOutput
from .programs import Arguments, Body, body_of
from .questions import reject
from .waiting import SharedCondition, Waiters

if TYPE_CHECKING:
    from .connection import Connection

_logger: Final = logging.getLogger("concurrent.futures")
"""Where the standard library's futures tell of such things."""


class Job:
    """The tasks of one connection that share their options.

    `backlog` is filled by whoever submits and emptied by the connection's writer; the rest belongs to the writer,
    but for `in_flight`, from which the reader takes what has finished. Any thread may `drop` it all.
    """

    def __init__(
        self, connection: Connection, options: JobOptions, *, as_reports: bool = False, detached: bool = False
    ) -> None:
        """`as_reports`: for showing rather than for computing. Reports are kept whole, and no pickle is opened.
        `detached`, of a job that lasts: nobody waits here for what its tasks do. Each is done, with None, when it is
        safe."""
        self.connection = connection
        self.options = options
        self.as_reports = as_reports
        self.detached = detached
        self.safe_tasks = 0
        """Of a job that lasts, how many of its tasks are known to be safe, the first ones."""
        self.lock = connection.futures_lock
        self.is_asked_for = False
        """Whether the node there is now has been asked to open it."""
        self.id: str | None = None
        """None until that node has opened it."""
        self.opened: Future[str] = Future()
        """The same, for whoever waits for it."""
        self.error: PotluckError | None = None
        """Why the node has not opened it, or will answer no more."""
        self.backlog: deque[TaskFuture] = deque()
        self.in_flight: dict[int, TaskFuture] = {}
        self.deferred: set[TaskFuture] = set()
        """Not in the backlog yet, because they await others."""
        self.output: JobOutput | None = None
        """Shows what its tasks print, if that is wanted."""
        if options.streams_output:
            self.output = JobOutput(connection.printer, connection.tell, by_line=not as_reports)
        self.home: Home | None = None
        """Where files go that its tasks bring."""
        self.input = StandardInput(connection.tell) if options.takes_input else None
        self.next_index = 0
        self.programs_sent: set[bytes] = set()
        self.is_retired = False
        """Whoever submits has gone on to another job. Once nothing of it is to be done, the node forgets it, with all
        its programs; whoever comes too late has it opened again."""

    @property
    def wants_opening(self) -> bool:
        return not self.is_asked_for and (not self.is_retired or bool(self.backlog))

    @property
    def wants_closing(self) -> bool:
        return self.is_retired and self.id is not None and self.is_idle

    def forget_node(self) -> None:
        """There, it is as if there had been no such job."""
        self.id, self.is_asked_for = None, False
        self.next_index = 0
        self.programs_sent.clear()
        if self.output is not None:
            self.output.begin_again()

    def hear(self, message: Printed | InputAsked) -> None:
        """What its tasks say while they run."""
        if isinstance(message, InputAsked):
            if self.input is not None:
                self.input.ask(message)
        elif self.output is not None:
            self.output.take(message)

    def trusts(self, own: bool) -> bool:
        """Whether a pickled result of one of our own machines, or of another's, is opened."""
        return not self.as_reports and (own or self.options.trust_results)

    def submit(
        self, program: Body, arguments: Arguments, classes: Sequence[type] = (), *, kind: str = ""
    ) -> TaskFuture:
        """Never blocks."""
        future = TaskFuture(self, program, arguments)
        if classes:
            future.classes = classes
        if kind:
            future.kind = kind
        self.connection.post(future)
        return future

    def defer(self, program: Body) -> TaskFuture:
        """A task whose arguments are yet to come; `send_deferred` brings them, unless it is done before."""
        future = TaskFuture(self, program, Inline(b""))
        self.deferred.add(future)
        future.add_done_callback(self._no_more_deferred)
        if error := self.connection.error or self.error:
            future.fail(error)
        return future

    def send_deferred(self, future: TaskFuture, arguments: Arguments) -> None:
        future.arguments = arguments
        future.size_bytes = arguments.size_bytes
        self.connection.post(future)
        self.deferred.discard(future)  # last: a task is never nowhere

    def take_back(self) -> list[TaskFuture]:
        """For another node, which knows nothing of it: what was in flight goes first. As `Window.take_back`."""
        self.forget_node()
        flying = [future for _index, future in sorted(self.in_flight.items())]
        again = [future for future in flying if future.may_go_again()]
        for future in again:
            future.index = None
        self.backlog.extendleft(reversed(again))
        self.in_flight.clear()  # last: a task is never nowhere
        if self.error is not None:  # whoever has dropped it meanwhile may have looked for these where they are no more
            self.drop(self.error)
        return [future for future in flying if future.index is not None and not future.done()]

    def first(self) -> TaskFuture | None:
        """What is to be sent next."""
        try:
            return self.backlog[0]
        except IndexError:
            return None

    def take_first(self, future: TaskFuture) -> bool:
        """Out of the backlog, for the writer, who saw it at the front. False if it was dropped meanwhile."""
        try:
            first = self.backlog.popleft()
        except IndexError:
            return False
        if first is not future:  # nor will `drop` see this one
            assert self.error is not None
            first.give_up(self.error)
        return first is future

    def launch(self, future: TaskFuture) -> bool:
        """Numbers the first of the backlog. In flight first: a task is never in neither. As `take_first`."""
        index = self.next_index
        self.next_index = index + 1
        self.in_flight[index] = future
        if not self.take_first(future):
            self.in_flight.pop(index, None)
            return False
        future.index = index
        return True

    def drop(self, error: PotluckError) -> None:
        """Gives all of it up. Whoever adds to it later looks at `error` then."""
        self.error = error
        reject(self.opened, error)
        while self.backlog:
            try:
                future = self.backlog.popleft()
            except IndexError:
                break  # somebody else drops them, too
            future.give_up(error)
        for future in tuple(self.deferred):
            future.give_up(error)
        for index in list(self.in_flight):
            if lost := self.in_flight.pop(index, None):
                lost.give_up(error)

    def unfinished(self) -> tuple[TaskFuture, ...]:
        return (*self.deferred, *self.backlog, *self.in_flight.values())

    @property
    def is_idle(self) -> bool:
        return not (self.backlog or self.in_flight or self.deferred)

    def _no_more_deferred(self, future: Future[Any]) -> None:
        assert isinstance(future, TaskFuture)
        if future in self.deferred:
            self.deferred.discard(future)
            self.connection.withdraw(future)

    def failed(self, program: Body, error: Exception) -> TaskFuture:
        """A task that could not even be sent."""
        future = TaskFuture(self, program, Inline(b""))
        future.fail(error)
        return future


_NOTHING: Final = body_of("kind", b"")


class TaskFuture(Future[Any]):
    """A future whose `cancel` reaches the node: True until a notice that the task runs has come back."""

    kind = ""
    classes: Sequence[type] = ()
    """Those that travel with the arguments, let go with these."""
    killed = False
    """Withdrawn, though it may have been running."""
    lost = 0
    """How many nodes it has been sent to that were lost before it ended."""
    node = ""
    """Where it runs, or ran."""
    attempts = 0
    elapsed_s = 0.0
    stdout = ""
    """What the task printed, once it is done."""
    stderr = ""
    printed = 0
    """By which number its printer knows that this is shown; 0 where nothing is."""
    files: tuple[str, ...] = ()
    """Names of the outputs it brought home."""
    result_bytes = 0
    finished: Finished | None = None
    """All that was reported, for jobs that keep it."""

    def __init__(self, job: Job, program: Body, arguments: Arguments) -> None:
        # In place of Future.__init__, which makes a lock of its own; a test holds the names against it.
        self._condition = SharedCondition(job.lock)  # type: ignore[assignment]
        self._state = "PENDING"
        self._result = None
        self._exception = None
        self._waiters: list[Any] = [] if inside.current() is None else Waiters()
        self._done_callbacks: list[Any] = []
        self.job = job
        self.program = program
        self.arguments: Arguments | None = arguments
        """These and the program are let go when its result is there: until then another node may need them."""
        self.size_bytes = arguments.size_bytes
        self.index: int | None = None
        """None until sent."""

    @property
    def unwanted(self) -> bool:
        """As `cancelled()`, without the lock: for the writer, which asks twice for every task."""
        return self.killed or self._state in ("CANCELLED", "CANCELLED_AND_NOTIFIED")

    def may_go_again(self) -> bool:
        """Asked once for every node that is lost while the task is in flight."""
        self.lost += 1
        options = self.job.options
        return not (self.done() or self.unwanted or options.at_most_once or self.lost > options.retries)

    def drop(self) -> None:
        """It will not be sent, or not again."""
        if self.unwanted:
            self.give_up(CancelledWhileRunning("the task was cancelled"))
        else:
            self.give_up(WorkerLost(f"the node it was given to was lost ({self.lost} in all), and it is not run again"))

    def give_up(self, error: BaseException) -> None:
        self.let_go()
        self.fail(error)

    def result(self, timeout: float | None = None) -> Any:
        """When what the task has printed is shown, too."""
        try:
            return super().result(timeout)
        finally:
            if self.printed and not self.job.connection.is_own_thread:
                self.job.connection.printer.wait_shown(self.printed)

    def _invoke_callbacks(self) -> None:
        """As the standard library's, which lets SystemExit through: here it would end the thread that all wait for."""
        for callback in self._done_callbacks:
            try:
                callback(self)
            except BaseException:  # whatever a callback raises is its own affair
                _logger.exception("exception calling callback for %r", self)

    def let_go(self) -> None:
        """Of what no node needs any more: a function may hold more than its arguments do."""
        self.arguments, self.program, self.classes = None, _NOTHING, ()

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        with self._condition:
            first = self._state == "CANCELLED"
            if first:
                self.set_running_or_notify_cancel()  # so that `wait` and `as_completed` see it
        if first:
            self.job.connection.withdraw(self)
        return True

    def kill(self) -> bool:
        """Cancels it even while it runs; True unless it is done already."""
        if self.cancel():
            return True
        if self.done():
            return False
        self.killed = True
        self.job.connection.withdraw(self)
        return True

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a future travels only as an argument of `submit`, or in a list or tuple that is one: it stands for its"
            " result"
        )

    def orphan(self, error: PotluckError) -> None:
        """In a forked child, where nobody will ever resolve it, and where the parent's callbacks have no business."""
        self._condition = SharedCondition(self.job.lock)  # type: ignore[assignment]
        if not self.done():
            self._waiters.clear()
            self._done_callbacks.clear()
            self._exception, self._state = error, "FINISHED"

    # What follows is called by the connection's reader only.

    def take_started(self, node: str) -> None:
        self.node = node
        with self._condition:
            if self._state == "PENDING":
                self.set_running_or_notify_cancel()

    def take_finished(self, node: str, own: bool, finished: Finished, value: Inline | None) -> None:
        self.node = node
        self.attempts = finished.attempt + 1
        self.elapsed_s = finished.elapsed_s
        if finished.stdout or finished.stderr:
            self.stdout = finished.stdout.decode(errors="replace")
            self.stderr = finished.stderr.decode(errors="replace")
        if self.job.output is not None:
            self.printed = self.job.output.ended(finished)
        if self.job.as_reports:
            self.finished = finished
        if finished.fault is not None:
            self.fail(exception_of(finished.fault, trusted=self.job.trusts(own)))
            return
        if value is None:
            self.fail(RemoteProtocolError("the node reported a task as finished without a value or a fault"))
            return
        try:
            if finished.with_files:
                value = self._unpack(value)
            self.result_bytes = value.size_bytes
            result = value_of(value, pickled=finished.pickled, trusted=self.job.trusts(own))
        except PotluckError as error:
            self.fail(error)
            return
        try:
            self.set_result(result)
        except InvalidStateError:
            pass  # cancelled here while it finished there

    def _unpack(self, value: Inline) -> Inline:
        """The value proper; files go home. Raises errors of ours."""
        both = files_in(value)
        if self.job.home is not None:
            self.job.home.bring(both.files)
            self.files = tuple(sorted(both.files))
        return both.value

    def take_safe(self) -> None:
        """It is in the log of a job that lasts, and nobody waits for more."""
        try:
            self.set_result(None)
        except InvalidStateError:
            pass  # cancelled here meanwhile

    def fail(self, error: BaseException) -> None:
        try:
            self.set_exception(error)
        except InvalidStateError:
            pass  # cancelled, or failed twice because the connection ended meanwhile


def cancel(future: Future[Any]) -> bool:
    """Cancels a task, and kills its process where it already runs. False once it is done.

    A running task that was cancelled raises `potluck.Cancelled` at `result()`.
    """
    if not isinstance(future, TaskFuture):
        raise TypeError(f"not a future of a potluck.Executor: {future!r}")
    return future.kill()
