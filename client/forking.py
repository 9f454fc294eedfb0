"""What a forked child makes of the conversations it inherits.

A fork copies what a connection is made of, but not its two threads: nothing would ever be sent or answered, and the
bytes on the socket are the parent's. So in the child every conversation is forgotten. What was pending fails there and
says why; what is begun there begins a conversation of the child's own.
"""

from __future__ import annotations

import os
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


os.register_at_fork(after_in_child=_in_child)
