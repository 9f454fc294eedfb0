"""What of the machine a task sees: the system's programs, what the linker needs, the running Python, its packages."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ETC: Final = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime")
SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_PACKAGE_PARTS: Final = ("__init__.py", "py.typed", "client", "overlay", "node")
"""Of a checkout, only what a worker or a task may import."""


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
