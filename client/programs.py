"""Functions and arguments, made ready to travel.

The program's own modules travel as libraries, and what they hold is pickled by name. What no library can hold (the
program itself, modules made by hand) is pickled by value.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle  # noqa: TID251  a program pickles its own arguments
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, SupportsIndex, TypeGuard, cast

import cloudpickle
import msgspec

from ..overlay import parcels
from ..overlay.errors import LimitExceeded
from ..overlay.parcels import Parcel
from ..overlay.wire.work import INLINE_BYTES_MAX, MODULES_MAX, Inline, Program, ProgramForm
from .anew import reduced, with_slots
from .culprits import name_culprit
from .enums import with_members
from .modules import Library, Modules, latest, main_source, own_modules
from .origins import marked

_BUFFER_BYTES_MIN: Final = 4096
"""Shorter buffers travel in the pickle: out of band they would cost more than they save."""
_BUFFERS_MAX: Final = 4096
_PARCEL_BYTES_MIN: Final = 1 << 20
"""So long a buffer is copied once all is pickled, into its parcel, and not by way of this process's own memory."""
_LONG_BYTES: Final = 65_536
"""Bytes from here on are not copied into the pickle: nobody can change them, so that they wait as they are."""

_PLAIN: Final[frozenset[type]] = frozenset({int, float, str, bytes, bool, type(None), complex})
"""Arguments of exactly these types mean the same to pickle and cloudpickle, and pickle is ten times faster."""

_LOOK_MAX: Final = 16

_registry: Final = threading.Lock()
"""cloudpickle's list of modules to take by value belongs to the whole process."""
os.register_at_fork(after_in_child=_registry._at_fork_reinit)  # type: ignore[attr-defined]  # as threading does itself


Arguments = Inline | Parcel
"""Of one task: the second where they are long and had to be copied."""


class Body(msgspec.Struct, frozen=True, eq=False):
    """A program with its body, and the same without, for the second time it is named."""

    program: Program
    without_body: Program
    size_bytes: int
    libraries: tuple[Body, ...] = ()
    classes: tuple[type, ...] = ()
    """Those that travel in it, kept for as long as somebody awaits one of them back."""


def body_of(
    form: ProgramForm, body: bytes, *, entry: str = "", file_name: str = "", libraries: tuple[Body, ...] = ()
) -> Body:
    digest = hashlib.blake2b(digest_size=32)
    digest.update(f"{form}\0{entry}\0{file_name}\0".encode())
    needed = [library.program.program_id for library in libraries]
    digest.update(b"".join((*needed, body)))
    without = Program(digest.digest(), form, entry, file_name, libraries=needed)
    if form == "kind":
        return Body(without, without, 0)
    return Body(msgspec.structs.replace(without, body=Inline(body)), without, len(body), libraries)


def bodies_of(libraries: list[Library]) -> tuple[Body, ...]:
    return tuple(body_of("library", library.files.data, file_name=library.name) for library in libraries)


class Packer:
    """Pickles for one executor. Knows which modules are the program's own, and looks again when more are imported."""

    def __init__(self) -> None:
        self.libraries: tuple[Body, ...] = ()
        """What functions and arguments pickled from now on need; another object when it has changed."""
        self._modules = Modules()
        self._strays: tuple[ModuleType, ...] = ()
        self.generation = 0
        """Another one when a module that travels has been loaded again, from a file that is another now: who has
        imported it as it was, goes on with that."""
        self._taken: dict[str, Library] = {}
        self._seen: tuple[int, object, object] = (0, None, None)

    def look_again(self) -> None:
        """Where modules have been loaded since, also some of them again."""
        if not _is_same(self._seen, latest()):
            with _registry:
                self._look()

    def body(self, function: Callable[..., Any], needs: tuple[Body, ...] = ()) -> Body:
        """`needs` beside the libraries. Raises whatever cloudpickle raises for a function that cannot travel, with a
        note of what it was for."""
        with self._strays_by_value():
            pickler = _Pickler(None)
            try:
                pickled = pickler.pickled(function)
            except Exception as error:
                name_culprit(error, function, lambda part: _Pickler(None).pickled(part))
                raise
            installed = self._installed(pickler.modules)
        made = body_of("callable", pickled, libraries=(*self.libraries, *needs))
        return msgspec.structs.replace(_naming(made, installed), classes=tuple(pickler.classes))

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any], classes: list[type] | None = None) -> Arguments:
        """Copies what it is given, once: later changes by the program do not reach the task. Adds to `classes` those
        that travel along."""
        if not kwargs and all(map(_is_plain, args)):
            return Inline(pickle.dumps((args, kwargs), 5))
        buffers: list[bytes | memoryview] = []

        def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes < _BUFFER_BYTES_MIN or len(buffers) == _BUFFERS_MAX:
                return True
            buffers.append(_whole_of(raw) or (raw if raw.nbytes >= _PARCEL_BYTES_MIN else bytes(raw)))
            return False

        try:
            with self._strays_by_value():
                pickler = _Pickler(keep_in_band)
                data = pickler.pickled(_with_long_apart(args, kwargs))
            if classes is not None:
                classes += pickler.classes
            return _copied(data, buffers)
        finally:
            for view in buffers:
                if isinstance(view, memoryview):
                    with suppress(BufferError):  # in use by what an exception that passes through here remembers
                        view.release()

    def _installed(self, modules: set[str]) -> list[str]:
        """Those that are neither Python's own nor travel along."""
        along = {body.program.file_name for body in self.libraries} | {stray.__name__ for stray in self._strays}
        return sorted(modules - along - sys.stdlib_module_names - _EVERYWHERE)[:MODULES_MAX]

    @contextmanager
    def _strays_by_value(self) -> Iterator[None]:
        with _registry:
            self._look()
            already = cloudpickle.list_registry_pickle_by_value()
            added = [module for module in self._strays if module.__name__ not in already]
            for module in added:
                cloudpickle.register_pickle_by_value(module)
            try:
                yield
            finally:
                for module in added:
                    cloudpickle.unregister_pickle_by_value(module)

    def _look(self) -> None:
        seen = latest()
        if _is_same(self._seen, seen):
            return
        libraries, strays = self._modules.imported(own_modules(), main_source())
        taken = self._taken
        if fresh := [library for library in libraries if taken.get(library.name) != library]:
            self.generation += any(library.name in taken for library in fresh)
            taken.update((library.name, library) for library in fresh)
            names = {library.name for library in fresh}
            stay = [body for body in self.libraries if body.program.file_name not in names]
            self.libraries = (*stay, *bodies_of(fresh))
        self._strays = tuple(strays)
        self._seen = seen


def _is_same(one: tuple[int, object, object], other: tuple[int, object, object]) -> bool:
    """Not equal: a module that is loaded again has an equal spec."""
    return one[0] == other[0] and one[1] is other[1] and one[2] is other[2]


_EVERYWHERE: Final = frozenset({"__main__", "cloudpickle", __name__.partition(".")[0]})
_OF_PROCESS: Final = (("random", "_inst"), ("numpy.random.mtrand", "_rand"))
"""Generators behind functions of modules. A process has its own, whose state is none of its results' business."""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Takes those by name: `submit(random.random)` twice is to give two values, wherever they are drawn."""

    def __init__(self, buffer_callback: Callable[[pickle.PickleBuffer], bool] | None) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file, protocol=5, buffer_callback=buffer_callback)
        self.modules: set[str] = set()
        """Top-level names of those that hold the classes and functions met on the way."""
        self.classes: list[type] = []
        """By value."""

    def pickled(self, value: object) -> bytes:
        self.dump(value)
        return self._file.getvalue()

    def reducer_override(self, obj: Any) -> Any:
        name = obj.__name__ if isinstance(obj, ModuleType) else getattr(obj, "__module__", None)
        top = name.partition(".")[0] if isinstance(name, str) else ""
        if top in sys.modules and isinstance(obj, type | ModuleType | FunctionType | BuiltinFunctionType):
            self.modules.add(top)  # what a named tuple's methods or those that `exec` has made name is no module
        for module, name in _OF_PROCESS:
            if module in sys.modules and obj is getattr(sys.modules[module], name, None):
                return getattr, (sys.modules[module], name)
        made = reduced(obj) or with_members(obj, with_slots(obj, super().reducer_override(obj)))
        if not isinstance(made, tuple):
            return made
        of_origin = marked(obj, made)
        if of_origin is not made and isinstance(obj, type):
            self.classes.append(obj)
        return of_origin


def _naming(body: Body, modules: list[str]) -> Body:
    python = ".".join(platform.python_version_tuple()[:2])
    whole, without = (
        msgspec.structs.replace(program, modules=modules, python=python)
        for program in (body.program, body.without_body)
    )
    return msgspec.structs.replace(body, program=whole, without_body=without)


class _Long:
    """Bytes on their own beside a pickle. What comes out of it are bytes."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[type[bytes], tuple[pickle.PickleBuffer]]:
        return bytes, (pickle.PickleBuffer(self._data),)


def _with_long_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Long bytes that are arguments themselves. Two that are one stay one; what is part of another argument, too,
    travels with that once more."""
    apart = {id(arg): _Long(arg) for arg in (*args, *kwargs.values()) if type(arg) is bytes and len(arg) >= _LONG_BYTES}
    if not apart:
        return args, kwargs
    return tuple(apart.get(id(arg), arg) for arg in args), {
        name: apart.get(id(arg), arg) for name, arg in kwargs.items()
    }


def _whole_of(view: memoryview) -> bytes | None:
    """Bytes that are just this: nobody can change them."""
    whole = view.obj
    return whole if type(whole) is bytes and len(whole) == view.nbytes else None


def _copied(data: bytes, buffers: Sequence[bytes | memoryview]) -> Arguments:
    """A pickle with buffers, of which the views are still the program's own. A quarter of the descriptors that a
    process may have is used for what waits."""
    if any(isinstance(one, memoryview) for one in buffers):
        with suppress(LimitExceeded):  # then in this process's own memory
            return parcels.seal(Inline(data, cast("list[bytes]", buffers)), below=parcels.held_below() // 2)
    return Inline(data, [bytes(one) for one in buffers])


def _is_plain(value: object) -> bool:
    """Means the same to pickle and to cloudpickle; looks one level into short containers, where looking is cheap."""
    kind = type(value)
    if kind is bytes:
        return len(cast("bytes", value)) < _LONG_BYTES
    if kind in _PLAIN:
        return True
    if kind is list or kind is tuple:
        items = cast("list[object] | tuple[object, ...]", value)
        return len(items) <= _LOOK_MAX and all(type(item) in _PLAIN for item in items)
    return False


def travels_inline(arguments: Arguments, size_bytes: int) -> TypeGuard[Inline]:
    """Whether the encoded payload stays within the limit: five bytes of header for each part, and some."""
    return isinstance(arguments, Inline) and size_bytes + 5 * len(arguments.buffers) + 16 <= INLINE_BYTES_MAX
