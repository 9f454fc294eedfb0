"""What a node does with instructions of its kinds: functions of a file, run in its sandboxes as other tasks are."""

from __future__ import annotations

from typing import Final

import msgspec

from ..errors import RemoteProtocolError
from .values import decode
from .work import Inline, Payload

HANDLES: Final = "__potluck_handles__"
"""Attribute of a function that handles a kind: its name."""


class Handlers(msgspec.Struct, frozen=True):
    """Of one node."""

    file_name: str
    source: bytes
    kinds: tuple[str, ...]
    libraries: tuple[tuple[str, Inline], ...] = ()
    """Modules beside the file that it can import, by name, as libraries hold them."""


_LABEL_CHARS_MAX: Final = 200


def label_of(arguments: Payload) -> str:
    """Of what is given by kind, for the log: the text of an instruction, or the kind of a call. What a call is given is
    nobody's who reads the log."""
    if not isinstance(arguments, Inline):
        return "..."
    try:
        match decode(arguments, arrays=False):
            case str(text) | [str(text), list(), dict()]:
                return (text if text.isprintable() else repr(text))[:_LABEL_CHARS_MAX]
    except RemoteProtocolError:
        pass  # shown as what cannot be read
    return "?"
