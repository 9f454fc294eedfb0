"""The real machine behind the small ports: wall clock, entropy, and how busy it is."""

from __future__ import annotations

import importlib.util
import os
import random
import resource
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import psutil

from ..overlay.ports import Gpu, HostSample, Look
from .lending.desk import Desk

_PACKAGE_FOLDERS: Final = ("site-packages", "dist-packages")

_DESCRIPTORS_MAX: Final = 65_536


class SystemWallClock:
    def now_s(self) -> float:
        return time.time()  # noqa: TID251  the one place that asks

    def running_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class SystemEntropy:
    def token(self, size_bytes: int) -> bytes:
        return os.urandom(size_bytes)

    def stream(self, name: str) -> random.Random:
        """Seeded from the system; the name matters only where runs are to be repeated."""
        return random.Random(os.urandom(16))  # noqa: S311  not for secrets


class SystemHost:
    def __init__(self, data_dir: Path, gpus: Sequence[Gpu] = (), desk: Desk | None = None) -> None:
        self._data_dir = data_dir
        self._desk = desk or Desk()
        self._sampled = HostSample(0.0, 0, 0)
        self.cores: Sequence[int] = sorted(os.sched_getaffinity(0))
        self.gpus = gpus
        self.memory_bytes: int = psutil.virtual_memory().total
        self.packages: Mapping[str, str] = _packages(sys.path)
        self._package_folders = [path for path in map(Path, sys.path) if path.name in _PACKAGE_FOLDERS]

    def has_module(self, name: str) -> bool:
        try:
            return name in sys.modules or importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            return False  # no name of a module at all

    def installed(self) -> tuple[int, ...]:
        return tuple(map(_changed_ns, self._package_folders))

    def look(self) -> Look:
        return self._desk.look()

    def wall(self) -> datetime:
        return datetime.now().astimezone()

    def sample(self) -> HostSample:
        """The one before, where the machine does not tell: no more files can be opened, or the disk is gone."""
        with suppress(OSError):
            self._sampled = HostSample(
                cpu_percent=psutil.cpu_percent(interval=None),
                memory_free_bytes=psutil.virtual_memory().available,
                disk_free_bytes=psutil.disk_usage(str(self._data_dir)).free,
            )
        return self._sampled


def allow_descriptors() -> None:
    """As many open files as this process may have, within reason: a sandbox takes nine, a connection one or two, and
    what a login allows without being asked is little."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _changed_ns(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _packages(search_path: Iterable[str]) -> dict[str, str]:
    """By the names of their folders of metadata: opening them all would take as long as the rest of a start."""
    found: dict[str, str] = {}
    for folder in map(Path, search_path):
        try:
            names = sorted(path.name for path in folder.iterdir() if path.name.endswith((".dist-info", ".egg-info")))
        except OSError:
            continue  # a zip file, or nothing
        for name in names:
            package, _, version = name.rpartition(".")[0].partition("-")
            found.setdefault(package.lower().replace("_", "-"), version)
    return found
