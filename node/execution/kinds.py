"""The programs behind instructions of a kind: this node's own, whoever gives the instruction."""

from __future__ import annotations

import hashlib

import msgspec

from ...overlay.wire.kinds import Handlers
from ...overlay.wire.work import Inline, Program
from .tasks import Numbers, ProgramState


class KindPrograms:
    """Without handlers, an instruction is answered with itself."""

    def __init__(self, handlers: Handlers | None, numbers: Numbers) -> None:
        self._file_name = "" if handlers is None else handlers.file_name
        self._source = Inline(b"" if handlers is None else handlers.source)
        self._numbers = numbers
        self._libraries = (
            tuple(_library(name, files, numbers) for name, files in handlers.libraries) if handlers else ()
        )

    def program_for(self, program: Program) -> ProgramState:
        named = msgspec.structs.replace(program, file_name=self._file_name)
        return ProgramState(self._numbers.next(), named, self._source, self._libraries)


def _library(name: str, files: Inline, numbers: Numbers) -> ProgramState:
    program_id = hashlib.blake2b(name.encode() + b"\0" + files.data, digest_size=32).digest()
    return ProgramState(numbers.next(), Program(program_id, "library", file_name=name), files)
