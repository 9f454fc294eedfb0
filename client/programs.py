"""Functions and arguments, made ready to travel.

A function whose module a worker cannot import (the program itself, and modules beside it) travels by value.
"""

from __future__ import annotations

import hashlib
import pickle  # noqa: TID251  a program pickles its own arguments
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeGuard, cast

import cloudpickle
import msgspec

from ..overlay.wire.work import INLINE_BYTES_MAX, Inline, Program, ProgramForm

_BUFFER_BYTES_MIN: Final = 4096
"""Shorter buffers travel in the pickle: out of band they would cost more than they save."""
_BUFFERS_MAX: Final = 4096

_PLAIN: Final[frozenset[type]] = frozenset({int, float, str, bytes, bool, type(None), complex})
"""Arguments of exactly these types mean the same to pickle and cloudpickle, and pickle is ten times faster."""

_LOOK_MAX: Final = 16

_registry: Final = threading.Lock()
"""cloudpickle's list of modules to take by value belongs to the whole process."""


class Body(msgspec.Struct, frozen=True, eq=False):
    """A program with its body, and the same without, for the second time it is named."""

    program: Program
    without_body: Program
    size_bytes: int


def body_of(form: ProgramForm, body: bytes, *, entry: str = "", file_name: str = "") -> Body:
    digest = hashlib.blake2b(digest_size=32)
    digest.update(f"{form}\0{entry}\0{file_name}\0".encode())
    digest.update(body)
    without = Program(digest.digest(), form, entry, file_name)
    if form == "kind":
        return Body(without, without, 0)
    return Body(msgspec.structs.replace(without, body=Inline(body)), without, len(body))


class Packer:
    """Pickles for one executor. Knows which modules are the program's own, and looks again when more are imported."""

    def __init__(self) -> None:
        self._own: tuple[ModuleType, ...] = ()
        self._modules_seen = 0

    def body(self, function: Callable[..., Any]) -> Body:
        """Raises whatever cloudpickle raises for a function that holds what cannot travel."""
        with self._own_modules_by_value():
            return body_of("callable", cloudpickle.dumps(function, protocol=5))

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inline:
        """Copies what it is given: later changes by the program do not reach the task."""
        if not kwargs and all(map(_is_plain, args)):
            return Inline(pickle.dumps((args, kwargs), 5))
        buffers: list[bytes] = []

        def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes < _BUFFER_BYTES_MIN or len(buffers) == _BUFFERS_MAX:
                return True
            buffers.append(bytes(raw))
            return False

        with self._own_modules_by_value():
            data = cloudpickle.dumps((args, kwargs), protocol=5, buffer_callback=keep_in_band)
        return Inline(data, buffers)

    @contextmanager
    def _own_modules_by_value(self) -> Iterator[None]:
        with _registry:
            if self._modules_seen != len(sys.modules):
                self._modules_seen = len(sys.modules)
                self._own = tuple(module for name, module in list(sys.modules.items()) if _is_own(name, module))
            already = cloudpickle.list_registry_pickle_by_value()
            added = [module for module in self._own if module.__name__ not in already]
            for module in added:
                cloudpickle.register_pickle_by_value(module)
            try:
                yield
            finally:
                for module in added:
                    cloudpickle.unregister_pickle_by_value(module)


def _is_plain(value: object) -> bool:
    """Means the same to pickle and to cloudpickle; looks one level into short containers, where looking is cheap."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is list or kind is tuple:
        items = cast("list[object] | tuple[object, ...]", value)
        return len(items) <= _LOOK_MAX and all(type(item) in _PLAIN for item in items)
    return False


def size_of(inline: Inline) -> int:
    if not inline.buffers:
        return len(inline.data)
    return len(inline.data) + sum(map(len, inline.buffers))


def travels_inline(inline: Inline, size_bytes: int) -> bool:
    """Whether the encoded payload stays within the limit: five bytes of header for each part, and some."""
    return size_bytes + 5 * len(inline.buffers) + 16 <= INLINE_BYTES_MAX


_INSTALLED: Final = tuple(
    {str(Path(sysconfig.get_path(kind)).resolve()) + "/" for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_PACKAGE: Final = __name__.partition(".")[0]


def _is_own(name: str, module: object) -> TypeGuard[ModuleType]:
    """Of the program itself: neither the standard library, nor installed, nor potluck."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or name == "__main__" or name.partition(".")[0] == _PACKAGE:
        return False
    if getattr(module, "__name__", None) != name:
        return False  # an alias: cloudpickle knows modules by their own name
    return not file.startswith(_INSTALLED) and "/site-packages/" not in file and "/dist-packages/" not in file
