"""The interpreter's own tests of executors, made ready to judge ours.

Debian packs them apart from the interpreter (libpython3.11-testsuite), so they are sought wherever a Python of this
minor version may lie, and loaded under a name of their own: a stranger's `test` package stays as it is.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import cloudpickle

NAME = "test_concurrent_futures"
_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
_PARTS = ("util", "executor", "test_wait", "test_as_completed", "test_shutdown", "test_deadlock", "test_future")
_PARTS_OF_POOLS = ("test_thread_pool", "test_process_pool")


def find() -> Path | None:
    """The module (until 3.11) or package (since) that holds the tests."""
    for library in (sysconfig.get_path("stdlib"), f"/usr/lib/{_VERSION}", f"/usr/local/lib/{_VERSION}"):
        folder = Path(library, "test")
        for path in (folder / f"{NAME}.py", folder / NAME / "__init__.py"):
            if path.exists():
                return path
    return None


def reason_to_skip() -> str:
    """Empty where the tests are there, or where they should be: then loading them fails."""
    packed_apart = Path(f"/usr/lib/{_VERSION}").is_dir()
    if find() or ("CI" in os.environ and packed_apart):
        return ""
    return f"the interpreter's own tests are not installed: apt-get install lib{_VERSION}-testsuite"


def load() -> list[ModuleType]:
    """The modules of the suite."""
    path = find()
    assert path is not None, f"nothing named {NAME} in the library of {_VERSION}"
    return list(_loaded(path))


@contextmanager
def travelling(modules: list[ModuleType]) -> Iterator[None]:
    """Workers know none of them, so what they define is pickled by value."""
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _loaded(path: Path) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    if path.name == "__init__.py":
        for part in (*_PARTS, *_PARTS_OF_POOLS):
            yield importlib.import_module(f"{NAME}.{part}")
