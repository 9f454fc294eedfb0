"""Workers kept to some files and to themselves by the kernel, without namespaces: what is left where bubblewrap is not.

A task sees the same files as inside bubblewrap, and writes to its scratch folder alone; it makes no sockets, and so
reaches neither network nor other programs. Named semaphores and shared memory would lie in /dev/shm, which is
everybody's: `semaphores` are found in their place, so that `multiprocessing` works as far as it forks. A task sees of
other files that they exist. `confinement` is the part of it that runs inside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

import msgspec

from ...overlay.errors import SandboxUnavailable
from ...overlay.ports import Gpu
from ..inside.confinement import LANDLOCK_MIN, landlock_version
from ..resources.gpus import devices_of
from .bare import BareSandbox
from .cgroups import Hierarchy
from .visible import ETC, SYSTEM, python_paths

TRIAL_TIMEOUT_S: Final = 10.0
CONFINEMENT_MODULE: Final = "potluck.node.inside.confinement"
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_MACHINE: Final = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/version")
_TRIAL: Final = """
import json, sys
from potluck.node.inside.confinement import confine
from potluck.overlay.errors import SandboxUnavailable
paths = json.loads(sys.argv[1])
try:
    confine(paths["read"], paths["devices"], paths["written"])
except SandboxUnavailable as error:
    sys.exit(str(error))
"""


class ConfinedSandbox(BareSandbox):
    """Made by `find`, which proves that it works here."""

    backend = "confined"
    opens_network = False

    def __init__(self, groups: Hierarchy | None = None) -> None:
        super().__init__(groups)
        self.guarantees = msgspec.structs.replace(self.guarantees, network=True, filesystem=True, environment=True)

    @classmethod
    def find(cls, groups: Hierarchy | None = None) -> ConfinedSandbox:
        """Blocks for a trial run. Raises SandboxUnavailable with the reason, and which guarantees it is one of."""
        if (version := landlock_version()) < LANDLOCK_MIN:
            has = f"has its version {version}" if version else "has none"
            wanted = f"network and filesystem are guaranteed by Landlock of version {LANDLOCK_MIN}"
            raise SandboxUnavailable(f"confined: {wanted}; this kernel {has}")
        command = (sys.executable, "-P", "-c", _TRIAL, _paths(tempfile.gettempdir()))
        try:
            trial = subprocess.run(
                command, capture_output=True, text=True, timeout=TRIAL_TIMEOUT_S, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxUnavailable(f"confined: it does not work here: {error}") from error
        if trial.returncode:
            raise SandboxUnavailable(f"confined: {trial.stderr.strip()[-300:]}")
        return cls(groups)

    def _command(self, descriptors: str, scratch: str, gpus: Sequence[Gpu]) -> Sequence[str]:
        limits = (f"end_with={os.getpid()}", "core=0")
        return (sys.executable, "-P", "-m", CONFINEMENT_MODULE, _paths(scratch, gpus), descriptors, *limits)


def _paths(scratch: str, gpus: Sequence[Gpu] = ()) -> str:
    etc = [f"/etc/{name}" for name in ETC]
    devices = [*_DEVICES, *devices_of(gpus)]
    return json.dumps({"read": [*SYSTEM, *etc, *_MACHINE, *python_paths()], "devices": devices, "written": scratch})
