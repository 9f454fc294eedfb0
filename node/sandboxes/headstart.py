"""What need not wait for the node's whole program: sandboxes are tried out, and a first worker starts, while the rest
of it is imported. A program that waits for its first result on a node of its own waits so much less.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from ...overlay.errors import SandboxUnavailable
from ...overlay.ports import Sandbox
from .backends import available_sandboxes
from .bubblewrap import BubblewrapSandbox


class HeadStart:
    """The trial runs in a thread, from now on."""

    def __init__(self, find: Callable[[], Sequence[Sandbox]]) -> None:
        self._find = find
        self._found: Future[Sequence[Sandbox]] | None = Future()
        threading.Thread(target=self._try_out, args=(self._found,), name="potluck-sandboxes", daemon=True).start()

    @classmethod
    def of(cls, choice: str) -> HeadStart:
        """For `Config.sandbox`."""
        return cls(lambda: available_sandboxes(choice))

    def _try_out(self, found: Future[Sequence[Sandbox]]) -> None:
        try:
            found.set_result(self._find())
        except BaseException as error:  # noqa: BLE001  raised by whoever asks for them
            found.set_exception(error)

    def begin_worker(self) -> None:
        """For the first who wants one. Only in the main thread: a worker ends with the thread that has started it."""
        if self._found is None:
            return
        with suppress(SandboxUnavailable, OSError):  # whoever asks for the sandboxes, or for a worker, is told
            best = self._found.result()[0]
            if isinstance(best, BubblewrapSandbox):
                best.begin()

    def sandboxes(self) -> Sequence[Sandbox]:
        """Those found, once; a node that follows in this process has them found again. Raises what `find` does."""
        found, self._found = self._found, None
        return self._find() if found is None else found.result()
