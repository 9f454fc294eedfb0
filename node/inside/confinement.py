"""Shuts a worker off where there is neither bubblewrap nor Docker: `python -m potluck.node.inside.confinement PATHS
PIPE,TALLY [LIMIT=N ...]`, and from then on the worker program.

Landlock (kernel 6.12 and later: its sixth version is the first that keeps signals and abstract sockets apart) leaves
the files that are read, and one folder that is written; seccomp leaves no sockets but pairs, no changes of owners,
modes and times, which Landlock does not know of, and nothing aimed at processes beside this one. Of a node that is
root's, all capabilities go first. Both hold for every process that this one starts, and neither can be undone.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from ...overlay.errors import SandboxUnavailable
from .seccomp import apply, confining_filter

LANDLOCK_MIN: Final = 6
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_ASK_VERSION: Final = 1
_BENEATH: Final = 1
_NO_NEW_PRIVILEGES, _DROP_FROM_BOUNDS = 38, 24
_CAPABILITIES: Final = 64
_CAPABILITY_VERSION: Final = 0x2008_0522

_READ_A_FILE: Final = 1 << 0 | 1 << 2
_READ: Final = _READ_A_FILE | 1 << 3
_USE_A_DEVICE: Final = 1 << 1 | 1 << 2
_EVERYTHING: Final = (1 << 16) - 1
_TCP: Final = 1 << 0 | 1 << 1
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 1 << 0 | 1 << 1


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def landlock_version() -> int:
    """0 where there is none."""
    return max(0, int(_libc().syscall(_CREATE, None, 0, _ASK_VERSION)))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def confine(read: Iterable[str], devices: Iterable[str], written: str) -> None:
    """For good. Raises SandboxUnavailable."""
    libc = _libc()
    _check(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "new privileges cannot be ruled out")
    _drop_capabilities(libc)
    ruleset = _Ruleset(_EVERYTHING, _TCP, _ABSTRACT_SOCKETS_AND_SIGNALS)
    rules = _check(libc.syscall(_CREATE, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0), "Landlock is not there")
    for path in read:
        _allow(libc, rules, path, _READ)
    for path in devices:
        _allow(libc, rules, path, _USE_A_DEVICE)
    _allow(libc, rules, written, _EVERYTHING)
    _check(libc.syscall(_RESTRICT, rules, 0), "Landlock does not take the rules")
    os.close(rules)
    instructions = confining_filter()
    if not instructions:
        raise SandboxUnavailable("the numbers of system calls are not known for this machine")
    apply(instructions)


def _allow(libc: ctypes.CDLL, rules: int, path: str, allowed: int) -> None:
    """A file has fewer rights to give than a folder; what is not there needs no rule."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        if not os.path.isdir(path):  # noqa: PTH112 (of the path as it is)
            allowed &= _READ_A_FILE | _USE_A_DEVICE
        rule = _PathBeneath(allowed, descriptor)
        _check(libc.syscall(_ADD, rules, _BENEATH, ctypes.byref(rule), 0), f"Landlock does not take {path}")
        os.close(descriptor)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """What a user's node does not have, nothing happens to."""
    for capability in range(_CAPABILITIES):
        libc.prctl(_DROP_FROM_BOUNDS, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    _check(libc.capset(ctypes.byref(header), ctypes.byref(none)), "capabilities cannot be dropped")


def _check(answer: int, what: str) -> int:
    if answer < 0:
        raise SandboxUnavailable(f"{what}: {os.strerror(ctypes.get_errno())}")
    return answer


def main(arguments: Sequence[str]) -> None:
    from .semaphores import without_shared_folder
    from .worker import go_first
    from .worker import main as work

    paths = json.loads(arguments[0])
    go_first()
    without_shared_folder(paths["written"])
    try:
        confine(paths["read"], paths["devices"], paths["written"])
    except SandboxUnavailable as error:
        sys.exit(str(error))
    work(list(arguments[1:]))


if __name__ == "__main__":
    main(sys.argv[1:])
