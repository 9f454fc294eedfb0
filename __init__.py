"""potluck: the machines on a LAN as one computer. Nobody is in charge.

    import potluck

    with potluck.Executor() as pool:
        print(list(pool.map(function, inputs)))

Start a node on each machine with `potluck up`; without one, an executor starts a private node for its program.
Names are imported when they are first used, so that the command starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client.asynchronous import AsyncExecutor
    from .client.checkpoints import checkpoint, checkpointed
    from .client.executor import Executor
    from .client.futures import cancel
    from .client.kinds import handler, kind
    from .client.memory import Memory
    from .client.options import options
    from .overlay.errors import (
        BadProgram,
        Cancelled,
        ConfigError,
        Conflict,
        DeadlineExceeded,
        LimitExceeded,
        LinkLost,
        NoNode,
        NotAllowed,
        NotFound,
        NoWorker,
        PotluckError,
        Refused,
        RemoteProtocolError,
        ResultNotEncodable,
        SandboxUnavailable,
        TaskFailed,
        TaskTimedOut,
        Unavailable,
        UsageError,
        WorkerLost,
    )

    memory: Memory

__version__ = "0.1.0"

__all__ = [
    "AsyncExecutor",
    "BadProgram",
    "Cancelled",
    "ConfigError",
    "Conflict",
    "DeadlineExceeded",
    "Executor",
    "LimitExceeded",
    "LinkLost",
    "NoNode",
    "NoWorker",
    "NotAllowed",
    "NotFound",
    "PotluckError",
    "Refused",
    "RemoteProtocolError",
    "ResultNotEncodable",
    "SandboxUnavailable",
    "TaskFailed",
    "TaskTimedOut",
    "Unavailable",
    "UsageError",
    "WorkerLost",
    "cancel",
    "checkpoint",
    "checkpointed",
    "handler",
    "kind",
    "memory",
    "options",
]

_HOMES = {
    "AsyncExecutor": "client.asynchronous",
    "Executor": "client.executor",
    "cancel": "client.futures",
    "checkpoint": "client.checkpoints",
    "checkpointed": "client.checkpoints",
    "handler": "client.kinds",
    "kind": "client.kinds",
    "options": "client.options",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object
    if name == "memory":
        from .client.memory import Memory

        value = Memory()
    else:
        value = getattr(importlib.import_module(f".{_HOMES.get(name, 'overlay.errors')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
