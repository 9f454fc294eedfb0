"""Which sandboxes this machine has, best first; and what is left of those of others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ...overlay.errors import SandboxUnavailable
from ...overlay.ports import Sandbox
from .bare import BareSandbox, remove_abandoned_folders
from .bubblewrap import BubblewrapSandbox, end_abandoned_sandboxes
from .cgroups import Hierarchy
from .confined import ConfinedSandbox


def available_sandboxes(choice: str) -> Sequence[Sandbox]:
    """For `Config.sandbox`. Blocks for a trial run. Raises SandboxUnavailable if what was chosen does not work here."""
    groups = Hierarchy.find()
    if choice == "bare":
        return (BareSandbox(groups),)
    if choice == "bubblewrap":
        return (BubblewrapSandbox.find(groups=groups),)
    if choice == "docker":
        from .docker import DockerSandbox  # what it needs takes a while to import, and few choose it

        return (DockerSandbox.find(),)
    if choice == "confined":
        return (ConfinedSandbox.find(groups),)
    return (*_best(groups), BareSandbox(groups))


def clear_up() -> None:
    """What nodes that were killed have left behind on this machine; it takes tens of milliseconds."""
    remove_abandoned_folders()
    end_abandoned_sandboxes()
    groups = Hierarchy.find()
    if groups is not None:
        groups.remove_abandoned()


def _best(groups: Hierarchy | None) -> Sequence[Sandbox]:
    """Of those that keep a task from the machine, the first that works."""
    with suppress(SandboxUnavailable):
        return (BubblewrapSandbox.find(groups=groups),)
    with suppress(SandboxUnavailable):
        return (ConfinedSandbox.find(groups),)
    return ()
