"""A program's own modules: which they are, and the files of each, to be imported under the same names elsewhere.

Own is what is neither the standard library's, nor installed, nor potluck. Each top-level module or package is a
library of its own, named by its content, so that a node gets it once. A program needs those that it has imported and
those that its source, or theirs, could import at any time.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple
from zipfile import BadZipFile

import msgspec

from ..overlay.errors import BadProgram
from ..overlay.wire.work import Inline
from .archives import archive_of, files_in

LIBRARY_BYTES_MAX: Final = 16 << 20
_FILES_MAX: Final = 8192

_INSTALLED: Final = tuple(
    {str(Path(sysconfig.get_path(kind)).resolve()) + "/" for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_PACKAGE: Final = __name__.partition(".")[0]
_COMPILED: Final = (".pyc", ".pyo", *EXTENSION_SUFFIXES)


class Library(NamedTuple):
    """One top-level module or package."""

    name: str
    files: Inline
    """An encoded dict of relative path to content."""


class Modules:
    """Of one program. Files are read when their library is first needed, and when a module of it is loaded again."""

    def __init__(self, beside: Path | None = None) -> None:
        """`beside`: a folder whose modules the program may import, before all others."""
        self._beside = None if beside is None else str(beside)
        self._libraries: dict[str, Library | None] = {}
        self._specs: dict[str, ModuleSpec | None] = {}
        """Of those loaded, by which one that is loaded again is known."""

    def imported(
        self, loaded: Iterable[ModuleType], source: str | bytes = b""
    ) -> tuple[list[Library], list[ModuleType]]:
        """Of those loaded, and of what they or `source` could import: the libraries; and modules that none holds."""
        loaded = list(loaded)
        self._forget_reloaded(loaded)
        libraries = self._closure([*(module.__name__.partition(".")[0] for module in loaded), *_names_in(source)])
        strays = [module for module in loaded if not self._holds(module)]
        return libraries, strays

    def _forget_reloaded(self, loaded: Iterable[ModuleType]) -> None:
        """Its file is another since then."""
        for module in loaded:
            name, spec = module.__name__, getattr(module, "__spec__", None)
            if self._specs.setdefault(name, spec) is not spec:
                self._specs[name] = spec
                self._libraries.pop(name.partition(".")[0], None)

    def imported_by(self, source: str | bytes) -> list[Library]:
        """What this source could import."""
        return self._closure(_names_in(source))

    def shipped(self, names: Iterable[str]) -> list[Library]:
        """Packages that are sent because the user says so, installed or not. Raises BadProgram."""
        return [self._shipped(name) for name in names]

    def _shipped(self, name: str) -> Library:
        spec = self._spec(name) if name.isidentifier() and name not in sys.stdlib_module_names else None
        places = [] if spec is None else list(spec.submodule_search_locations or filter(None, [spec.origin]))
        if spec is None or len(places) != 1 or not Path(places[0]).exists():
            raise BadProgram(f"{name} cannot be shipped: no such package is installed here")
        place = Path(places[0])
        compiled = [place] if place.is_file() else list(place.rglob("*"))
        if any(path.name.endswith(tuple(EXTENSION_SUFFIXES)) for path in compiled):
            raise BadProgram(f"{name} cannot be shipped: it is not pure Python")
        library = self._libraries[name] = _read(name, place)
        if library is None:
            raise BadProgram(f"{name} cannot be shipped: it is larger than {LIBRARY_BYTES_MAX >> 20} MiB")
        return library

    def _closure(self, names: Iterable[str]) -> list[Library]:
        pending, seen = list(dict.fromkeys(names)), set[str]()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if (library := self._library(name)) is not None:
                pending += [found for source in _sources(library) for found in _names_in(source)]
        return [library for name in sorted(seen) if (library := self._libraries.get(name)) is not None]

    def _library(self, name: str) -> Library | None:
        if name not in self._libraries:
            place = self._place(name)
            self._libraries[name] = None if place is None else _read(name, place)
        return self._libraries[name]

    def _place(self, name: str) -> Path | None:
        """The file of a top-level module or the folder of a package; None for what is not the program's own."""
        if name in sys.stdlib_module_names or name in ("__main__", _PACKAGE):
            return None
        spec = self._spec(name)
        if spec is None:
            return None
        if spec.submodule_search_locations is not None:
            places = [Path(folder) for folder in spec.submodule_search_locations]
            own = [place for place in places if place.name == name and is_own_file(f"{place}/")]
            return own[0] if len(places) == len(own) == 1 else None
        place = Path(spec.origin or "")
        return place if place.name == f"{name}.py" and is_own_file(str(place)) else None

    def _spec(self, name: str) -> ModuleSpec | None:
        if self._beside is not None and (spec := PathFinder.find_spec(name, [self._beside])) is not None:
            return spec
        try:
            return importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return None  # a module made by hand has no spec

    def _holds(self, module: ModuleType) -> bool:
        """Whether importing the module's name from its library gives this very module's file."""
        top, *rest = module.__name__.split(".")
        place = self._place(top) if self._libraries.get(top) is not None else None
        if place is None:
            return False
        if place.suffix == ".py":
            return not rest and _same(place, module)
        inner = place.joinpath(*rest)
        return _same(inner / "__init__.py", module) or (bool(rest) and _same(inner.with_suffix(".py"), module))


def main_source() -> bytes:
    """Of the program that runs, where it has a file."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if not isinstance(file, str) or not is_own_file(file):
        return b""
    try:
        if archive_of(Path(file)) is not None:
            source: bytes = getattr(main, "__loader__").get_data(file)  # noqa: B009  modules have it by nature
            return source
        return Path(file).read_bytes()
    except OSError:
        return b""


def is_own_file(file: str) -> bool:
    return not file.startswith(_INSTALLED) and "/site-packages/" not in file and "/dist-packages/" not in file


def own_modules() -> list[ModuleType]:
    """The program's own among those imported, `__main__` not included. A copy is made at once: while a list is made of
    them, the garbage collector may come, and what it ends may import more."""
    return [module for name, module in sys.modules.copy().items() if _is_own(name, module)]


def latest() -> tuple[int, object, object]:
    """Another one when modules have been loaded, also one again: those that are loaded come last."""
    try:
        name = next(reversed(sys.modules))
        module = sys.modules[name]
    except (LookupError, RuntimeError):  # another thread imports
        return 0, None, None
    return len(sys.modules), module, getattr(module, "__spec__", None)


def _is_own(name: str, module: ModuleType) -> bool:
    file, top = getattr(module, "__file__", None), name.partition(".")[0]
    if name == "__main__" or top == _PACKAGE:
        return False
    if getattr(module, "__name__", None) != name:
        return False  # an alias: pickles know modules by their own name
    if isinstance(file, str):
        return is_own_file(file)
    return _is_made_by_hand(module) and (name == top or top not in sys.modules or _is_own(top, sys.modules[top]))


def _is_made_by_hand(module: ModuleType) -> bool:
    """Nothing could import it, and Python has run in it: extensions make modules, too."""
    found_by = ("__spec__", "__loader__", "__path__", "__file__")
    made = type(module) is ModuleType and "__builtins__" in vars(module)
    return made and all(getattr(module, name, None) is None for name in found_by)


def _same(file: Path, module: ModuleType) -> bool:
    loaded = module.__file__
    if loaded is None or str(file) == loaded:  # which may lie in an archive
        return loaded is not None
    return file.is_file() and Path(loaded).is_file() and file.samefile(loaded)


@functools.lru_cache(_FILES_MAX)
def _names_in(source: str | bytes) -> frozenset[str]:
    """Top-level names that a source imports anywhere, in functions too. Remembered: every executor asks for them."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


def _sources(library: Library) -> Iterator[bytes]:
    files = msgspec.msgpack.decode(library.files.data, type=dict[str, bytes])
    return (content for path, content in files.items() if path.endswith(".py"))


def _read(name: str, place: Path) -> Library | None:
    """None, with a warning, for one that is too large to travel, or cannot be read."""
    try:
        files = _contents(name, place)
    except (OSError, BadZipFile, BadProgram) as error:
        warnings.warn(f"{name} stays here: {error}", stacklevel=2)
        return None
    return Library(name, Inline(msgspec.msgpack.encode(files)))


def _contents(name: str, place: Path) -> dict[str, bytes]:
    """Raises OSError, BadZipFile, and BadProgram for what is too large."""
    if place.is_file():
        return {place.name: place.read_bytes()}
    if (archive := archive_of(place)) is not None:
        found = {inside: data for inside, data in files_in(archive, place).items() if not inside.endswith(_COMPILED)}
        _check_size(sum(map(len, found.values())), len(found))
        return found
    files = {f"{name}/{path.relative_to(place).as_posix()}": path for path in _files_below(place)}
    try:
        _check_size(sum(path.stat().st_size for path in files.values()), len(files))
    except BadProgram:  # then its data stays behind
        files = {inside: path for inside, path in files.items() if inside.endswith(".py")}
        _check_size(sum(path.stat().st_size for path in files.values()), len(files))
    return {inside: path.read_bytes() for inside, path in files.items()}


def _check_size(size_bytes: int, files: int) -> None:
    if size_bytes > LIBRARY_BYTES_MAX or files > _FILES_MAX:
        raise BadProgram(f"{size_bytes >> 20} MiB of Python, {files} files")


def _files_below(folder: Path) -> Iterator[Path]:
    """In a fixed order; nothing hidden, compiled or of a virtual environment."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in ("__pycache__", "node_modules"):
            continue
        if path.is_dir() and not path.is_symlink() and not (path / "pyvenv.cfg").exists():
            yield from _files_below(path)
        elif path.is_file() and not path.name.endswith(_COMPILED):
            yield path
