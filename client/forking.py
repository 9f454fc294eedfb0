"""What a forked child makes of the conversations it inherits.

A fork copies what a connection is made of, but not its two threads: nothing would ever be sent or answered, and the
bytes on the socket are the parent's. So in the child every conversation is forgotten. What was pending fails there and
says why; what is begun there begins a conversation of the child's own.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final, Protocol


class Inheritable(Protocol):
    def forget_parent(self) -> None:
        """Called in a forked child, by its only thread. Locks may be held by threads that exist no more."""


_inheritable: Final[weakref.WeakSet[Inheritable]] = weakref.WeakSet()
"""Of the process by nature, as a fork is."""


def forgets_parent(thing: Inheritable) -> None:
    """Has `thing` told when it finds itself in a child, for as long as it lives."""
    _inheritable.add(thing)


def _in_child() -> None:
    for thing in list(_inheritable):
        thing.forget_parent()


NO_FORK: Final = threading.RLock()
"""Held while a process is begun. A child forked meanwhile would keep the other end of the pipe by which whoever begins
the process hears that it runs: that would not be heard before the child ends. Of the process by nature, too."""

os.register_at_fork(
    before=NO_FORK.acquire,
    after_in_parent=NO_FORK.release,
    after_in_child=NO_FORK._at_fork_reinit,  # type: ignore[attr-defined]  # as threading does itself
)
os.register_at_fork(after_in_child=_in_child)
