"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_OUTSIDE = {"build", "dist"}
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500


def _files(pattern: str) -> list[Path]:
    found = []
    for path in sorted(ROOT.rglob(pattern)):
        parts = path.relative_to(ROOT).parts
        if not any(part.startswith(".") or part in _OUTSIDE or part.endswith(".egg-info") for part in parts):
            found.append(path)
    return found


SOURCES = _files("*.py")
TEXTS = [*SOURCES, *_files("*.md"), *_files("*.toml"), *_files("*.html"), *_files("*.js"), *_files("*.css")]
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _is_test(path: Path) -> bool:
    return _name(path).startswith("tests/")


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_there_is_something_to_look_at() -> None:
    assert ROOT / "overlay" / "errors.py" in SOURCES
    assert Path(__file__) in SOURCES
    assert not [path for path in SOURCES if ".venv" in path.parts]


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{_name(path)}: {function.name} has {lines} lines"
        for path, tree in TREES.items()
        for function in _functions(tree)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long


def test_no_module_is_where_everything_ends_up() -> None:
    long = {_name(path): lines for path in SOURCES if (lines := path.read_text().count("\n")) > MODULE_LINES_MAX}
    assert not long


def test_nothing_is_left_for_later() -> None:
    marker = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b")
    assert not [f"{_name(path)}: {found[0]}" for path in TEXTS if (found := marker.search(path.read_text()))]


def test_no_stub_stands_for_what_is_not_there() -> None:
    stubs = [
        f"{_name(path)}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "NotImplemented" + "Error"
    ]
    assert not stubs


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        one is None or (isinstance(one, ast.Name) and one.id in ("Exception", "BaseException")) for one in caught
    )


def _hands_on(handler: ast.ExceptHandler) -> bool:
    """Ends by raising, so that nothing is swallowed."""
    return any(isinstance(node, ast.Raise) for node in handler.body)


def test_who_catches_everything_says_why() -> None:
    unexplained = []
    for path, tree in TREES.items():
        lines = path.read_text().splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _hands_on(node):
                around = lines[node.lineno - 1 : node.lineno + 1]
                if not any("#" in line for line in around):
                    unexplained.append(f"{_name(path)}:{node.lineno}")
    assert not unexplained


def test_tests_wait_for_what_they_want_and_never_for_time_itself() -> None:
    """What a test gives a worker to run may sleep: that is the work."""
    sleeping = [
        f"{_name(path)}:{node.lineno}"
        for path, tree in TREES.items()
        if _is_test(path)
        for function in _functions(tree)
        if function.name.startswith("test_")
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep"
    ]
    assert not sleeping


def test_every_folder_of_code_is_part_of_what_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    apart = {"tests", "benchmarks", "docs"}
    folders = {path.parent.relative_to(ROOT).parts for path in SOURCES}
    there = {".".join(("potluck", *parts)) for parts in folders if not parts or parts[0] not in apart}
    assert there == listed
    assert all((ROOT.joinpath(*name.split(".")[1:]) / "__init__.py").exists() for name in listed)


def test_nothing_names_a_machine_or_a_place_packages_come_from() -> None:
    paths = re.compile(r"(?<![\w./-])/(?:work|home/\w+|Users|mnt|root/\.pyenv)/[\w.]")
    hosts = re.compile(
        r"(?:index|registry|artifact\w*|nexus|pypi|npm|conda|proxy)[\w-]*\.[\w.-]+\.\w+|--(?:extra-)?index-url"
    )
    found = [
        f"{_name(path)}: {hit[0]}"
        for path in TEXTS
        if path != Path(__file__)
        for hit in [paths.search(path.read_text()) or hosts.search(path.read_text())]
        if hit
    ]
    assert not found


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "common", "misc", "manager"])
def test_no_module_is_named_after_nothing(name: str) -> None:
    assert not [_name(path) for path in SOURCES if path.stem == name or name in path.parent.relative_to(ROOT).parts]
