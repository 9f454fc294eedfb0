"""Becomes nobody, in a view of the machine where nobody can read what is needed: a superuser's Python may be in a home.

`unshare --mount --propagation private python plain_user.py GROUPS PATH... -- COMMAND...`: folders on the way to a path
that others may not enter are covered by empty ones, in this view alone, and the paths are put into these.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

NOBODY = 65534
BIND_ALL = 0x1000 | 0x4000


def closed_above(path: Path) -> Path | None:
    """The outermost folder that others may not enter."""
    return next((up for up in reversed(path.parents) if not up.stat().st_mode & 0o001), None)


def mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), os.fsencode(target), kind.encode() or None, flags, options.encode() or None):
        raise OSError(ctypes.get_errno(), "mount", str(target))


def show(paths: Sequence[Path]) -> None:
    kept = [(path, os.open(path, os.O_PATH)) for path in paths]
    for path in paths:
        if (closed := closed_above(path)) is not None:
            mount("view", closed, "tmpfs", options="mode=755,size=1m")
    for path, descriptor in kept:
        path.mkdir(parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{descriptor}", path, flags=BIND_ALL)
        os.close(descriptor)


def main(arguments: Sequence[str]) -> None:
    end = arguments.index("--")
    show([Path(one) for one in arguments[1:end]])
    os.chdir("/")
    os.setgroups([int(group) for group in arguments[0].split(",") if group])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.execv(arguments[end + 1], arguments[end + 1 :])


if __name__ == "__main__":
    main(sys.argv[1:])
