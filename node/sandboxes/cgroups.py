"""The kernel's own accounts of whole trees: one control group for each sandbox, below the node's own.

Machines have the first version of control groups, the second, or both with the controllers divided among them; a node
may write to some of them or to none. What can be used is found by trying.

| what                   | version 2             | version 1                                |
|------------------------|-----------------------|------------------------------------------|
| memory, at most        | `memory.max`          | `memory.limit_in_bytes`                  |
| … with swap            | `memory.swap.max` = 0 | `memory.memsw.limit_in_bytes`            |
| … in use               | `memory.current`      | `memory.usage_in_bytes`                  |
| … ended for want of it | `memory.events`       | `memory.oom_control`                     |
| processes, at most     | `pids.max`            | `pids.max`                               |
| … refused              | `pids.events`         | `pids.events`                            |
| CPU, share             | `cpu.weight`          | `cpu.shares`                             |
| … used                 | `cpu.stat`            | `cpuacct.usage`                          |

Within a group, whoever wakes up waits for the others' turns to end: 15 to 100 ms beside threads that compute, measured,
where it takes 0.1 ms outside. So who is to stop the others is set apart: in the group that the node is in itself, or
under version 2, where only leaves have members, in one for all of them.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from ...overlay.errors import SandboxUnavailable
from ...overlay.wire.limits import Limits, Usage

_CONTROLLERS: Final = ("memory", "pids", "cpu", "cpuacct")
_PREFIX: Final = "potluck-"
_MEMBERS: Final = "cgroup.procs"
_SHORT_BYTES: Final = 4096
_NANOSECONDS: Final = 1e-9
_MICROSECONDS: Final = 1e-6
_WEIGHT: Final = 50
"""Half of what a process of the user's own has."""
_SHARES: Final = 512
_WEIGHT_APART: Final = 10_000
_PROCESSES_OF_OURS: Final = 1
"""The supervisor."""


class Hierarchy:
    """Folders in which the node may make groups: a folder for each controller."""

    def __init__(self, version_two: Path | None, version_one: Mapping[str, Path]) -> None:
        self._version_two = version_two
        self._version_one = dict(version_one)
        self._numbers = itertools.count(1)

    @classmethod
    def find(cls, proc: Path = Path("/proc/self")) -> Hierarchy | None:
        """None where the node may not make any."""
        own = _own_folders(proc)
        version_one = {name: folder for name in _CONTROLLERS if (folder := own.get(name)) and _is_ours(folder)}
        version_two = _version_two(own.get(""))
        hierarchy = cls(version_two, version_one)
        return hierarchy if "memory" in hierarchy._controllers else None

    @property
    def _controllers(self) -> frozenset[str]:
        """Version 2 counts CPU time in any case."""
        with_two = _delegated(self._version_two) | {"cpuacct"} if self._version_two else frozenset()
        return with_two | frozenset(self._version_one)

    @property
    def guarantees(self) -> dict[str, bool]:
        """What holds for whoever is in a group."""
        controllers = self._controllers
        return {"cpu": {"cpu", "cpuacct"} <= controllers, "processes": "pids" in controllers}

    def make(self) -> Group:
        """Raises OSError."""
        for number in self._numbers:
            group = self._named(f"{_PREFIX}{os.getpid()}-{number}")
            with suppress(FileExistsError):  # of a node that had this process's number, and was killed
                group.make()
                return group
        raise AssertionError("numbers do not end")

    def _named(self, name: str) -> Group:
        two = self._version_two
        return Group(
            two / name if two else None,
            {controller: folder / name for controller, folder in self._version_one.items()},
            two / f"{_PREFIX}{os.getpid()}-apart" if two else None,
        )

    def remove_abandoned(self) -> None:
        """Groups of nodes that were killed, with those that nodes within their sandboxes made; those that still hold
        somebody stay."""
        for folder in {*self._version_one.values(), *([self._version_two] if self._version_two else [])}:
            for group in folder.glob(f"{_PREFIX}*-*"):
                node = group.name.removeprefix(_PREFIX).partition("-")[0]
                if not Path("/proc", node).exists():
                    with suppress(OSError):
                        _remove(group)


def _remove(group: Path) -> None:
    """And what is in it, the innermost first. Raises OSError."""
    for inner in [one for one in group.iterdir() if one.is_dir()]:
        _remove(inner)
    group.rmdir()


def make_group(hierarchy: Hierarchy | None) -> Group | None:
    """Raises SandboxUnavailable."""
    try:
        return hierarchy.make() if hierarchy is not None else None
    except OSError as error:
        raise SandboxUnavailable(f"no control group can be made: {error}") from error


class Group:
    def __init__(self, version_two: Path | None, version_one: Mapping[str, Path], apart: Path | None = None) -> None:
        self._two = version_two
        self._one = version_one
        self._apart = apart

    def make(self) -> None:
        """All of it or nothing. Raises OSError."""
        with ExitStack() as made:
            for folder in self._folders():
                folder.mkdir()
                made.callback(folder.rmdir)
            _write(self._one.get("cpu"), "cpu.shares", _SHARES)
            _write(self._two, "cpu.weight", _WEIGHT)
            # All of a tree goes, not the largest of it alone.
            _write(self._two, "memory.oom.group", 1)
            made.pop_all()

    def limit(self, limits: Limits) -> None:
        """What is above its limit already stays so, and is seen by whoever looks at `usage`."""
        memory = self._one.get("memory")
        with suppress(OSError):
            if limits.memory_bytes:
                _write(memory, "memory.limit_in_bytes", limits.memory_bytes)
                _write(memory, "memory.memsw.limit_in_bytes", limits.memory_bytes)
                _write(self._two, "memory.max", limits.memory_bytes)
                _write(self._two, "memory.swap.max", 0)
        for folder in (self._one.get("pids"), self._two) if limits.processes else ():
            _write(folder, "pids.max", limits.processes + _PROCESSES_OF_OURS)

    def enter(self, pid: int) -> None:
        """May take the kernel 20 ms. Raises OSError."""
        for folder in self._folders():
            (folder / _MEMBERS).write_text(str(pid))

    def set_apart(self, pid: int) -> None:
        """It waits for nobody's turn any more; of what it has started since it came, all stays where it is."""
        with suppress(OSError):  # then it waits, as it has always done
            if (cpu := self._one.get("cpu")) is not None:
                (cpu.parent / _MEMBERS).write_text(str(pid))
            if self._apart is not None:
                self._apart.mkdir(exist_ok=True)
                _write(self._apart, "cpu.weight", _WEIGHT_APART)
                (self._apart / _MEMBERS).write_text(str(pid))

    def usage(self) -> Usage:
        """Nothing where the group is gone."""
        two, memory, pids, cpuacct = self._two, *map(self._one.get, ("memory", "pids", "cpuacct"))
        cpu_s = _number(cpuacct, "cpuacct.usage") * _NANOSECONDS if cpuacct else 0.0
        return Usage(
            memory_bytes=_number(memory, "memory.usage_in_bytes") or _number(two, "memory.current"),
            memory_kills=_field(memory, "memory.oom_control", "oom_kill") or _field(two, "memory.events", "oom_kill"),
            cpu_s=cpu_s or _field(two, "cpu.stat", "usage_usec") * _MICROSECONDS,
            processes_refused=_field(pids, "pids.events", "max") or _field(two, "pids.events", "max"),
        )

    def members(self) -> set[int]:
        folder = next(self._folders())
        return {int(line) for line in _lines(folder / _MEMBERS)}

    def kill(self, apart: int) -> None:
        """All but the one that is set apart."""
        if self._two is not None and not self._one:
            with suppress(OSError):
                _write(self._two, "cgroup.kill", 1)
            return
        handles = {pid: handle for pid in self.members() - {apart} if (handle := _handle_on(pid)) is not None}
        members = self.members()
        for pid, handle in handles.items():
            if pid in members:  # else the number is somebody else's by now
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)

    def remove(self) -> None:
        """When nobody is in it any more."""
        for folder in (*self._folders(), *([self._apart] if self._apart else [])):
            with suppress(OSError):
                folder.rmdir()

    def _folders(self) -> Iterator[Path]:
        yield from dict.fromkeys(self._one.values())
        if self._two is not None:
            yield self._two


def _handle_on(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


class _FoundGroup(Group):
    """Of somebody else's making, whose it is to remove."""

    def limit(self, limits: Limits) -> None:
        """As far as this node may."""
        with suppress(OSError):
            super().limit(limits)

    def remove(self) -> None:
        pass


def group_of(pid: int) -> Group | None:
    """The one that a process is in by itself with what it starts; None where that cannot be seen from here."""
    viewer = Path("/proc/self")
    own = _own_folders(viewer)
    found = {
        name: folder
        for name, folder in _folders_of(Path("/proc", str(pid)), viewer).items()
        if folder != own.get(name) and str(pid) in _lines(folder / "cgroup.procs")
    }
    two = found.pop("", None)
    if two is not None and not (two / "memory.current").exists():
        two = None
    return _FoundGroup(two, found) if two is not None or "memory" in found else None


def _own_folders(proc: Path) -> dict[str, Path]:
    return _folders_of(proc, proc)


def _folders_of(proc: Path, viewer: Path) -> dict[str, Path]:
    """The group that a process is in, by controller; "" for version 2."""
    mounts: dict[str, Path] = {}
    for line in _lines(viewer / "mountinfo"):
        fields, _, rest = line.partition(" - ")
        kind, _source, options = (*rest.split(" "), "", "", "")[:3]
        if kind == "cgroup2":
            mounts[""] = Path(fields.split(" ")[4])
        elif kind == "cgroup":
            mounts.update({name: Path(fields.split(" ")[4]) for name in options.split(",") if name in _CONTROLLERS})
    found: dict[str, Path] = {}
    for line in _lines(proc / "cgroup"):
        _number, names, path = line.split(":", 2)
        for name in names.split(","):
            if name in mounts:
                found[name] = mounts[name] / path.lstrip("/")
    return found


def _version_two(own: Path | None) -> Path | None:
    """A group that holds processes has none below it with controllers: a session's are made beside it."""
    beside = [own.parent] if own is not None and own.name.endswith(".scope") else []
    for folder in [own, *beside] if own is not None else ():
        if "memory" in _delegated(folder) and _is_ours(folder):
            return folder
    return None


def _delegated(folder: Path) -> frozenset[str]:
    """Controllers that groups below this one of version 2 have."""
    return frozenset(" ".join(_lines(folder / "cgroup.subtree_control")).split()) & frozenset(_CONTROLLERS)


def _is_ours(folder: Path) -> bool:
    trial = folder / f"{_PREFIX}{os.getpid()}-0"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError:
        return False
    return True


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _write(folder: Path | None, name: str, number: int) -> None:
    """Where there is such a file: kernels are built without some of them."""
    if folder is not None and (file := folder / name).exists():
        file.write_text(str(number))


def _number(folder: Path | None, name: str) -> int:
    text = _said(folder, name).strip()
    return int(text) if text.isdigit() else 0


def _field(folder: Path | None, file: str, name: str) -> int:
    for line in _said(folder, file).splitlines():
        key, _space, number = line.partition(b" ")
        if key == name.encode():
            return int(number)
    return 0


def _said(folder: Path | None, name: str) -> bytes:
    """All of a short file. Every look reads some, so that a Python file for each would be most of a look."""
    if folder is None:
        return b""
    try:
        file = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, _SHORT_BYTES)
    except OSError:
        return b""
    finally:
        os.close(file)
