"""Which of a program's modules travel, and what of each."""

from __future__ import annotations

import gc
import importlib
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.client.modules import LIBRARY_BYTES_MAX, Library, Modules, own_modules
from potluck.overlay.errors import BadProgram

NAMES = [f"own_module_{letter}" for letter in "abcde"]


def files(library: Library) -> dict[str, bytes]:
    return msgspec.msgpack.decode(library.files.data, type=dict[str, bytes])


def named(libraries: list[Library]) -> list[str]:
    return [library.name for library in libraries]


def write(folder: Path, **sources: str) -> None:
    for name, source in sources.items():
        path = folder / name.replace("__slash__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(source)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES)), min_size=5), st.sampled_from(NAMES))
def test_what_can_be_reached_by_imports_travels_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, imports: dict[str, set[str]], first: str
) -> None:
    folder = tmp_path_factory.mktemp("program")
    for name, wanted in imports.items():
        lines = ["import json, numpy", *(f"def f_{other}():\n    import {other}" for other in sorted(wanted))]
        (folder / f"{name}.py").write_text("\n".join(lines))
    reached, pending = set[str](), {first}
    while pending:
        reached |= pending
        pending = {other for name in pending for other in imports[name]} - reached
    assert named(Modules(beside=folder).imported_by(f"from {first} import something")) == sorted(reached)


def test_a_package_travels_whole_without_what_is_hidden_compiled_or_installed_in_it(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    write(package, __init__="", prices="", inner__slash____init__="", inner__slash__deep="import shelf")
    write(tmp_path, shelf="from . import nothing")
    (package / "words.txt").write_text("data")
    (package / "fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    for path in (".git/config", "__pycache__/prices.pyc", "venv/pyvenv.cfg", "venv/lib/thing.py"):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text("")
    shelf, shop = Modules(beside=tmp_path).imported_by("import shop.prices")
    assert set(files(shop)) == {
        "shop/__init__.py",
        "shop/prices.py",
        "shop/inner/__init__.py",
        "shop/inner/deep.py",
        "shop/words.txt",
    }
    assert files(shelf) == {"shelf.py": b"from . import nothing"}


def test_what_is_installed_built_in_or_broken_stays(tmp_path: Path) -> None:
    write(tmp_path, broken="def (", random="shadows = 'the standard library'")
    found = Modules(beside=tmp_path).imported_by("import broken, random, numpy, sys, potluck, absent, encodings.idna")
    assert named(found) == ["broken"]
    assert Modules(beside=tmp_path).imported_by("def (") == []


def test_too_much_data_stays_behind_and_too_much_python_is_told(tmp_path: Path) -> None:
    write(tmp_path, big__slash____init__="", huge__slash____init__="#" * (LIBRARY_BYTES_MAX + 1))
    (tmp_path / "big" / "weights.bin").write_bytes(bytes(LIBRARY_BYTES_MAX + 1))
    modules = Modules(beside=tmp_path)
    (big,) = modules.imported_by("import big")
    assert set(files(big)) == {"big/__init__.py"}
    with pytest.warns(UserWarning, match="huge stays here: 16 MiB"):
        assert modules.imported_by("import huge") == []


def test_an_installed_package_is_shipped_when_it_is_named_and_pure() -> None:
    (library,) = Modules().shipped(["click"])
    assert "click/__init__.py" in files(library)
    for name, why in (
        ("msgspec", "not pure Python"),
        ("no_such_thing", "no such package"),
        ("json", "no such package"),
    ):
        with pytest.raises(BadProgram, match=why):
            Modules().shipped([name])


def test_loaded_modules_that_no_library_holds_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, held_here="x = 1", other__slash__stray_one="y = 2")
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib.util

    held = importlib.import_module("held_here")
    spec = importlib.util.spec_from_file_location("made_by_hand", tmp_path / "other" / "stray_one.py")
    assert spec is not None
    stray = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "made_by_hand", stray)
    monkeypatch.delitem(sys.modules, "held_here")
    libraries, strays = Modules().imported([held, stray])
    assert (named(libraries), strays) == (["held_here"], [stray])


def test_modules_made_by_hand_are_the_programs_own_unless_a_package_has_made_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("made_by_hand", "made_by_hand.below", "nowhere.below", "numpy.made_by_hand"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        exec("one = 1", vars(sys.modules[name]))
    monkeypatch.setitem(sys.modules, "below_no_python", ModuleType("below_no_python"))
    monkeypatch.setitem(sys.modules, "known_as", sys.modules["made_by_hand"])
    made = {module.__name__: module for module in own_modules()}
    assert {name for name in made if "made_by" in name or "below" in name} == {
        "made_by_hand",
        "made_by_hand.below",
        "nowhere.below",
    }
    assert not {"sys", "numpy", "builtins", "__main__"} & set(made)
    assert made["made_by_hand"] in Modules().imported([made["made_by_hand"]])[1]


class Importing:
    """Garbage that imports something when it is collected, as a warning that is shown then does."""

    name = "imported_by_garbage"

    def __del__(self) -> None:
        sys.modules[self.name] = ModuleType(self.name)


def test_the_garbage_collector_may_come_while_modules_are_looked_at() -> None:
    thresholds = gc.get_threshold()
    gc.collect()
    garbage: list[object] = [Importing()]
    garbage.append(garbage)
    try:
        gc.set_threshold(gc.get_count()[0] + 50)
        del garbage
        assert own_modules()
    finally:
        gc.set_threshold(*thresholds)
        gc.collect()
        assert sys.modules.pop(Importing.name, None) is not None


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a module and a package, in front of what can be imported."""
    made = tmp_path / "program.pyz"
    with zipfile.ZipFile(made, "w") as packed:
        packed.writestr("zipped_one.py", "import zipped_two.inner")
        packed.writestr("zipped_two/__init__.py", "")
        packed.writestr("zipped_two/inner.py", "value = 1")
        packed.writestr("zipped_two/words.txt", "data")
        packed.writestr("zipped_two/inner.pyc", b"compiled")
        packed.writestr("zipped_twofold.py", "another")
    monkeypatch.syspath_prepend(str(made))
    return made


def test_modules_in_an_archive_travel_as_those_in_folders(archive: Path) -> None:
    importlib.import_module("zipped_one")
    loaded = [sys.modules.pop(name) for name in ("zipped_one", "zipped_two", "zipped_two.inner")]
    libraries, strays = Modules().imported(loaded)
    assert not strays
    one, two = libraries
    assert files(one) == {"zipped_one.py": b"import zipped_two.inner"}
    assert sorted(files(two)) == ["zipped_two/__init__.py", "zipped_two/inner.py", "zipped_two/words.txt"]


def test_what_cannot_be_read_stays_with_a_warning(tmp_path: Path) -> None:
    write(tmp_path, unreadable__slash____init__="")
    (tmp_path / "unreadable" / "memory").symlink_to("/proc/self/mem")  # a file that fails when it is read
    with pytest.warns(UserWarning, match="unreadable stays here"):
        assert Modules(beside=tmp_path).imported_by("import unreadable") == []
