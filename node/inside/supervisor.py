"""Process 1 inside a sandbox: `python -m potluck.node.inside.supervisor ORDERS PIPE,TALLY [LIMIT=N ...]`.

It holds on to the worker, reaps whatever loses its parent, and stops and continues everything there is, because only
process 1 of a namespace reaches it all: `kill(-1)` misses nothing that has left its group or its session. When it ends,
the kernel ends all others; it ends when the worker does, or when the node closes the socket. Its `orders` come from
the node. All of the worker's program is there before the worker is forked, so that both have it once.

The worker runs a user's code as the same user. What keeps it from this process: process 1 gets no signal that it has no
handler for, and nobody may look into or write to a process that is not dumpable.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final

from . import worker as program
from .orders import BEGIN, ENDED, SIGNALLED, STOP

_EVERYBODY: Final = -1
_SET_DUMPABLE: Final = 4


def _fork_worker(orders: socket.socket, arguments: Sequence[str]) -> int:
    worker = os.fork()
    if not worker:
        os.setsid()  # schedulers that share time out by sessions would have this process wait for the worker's threads
        orders.close()
        program.main(list(arguments))
    return worker


def _shut_off() -> None:
    """From whatever runs beside it. The pipes are the worker's, and end with it."""
    from ctypes import CDLL

    CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _close(descriptors: str) -> None:
    for descriptor in descriptors.split(","):
        os.close(int(descriptor))


def _reap(worker: int) -> int | None:
    """The worker's exit status, once it has one."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if not ended:
            return None
        if ended == worker:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else SIGNALLED - code


def _tell_end(orders: socket.socket, status: int) -> None:
    try:
        orders.send(ENDED + bytes([status & 0xFF]))
    except OSError:
        pass  # nobody is left to be told


def _obey(order: bytes) -> None:
    number = signal.SIGSTOP if order == STOP else signal.SIGCONT
    try:
        os.kill(_EVERYBODY, number)
    except ProcessLookupError:
        pass  # the last one is ending


def _supervise(orders: socket.socket, worker: int) -> int:
    """Returns the exit status of it all."""
    child_ended, wakes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    poll.register(child_ended, select.POLLIN)
    while (status := _reap(worker)) is None:
        for ready, _ in poll.poll():
            if ready == child_ended:
                os.read(child_ended, 4096)
            elif order := orders.recv(1):
                _obey(order)
                orders.send(order)
            else:
                return 0  # the node has gone
    return status


def main(arguments: Sequence[str]) -> None:
    orders = socket.socket(fileno=int(arguments[0]))
    orders.set_inheritable(False)
    gc.freeze()  # a collection would write to what both have
    if not orders.recv(1):
        os._exit(0)
    worker = _fork_worker(orders, arguments[1:])
    _shut_off()
    _close(arguments[1])
    orders.send(BEGIN)
    status = _supervise(orders, worker)
    _tell_end(orders, status)
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
