"""What executors of threads and processes are given, and this one is not: said in one line, with what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..overlay.errors import UsageError

_SLOTS: Final = "how many tasks run at once is for the nodes to say (`potluck up --slots N`): leave it out"
_ONCE: Final = (
    "workers are the nodes' and serve many programs: have the function call one under functools.cache that does it,"
    " once in each worker"
)
_WORKERS: Final = "workers are the nodes', which begin and end them: leave it out"
_INSTEAD: Final = {
    "max_workers": _SLOTS,
    "initializer": _ONCE,
    "initargs": _ONCE,
    "mp_context": _WORKERS,
    "max_tasks_per_child": _WORKERS,
    "thread_name_prefix": _WORKERS,
}


def check(node: object, others: Mapping[str, object]) -> None:
    """`others`: arguments that an executor here does not have. Raises UsageError, TypeError for one that none has."""
    if node is not None and not isinstance(node, str):
        raise UsageError(f"Executor({node!r}): what comes first is the name of a node; {_SLOTS}")
    for name in others:
        if name not in _INSTEAD:
            raise TypeError(f"Executor() has no argument {name!r}")
        raise UsageError(f"Executor({name}=…): {_INSTEAD[name]}")
