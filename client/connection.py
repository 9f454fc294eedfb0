"""The conversation of a program with its node: one thread that writes, one that reads, and nobody else waits.

Whoever submits appends to a job's backlog. The writer takes what has gathered, as much as the window towards the node
has room for, and sends it as one; a short call with nothing else under way is sent where it is made. The reader
resolves futures; their callbacks run in its thread, and may submit.

Where there is a way to another link, the loss of one is not the end:

    state    thread   what happens                                         next
    talking  both     frames go, messages come                             lost, over
    lost     writer   waits for the reader; takes back what was in flight  waiting
    waiting  writer   nothing, until there is something to say; dials      talking, over
    over     writer   everything that is pending has failed
"""

from __future__ import annotations

import atexit
import queue
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

import msgspec

from ..overlay.errors import LinkLost, PotluckError, RemoteProtocolError
from ..overlay.wire import control, inside
from ..overlay.wire.codec import Message
from ..overlay.wire.control import TO_NODE, TO_PROGRAM, JobOptions, Welcome
from ..overlay.wire.processes import Acted, Processes
from ..overlay.wire.questions import JobSaid
from ..overlay.wire.work import Finished, Inline, Reference, Started
from . import threads
from .dependencies import Turns
from .dialling import RECEIVE_BYTES, Link
from .forking import forgets_parent
from .futures import Job, TaskFuture
from .output import Printer
from .questions import Questions, reject, resolve
from .redialling import Redialler
from .uploads import Towards, send
from .window import Window

CLOSE_TIMEOUT_S: Final = 5.0
_SIGNALS_S: Final = 1.0  # Python notices a Ctrl+C that comes the moment before a wait begins only when the wait ends
_RECEIVE_LONG_BYTES: Final = 256 << 10
"""While much comes: the system maps so large a buffer anew for every read."""


class Connection:
    """`dial` is called in the writer's thread, for it may take as long as a node needs to start.

    `redialler` is asked there for another link when one was lost; without it that is the end. `release` is called there
    when all is over.
    """

    def __init__(
        self,
        dial: Callable[[], Link],
        release: Callable[[], None] = lambda: None,
        redialler: Redialler | None = None,
    ) -> None:
        self._dial = dial
        self._release = release
        self._redialler = redialler
        self._link: Link | None = None
        self._lost: LinkLost | None = None
        self._to_read: queue.SimpleQueue[Link | None] = queue.SimpleQueue()
        self._has_read = threading.Semaphore(0)
        self.greeted: Future[Welcome] = Future()
        self.node_name = ""
        """Of the node there was last."""
        self._window = Window()
        self._by_id: dict[str, Job] = {}
        self._window.closed = lambda job_id: self._by_id.pop(job_id, None)
        self._questions = Questions()
        self._lock = threading.Lock()
        self.futures_lock = threading.RLock()
        self._bell = threading.Lock()
        self._sleeping = False
        self._writing = threading.Lock()
        self._error: PotluckError | None = None
        self._awaited = False
        self._close_when_idle = False
        self._idle = threading.Condition()
        self.turns = Turns()
        self.printer = Printer()
        self._writer = threading.Thread(target=self._write, name="potluck-writer", daemon=True)
        self._reader = threading.Thread(target=self._read, name="potluck-reader", daemon=True)
        self._bell.acquire()

    # ---- for any thread

    def start(self) -> None:
        """Daemon threads and an exit handler: plain daemons lose pending work at exit, plain threads hang it.

        Both at once: a program that ends before its node has answered could not start another. Raises Unavailable
        where the system has none left.
        """
        atexit.register(self._finish)
        forgets_parent(self)
        try:
            threads.start(self._reader)  # first: the writer joins it in the end, which may come at once
            threads.start(self._writer)
        except BaseException:  # Ctrl+C, or no thread is left: there may be one without the other
            self._fail(LinkLost("starting was interrupted"))
            if self._writer.ident is None:  # else it ends what there is
                self._to_read.put(None)
                self._release()
                atexit.unregister(self._finish)
            raise

    def ask(self, message: Callable[..., Message], /, *arguments: object) -> Future[Any]:
        """Sends a request; the future has the answer's message, or raises what the node reported, or LinkLost."""
        return self._post_question(*self._questions.ask(message, *arguments))

    def tell(self, message: Message) -> None:
        """Sends what is not answered."""
        self._window.urgent.append(TO_NODE.encode(message))
        self._ring()

    def fetch(self, job: str, reference: Reference) -> Future[Inline]:
        """A long payload of any job. The future raises NotFound, LinkLost."""
        return self._post_question(*self._questions.fetch(job, reference))

    def open_job(self, options: JobOptions, *, as_reports: bool = False, detached: bool = False) -> Job:
        """At once; the node's answer is awaited by the tasks, not by the caller."""
        job = Job(self, options, as_reports=as_reports, detached=detached)
        with self._lock:
            self._window.jobs = tuple(sorted((*self._window.jobs, job), key=lambda one: -one.options.priority))
        self._ring()
        if self._error is not None:
            self._drop_all()
        return job

    def post(self, future: TaskFuture) -> None:
        job = future.job
        job.backlog.append(future)
        if self._sleeping and not self._send_here(future):
            self._sleeping = False  # one ring wakes; it may take the writer a while to come
            self._ring()
        if error := self._error or job.error:
            job.drop(error)

    def withdraw(self, future: TaskFuture) -> None:
        """Tells the node to drop a task, if the node has heard of it at all."""
        if future.index is not None:
            self._window.cancels.append(future)
        self._ring()

    @property
    def is_idle(self) -> bool:
        return all(job.is_idle for job in self._window.jobs)

    @property
    def is_own_thread(self) -> bool:
        """Whether whoever asks is called back by it, and so would wait for himself."""
        return threading.current_thread() in (self._reader, self._writer)

    @property
    def was_greeted(self) -> bool:
        """Whether a node has been told anything."""
        return self.greeted.done() and self.greeted.exception() is None

    @property
    def error(self) -> PotluckError | None:
        """Why the connection has ended, once it has."""
        return self._error

    def wait_idle(self) -> None:
        """Returns when every task has finished, and what they printed is shown. Not to be waited for in a callback."""
        self._awaited = True
        if self.is_own_thread:
            return
        self._ring()
        if not self.is_idle:
            with inside.pausing(), self._idle:
                while not self._idle.wait_for(lambda: self.is_idle or self._error is not None, _SIGNALS_S):
                    pass
        self.printer.flush()

    def close_when_idle(self) -> None:
        self._close_when_idle = True
        self._awaited = True
        self._ring()

    def close(self) -> None:
        """At once. What is unfinished fails with LinkLost, and the node drops it."""
        self._fail(LinkLost("the connection was closed"))
        for thread in (self._writer, self._reader):
            if thread.is_alive() and not self.is_own_thread:
                thread.join(CLOSE_TIMEOUT_S)

    def forget_parent(self) -> None:
        """In a forked child, which has neither thread: nothing that is pending here will ever be answered."""
        atexit.unregister(self._finish)
        self._error = LinkLost("this is a forked copy: the connection, and what was pending, are the parent's")
        self._lock, self._writing, self._idle = threading.Lock(), threading.Lock(), threading.Condition()
        self.futures_lock._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does; shared, so in place
        for job in self._window.jobs:
            job.error = self._error
            for future in job.unfinished():
                future.orphan(self._error)
            for held in (job.deferred, job.backlog, job.in_flight):
                held.clear()
        self._questions.forget()
        if self._link is not None:
            self._link.socket.close()

    def _finish(self) -> None:
        if getattr(sys, "last_type", None) is not KeyboardInterrupt or hasattr(sys, "ps1"):  # else nobody wants to wait
            self.wait_idle()
        self.close()

    def _post_question(self, frame: bytes, answer: Future[Any]) -> Future[Any]:
        self._window.urgent.append(frame)
        self._ring()
        if self._error is not None:
            self._drop_all()
        return answer

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            pass  # has rung already and was not heard yet

    # ---- the writer

    def _write(self) -> None:
        try:
            self._meet(self._dial())
            while self._error is None:
                if self._lost is not None:
                    self._recover(self._lost)
                    continue
                self._send()
                self._sleep()
        except PotluckError as error:
            self._fail(error)
        except BaseException as error:  # SystemExit, too: whoever waits is told, whatever ends the thread
            self._fail(LinkLost(f"the writing thread failed: {error!r}"))
            raise
        finally:
            self._hang_up()

    def _meet(self, link: Link) -> None:
        takes_parcels = isinstance(link.socket, socket.socket)
        self._window.towards = Towards(link.welcome.node_id, takes_parcels)
        self._link = link
        self.node_name = link.welcome.name
        resolve(self.greeted, link.welcome)
        self._to_read.put(link)

    def _send(self) -> None:
        assert self._link is not None
        for job in self._window.unasked():
            self._open(job)
        with self._writing:
            try:
                send(self._link.socket, self._window.frames())
            except OSError as error:
                self._lose(LinkLost(f"the connection to the node is lost: {error}"))

    def _open(self, job: Job) -> None:
        opened = self.ask(control.OpenJob, job.options)
        opened.add_done_callback(lambda answer: self._on_opened(job, answer))

    def _recover(self, lost: LinkLost) -> None:
        """Raises what keeps a node from being found. Returns without one when the connection is over."""
        assert self._redialler is not None and self._link is not None
        self._has_read.acquire()
        with self._writing:
            self._link.socket.close()
            self._link = self._lost = None
            ended = self._window.take_back()
        self._by_id.clear()
        self._questions.lose(lost)
        for future in ended:
            future.drop()
        self._note_idle()
        while self._error is None and not self._window.wants_link:
            self._rest(lambda: self._window.wants_link)
        if self._error is None and (link := self._redialler.again(lost)):
            self._meet(link)

    def _send_here(self, future: TaskFuture) -> bool:
        """A lone call, in the thread that makes it: that saves waking the writer. Whether it could be done."""
        if self._link is None or self._error is not None or not self._writing.acquire(blocking=False):
            return False
        try:
            frame = self._window.lone_frame(future)
            if frame is not None:
                self._link.socket.sendall(frame)
            return frame is not None
        except OSError as error:
            self._lose(LinkLost(f"the connection to the node is lost: {error}"))
            return False
        except BaseException:  # Ctrl+C: nobody knows how much of a frame has gone
            self._fail(LinkLost("sending was interrupted"))
            raise
        finally:
            self._writing.release()

    def _sleep(self) -> None:
        self._note_idle()
        self._rest(lambda: self._lost is not None or self._window.has_work)

    def _rest(self, disturbed: Callable[[], bool]) -> None:
        """Until somebody rings."""
        self._sleeping = True
        if self._error is None and not disturbed():  # looked at after the flag is up, so that nobody's ring is missed
            self._bell.acquire()
        self._sleeping = False

    # ---- the reader

    def _read(self) -> None:
        while (link := self._to_read.get()) is not None:
            try:
                self._listen(link)
            except (OSError, LinkLost) as error:
                self._lose(LinkLost(f"the connection to the node is lost: {error}"))
            except PotluckError as error:
                self._fail(error)
            except BaseException as error:  # SystemExit, too: a program's callbacks run here
                self._fail(LinkLost(f"the reading thread failed: {error!r}"))
                raise
            finally:
                self._has_read.release()

    def _listen(self, link: Link) -> None:
        """Until the connection is over. Raises OSError, LinkLost, RemoteProtocolError."""
        sock, frames, _welcome = link
        wanted = RECEIVE_BYTES
        while self._error is None:
            while (body := frames.next_body()) is not None:
                self._take(TO_PROGRAM.decode(body))
            self._note_idle()
            if self._sleeping and self._window.has_work:
                self._ring()
            chunk = self._questions.receive(sock, wanted)
            if not chunk:
                raise LinkLost("the node ended it")
            wanted = RECEIVE_BYTES if len(chunk) < RECEIVE_BYTES else _RECEIVE_LONG_BYTES
            if self._redialler is not None:
                self._redialler.heard()
            frames.feed(chunk)

    def _take(self, message: Message) -> None:
        if isinstance(message, control.TaskReports):
            self._take_reports(message)
        elif isinstance(message, control.TasksSafe):
            self._take_safe(message)
        elif isinstance(message, control.Printed | control.InputAsked):
            if job := self._by_id.get(message.job):
                job.hear(message)
        elif isinstance(message, control.ObjectBytes):
            self._questions.take_part(message)
        elif isinstance(message, control.ObjectParcel):
            self._questions.take_parcel(message)
        elif isinstance(message, control.Answer | control.MemoryValue | JobSaid | Processes | Acted):
            self._questions.answer(message)
        elif isinstance(message, control.Failure):
            self._questions.refuse(message)
        else:
            raise RemoteProtocolError(f"the node said {type(message).__name__}, which has no place here")

    def _take_reports(self, message: control.TaskReports) -> None:
        job = self._by_id.get(message.job)
        if job is None:
            return
        in_flight = job.in_flight
        for batch in message.batches:
            node, own = batch.node, batch.own
            for report in batch.reports:
                future = in_flight.get(report.index)
                if future is None:
                    continue
                if isinstance(report, Finished):
                    value = report.value
                    if isinstance(value, Reference):
                        self._fetch(job, future, batch, report, value)
                        continue
                    future.take_finished(node, own, report, value)
                    self._land(job, future)
                elif isinstance(report, Started):
                    future.take_started(node)

    def _land(self, job: Job, future: TaskFuture) -> None:
        """After it is resolved: a task that is in flight no more has its result."""
        assert future.index is not None
        job.in_flight.pop(future.index, None)
        if future.index >= job.safe_tasks:
            self._window.landed(future)
        if job.wants_closing:
            self._ring()

    def _take_safe(self, message: control.TasksSafe) -> None:
        """What a lasting job has taken in is its own: there is room for more on the way."""
        job = self._by_id.get(message.job)
        if job is None:
            return
        first, job.safe_tasks = job.safe_tasks, max(job.safe_tasks, min(message.tasks, job.next_index))
        for index in range(first, job.safe_tasks):
            if (future := job.in_flight.get(index)) is not None:
                if job.detached:
                    future.take_safe()
                    job.in_flight.pop(index, None)
                self._window.landed(future)

    def _fetch(
        self, job: Job, future: TaskFuture, batch: control.NodeReports, report: Finished, value: Reference
    ) -> None:
        def arrived(inline: Inline) -> None:
            future.take_finished(batch.node, batch.own, report, inline)
            self._land(job, future)

        def failed(error: PotluckError) -> None:
            future.fail(error)
            self._land(job, future)

        assert job.id is not None
        self._window.urgent.append(self._questions.fetch_result(job.id, value, arrived, failed))
        self._ring()

    def _on_opened(self, job: Job, answer: Future[Any]) -> None:
        """In the reader's thread, or in the one that found the connection broken."""
        if answer.exception() is None:
            job.id = msgspec.json.decode(answer.result().json, type=dict[str, str])["job"]
            self._by_id[job.id] = job
            resolve(job.opened, job.id)
            self._ring()
            return
        error = answer.exception()
        assert isinstance(error, PotluckError)
        if isinstance(error, LinkLost) and self._error is None:
            return  # the next node will be asked
        job.drop(error)
        with self._lock:
            self._window.jobs = tuple(each for each in self._window.jobs if each is not job)
        self._note_idle()

    # ---- the end

    def _note_idle(self) -> None:
        if self._awaited and self.is_idle:
            with self._idle:
                self._idle.notify_all()
            if self._close_when_idle:
                self._fail(LinkLost("the connection was closed"))

    def _fail(self, error: PotluckError) -> None:
        with self._lock:
            if self._error is not None:
                return
            self._error = error
        if self._redialler is not None:
            self._redialler.stop()
        if not self.greeted.done():
            reject(self.greeted, error)
        self._drop_all()
        self._wake()
        with self._idle:
            self._idle.notify_all()

    def _lose(self, error: LinkLost) -> None:
        """The link; whether also the connection depends on whether there is a way to another."""
        if self._redialler is None:
            self._fail(error)
        elif self._error is None:
            self._lost = error
            self._wake()

    def _wake(self) -> None:
        """Both threads."""
        if self._link is not None:
            try:
                self._link.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was first
        self._ring()

    def _drop_all(self) -> None:
        assert self._error is not None
        self._questions.lose(self._error)
        for job in self._window.jobs:
            job.drop(self._error)

    def _hang_up(self) -> None:
        """Closes the socket when the reader, too, is through with it."""
        self._to_read.put(None)
        self._reader.join(CLOSE_TIMEOUT_S)
        if self._link is not None:
            self._link.socket.close()
        self._release()
        atexit.unregister(self._finish)
