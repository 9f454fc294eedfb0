"""What need not wait for the node's whole program: sandboxes are tried out, and a first worker starts, while the rest
of it is imported. A program that waits for its first result on a node of its own waits so much less.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from ...overlay.ports import Sandbox
from .backends import available_sandboxes, clear_up
from .bubblewrap import BubblewrapSandbox

logger = logging.getLogger("potluck.node")


class HeadStart:
    """In a thread, from now on. `begins_worker`: for the first who wants one. What nodes that were killed have left is
    cleared up when nobody waits any more."""

    def __init__(self, find: Callable[[], Sequence[Sandbox]], *, begins_worker: bool = False) -> None:
        self._find = find
        self._begins_worker = begins_worker
        self._found: Future[Sequence[Sandbox]] | None = Future()
        threading.Thread(target=self._run, args=(self._found,), name="potluck-sandboxes", daemon=True).start()

    @classmethod
    def of(cls, choice: str, *, begins_worker: bool) -> HeadStart:
        """For `Config.sandbox`."""
        return cls(lambda: available_sandboxes(choice), begins_worker=begins_worker)

    def sandboxes(self) -> Sequence[Sandbox]:
        """Those found, once; a node that follows in this process has them found again. Raises what `find` does."""
        found, self._found = self._found, None
        return self._find() if found is None else found.result()

    def _run(self, found: Future[Sequence[Sandbox]]) -> None:
        has_begun = self._try_out(found)
        try:
            clear_up()
        except Exception as error:  # noqa: BLE001  whatever it is, the worker must not end for it
            logger.warning("what killed nodes have left was not cleared up: %s", error)
        if has_begun:
            threading.Event().wait()  # until the process ends: a worker ends with the thread that has started it

    def _try_out(self, found: Future[Sequence[Sandbox]]) -> bool:
        """Whether a worker has begun."""
        try:
            sandboxes = self._find()
        except BaseException as error:  # noqa: BLE001  raised by whoever asks for them
            found.set_exception(error)
            return False
        has_begun = self._begins_worker and _has_begun(sandboxes[0])
        found.set_result(sandboxes)
        return has_begun


def _has_begun(best: Sandbox) -> bool:
    if not isinstance(best, BubblewrapSandbox):
        return False
    try:
        best.begin()
    except Exception as error:  # noqa: BLE001  whoever asks for a worker is told what is wrong
        logger.info("no worker was begun beforehand: %s", error)
        return False
    return True
