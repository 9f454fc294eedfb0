"""Process 1 of a container, to begin with: `python -m potluck.node.inside.entrance DOOR [LIMIT=N ...]`.

An engine starts processes with descriptors of its own. This one connects to the node's socket at DOOR and is handed
what a child of the node inherits: the supervisor's orders, the worker's pipe and tally, and its stdin, stdout and
stderr. From then on nothing of a worker passes through the engine, and nobody listens at the door any more. Then it
shuts itself off from what the kernel is not to do for a task, and is the `supervisor`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import Final

from . import seccomp, supervisor

DESCRIPTORS: Final = 6


def hand_over(door: socket.socket, descriptors: Sequence[int]) -> None:
    """The node's side. Raises OSError."""
    assert len(descriptors) == DESCRIPTORS
    socket.send_fds(door, [b"\0"], descriptors)


def main(arguments: Sequence[str]) -> None:
    with socket.socket(socket.AF_UNIX) as node:
        node.connect(arguments[0])
        _nothing, descriptors, _flags, _address = socket.recv_fds(node, 1, DESCRIPTORS)
    if len(descriptors) != DESCRIPTORS:
        sys.exit("the node has gone")
    orders, pipe, tally, *standard = descriptors
    for place, descriptor in enumerate(standard):
        os.dup2(descriptor, place)
        os.close(descriptor)
    seccomp.apply(seccomp.filter_here(counted=True))
    supervisor.main([str(orders), f"{pipe},{tally}", *arguments[1:]])


if __name__ == "__main__":
    main(sys.argv[1:])
