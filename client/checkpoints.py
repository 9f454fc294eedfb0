"""`potluck.checkpoint`: what a task goes on from, should it be ended before it ends."""

from __future__ import annotations

from typing import Any

from ..overlay.wire import inside


def checkpoint(state: object) -> None:
    """Inside a task: `state` is what it goes on from after the loss of its process or node, or when it is moved.

    It replaces the one before. Data, or whatever cloudpickle can pickle; encoded at most 256 KiB, else `LimitExceeded`.
    Returns at once. Outside a task it does nothing, so that the same function runs anywhere.
    """
    if (keeper := inside.keeper()) is not None:
        keeper.save(state)


def checkpointed(default: Any = None) -> Any:
    """Inside a task: its last checkpoint, whichever run of it has said it; `default` where there is none."""
    keeper = inside.keeper()
    return default if keeper is None else keeper.last(default)
