"""What a node does with instructions of its kinds: functions of a file, run in its sandboxes as other tasks are."""

from __future__ import annotations

from typing import Final

import msgspec

from .work import Inline

HANDLES: Final = "__potluck_handles__"
"""Attribute of a function that handles a kind: its name."""


class Handlers(msgspec.Struct, frozen=True):
    """Of one node."""

    file_name: str
    source: bytes
    kinds: tuple[str, ...]
    libraries: tuple[tuple[str, Inline], ...] = ()
    """Modules beside the file that it can import, by name, as libraries hold them."""
