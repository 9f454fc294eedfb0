"""What of the machine a task sees: the system's programs, what the linker needs, the running Python, its packages."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ETC: Final = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime")
ETC_OF_NETWORK: Final = ("hosts", "resolv.conf", "nsswitch.conf", "gai.conf", "services", "ssl")
"""For whoever may use it."""
SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_PACKAGE_PARTS: Final = ("__init__.py", "py.typed", "client", "overlay", "node")
"""Of a checkout, only what a worker or a task may import."""
_PROC_SHOWN: Final = frozenset(
    [
        "cmdline",
        "cpuinfo",
        "crypto",
        "devices",
        "diskstats",
        "filesystems",
        "loadavg",
        "meminfo",
        "misc",
        "mounts",
        "net",
        "partitions",
        "self",
        "stat",
        "swaps",
        "sysvipc",
        "thread-self",
        "uptime",
        "version",
        "vmstat",
    ]
)
"""What programs look for beside the folders of processes. The rest is the machine's: to its root, which a node may run
as, much of it can be read and some written without any capability."""


def hidden_in_proc() -> list[Path]:
    """Settings of the kernel, in /proc/sys, are shown read-only."""
    return [
        path
        for path in sorted(Path("/proc").iterdir())
        if not path.name.isdecimal() and path.name not in _PROC_SHOWN and path.name != "sys"
    ]


def python_program() -> str:
    """By the way that is visible: whoever has started it by `../bin/python` has come through a folder that is not."""
    return os.path.normpath(sys.executable)


def python_paths() -> list[str]:
    """What the running Python consists of, outermost folders first, without what lies in another or in /usr."""
    wanted = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.exec_prefix), *_package_paths()}
    # A virtual environment's `python` may point to a Python by way of a folder of its own.
    wanted.add(Path(os.path.realpath(sys.executable)).parent.parent)
    if site.ENABLE_USER_SITE:
        wanted.add(Path(site.getusersitepackages()))
    kept: list[Path] = []
    for path in sorted(wanted, key=lambda path: (len(path.parts), path)):
        if path.exists() and not any(path.is_relative_to(outer) for outer in (Path("/usr"), *kept)):
            kept.append(path)
    return [str(path) for path in kept]


def _package_paths() -> Iterator[Path]:
    package = Path(__file__).parents[2]
    return (package / part for part in _PACKAGE_PARTS)
