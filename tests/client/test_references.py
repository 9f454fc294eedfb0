"""A function that a program has submitted once is sent anew when what it refers to has changed, and only then."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from potluck.client.executor import Executor
from potluck.client.futures import Job, TaskFuture
from potluck.client.options import options
from potluck.client.references import References
from potluck.client.stateful import is_stateful

from ..verbs.mesh import mesh

CELL = """
import math, functools
limit = 5
def inner(x): return x + limit
@functools.lru_cache
def helper(x): return inner(x)
class Model:
    def apply(self, x): return base(math.floor(x))
def task(x): return max(helper(x) * factor, Model().apply(x))
"""


def notebook(cell: str = CELL) -> dict[str, Any]:
    """What a notebook's names stand for, after its first cell."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(cell, names)
    return names


@pytest.mark.parametrize(
    "changed",
    [
        "limit = 6",
        "def inner(x): return x",
        "def helper(x): return 0",
        "factor = 2",
        "del limit",
        "del inner",
        "def base(x): return x",
        "class Model: pass",
        "import cmath as math",
        "def max(*numbers): return 0",
    ],
)
def test_whatever_it_comes_to_counts(changed: str) -> None:
    names = notebook()
    for function in (names["task"], functools.partial(names["task"], 1), functools.lru_cache(names["task"])):
        references = References(function)
        assert references.hold()
        exec(changed, names)
        assert not references.hold()
        assert References(function).hold()
        exec(CELL, names)
        for name in ("factor", "base", "max"):
            names.pop(name, None)


def test_what_is_bound_anew_more_than_once_counts() -> None:
    """The second may lie in memory where the one lay that was seen."""
    names = notebook()
    for _ in range(50):
        references = References(names["task"])
        for _ in range(2):
            exec("def inner(x): return x", names)
        assert not references.hold()
        references = References(names["task"])
        names["limit"] = None
        names["limit"] = {"a": 1}
        exec("def inner(x): return limit", names)
        assert not references.hold()


def test_it_keeps_no_function_alive_that_comes_to_itself() -> None:
    def made() -> Callable[[int], int]:
        def count(n: int) -> int:
            return 0 if not n else count(n - 1)

        return count

    function = made()
    references, gone = References(function), weakref.ref(function)
    assert references.hold()
    del function
    gc.collect()
    assert gone() is None and not references.hold()


@pytest.mark.parametrize("changed", ["unrelated = 1", "limit = limit", "def other(x): return limit"])
def test_whatever_it_does_not_come_to_does_not(changed: str) -> None:
    names = notebook()
    references = References(names["task"])
    exec(changed, names)
    assert references.hold()


def test_what_it_closes_over_counts() -> None:
    factor, later = 2, None

    def inner(x: int) -> int:
        return x * factor

    def task(x: int) -> object:
        return inner(x), later

    references = References(task)
    assert references.hold()
    factor = 3
    assert not references.hold()


def test_a_function_of_an_importable_module_is_its_modules_whatever_that_does() -> None:
    references = References(counted)
    counted()
    assert references.hold()


calls = 0


def counted() -> None:
    global calls
    calls += 1


class Model:
    factor = 1

    def __init__(self) -> None:
        self.factor = 2

    def __call__(self, x: int) -> int:
        return x * self.factor


@pytest.mark.parametrize(
    ("function", "stateful"),
    [
        (counted, False),
        (len, False),
        (Model, False),
        (functools.partial(counted), False),
        (Model(), True),
        (functools.partial(Model(), 1), True),
        (options(retries=1)(Model()), True),
    ],
)
def test_objects_that_can_be_called_are_told_from_functions(function: Callable[..., Any], stateful: bool) -> None:
    assert is_stateful(function) == stateful


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    folder: Path = tmp_path_factory.mktemp("one")
    with mesh(folder, ["ant"]) as made, Executor(surroundings=made.surroundings) as executor:
        yield executor


@pytest.mark.processes
def test_a_notebooks_changed_helper_is_the_one_that_runs(pool: Executor) -> None:
    names = notebook("def task(x): return helper(x)")
    with pytest.raises(NameError):
        pool.submit(names["task"], 1).result()
    for cell, result in (
        ("def helper(x): return x + 1", 2),
        ("def helper(x): return x + limit\nlimit = 10", 11),
        ("limit = 20", 21),
    ):
        exec(cell, names)
        assert pool.submit(names["task"], 1).result() == result
        assert list(pool.map(names["task"], [1, 2])) == [result, result + 1]


@pytest.mark.processes
def test_an_object_that_can_be_called_is_taken_as_it_is_at_each_call(pool: Executor) -> None:
    model = Model()
    assert pool.submit(model, 1).result() == 2
    model.factor = 5
    assert pool.submit(model, 1).result() == 5
    assert list(pool.map(model, [1, 2], chunksize=1)) == [5, 10]
    part, lasting = functools.partial(model), options(retries=1)(model)
    for model.factor in (6, 7):
        for function in (part, lasting):
            assert pool.submit(function, 1).result() == model.factor
            for chunksize in (0, 1):
                assert list(pool.map(function, [1, 2], chunksize=chunksize)) == [model.factor, 2 * model.factor]


@pytest.mark.processes
def test_what_is_loaded_again_runs_as_it_is_then_and_what_was_only_edited_does_not(
    pool: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "loaded_again"
    package.mkdir()
    (package / "__init__.py").write_text("from .inner import factor\n")
    (package / "inner.py").write_text("factor = 2\ndef task(x): return x * factor\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    whole, inner = importlib.import_module("loaded_again"), importlib.import_module("loaded_again.inner")
    try:
        names = notebook("def task(x): return inner.task(x) + whole.factor")
        names.update(inner=inner, whole=whole)
        assert pool.submit(inner.task, 3).result() == 6
        assert pool.submit(names["task"], 3).result() == 8
        (package / "inner.py").write_text("factor = 10\ndef task(x): return x * factor\n")
        assert pool.submit(names["task"], 3).result() == names["task"](3) == 8
        importlib.reload(inner)
        importlib.reload(whole)
        for _ in range(2):
            assert pool.submit(inner.task, 3).result() == 30
            assert pool.submit(names["task"], 3).result() == names["task"](3) == 40
            assert list(pool.map(names["task"], [1, 2])) == [20, 30]
    finally:
        del sys.modules["loaded_again"], sys.modules["loaded_again.inner"]


def rest(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.processes
def test_a_program_that_makes_a_function_for_each_call_is_not_kept_with_all_of_them(
    pool: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("potluck.client.executor.PROGRAMS_MAX", 8)
    kept = notebook("def kept(x): return -x")["kept"]
    jobs: list[Job] = []
    with Executor(surroundings=pool._surroundings) as executor:
        slow = executor.submit(rest, 2)
        for number in range(60):
            made = executor.submit(lambda x, number=number: x + number, 1)
            again = executor.submit(kept, number)
            assert (made.result(), again.result()) == (1 + number, -number)
            assert isinstance(made, TaskFuture)
            if made.job not in jobs:
                jobs.append(made.job)
        assert slow.result() is None
        *retired, last = jobs
        assert len(retired) >= 60 // 8
        deadline_s = time.monotonic() + 10
        while any(job.id is not None for job in retired):
            assert time.monotonic() < deadline_s, "the node is told to forget them"
            threading.Event().wait(0.01)
        assert last.id is not None
        assert len(last.programs_sent) <= 9
        late = retired[0].submit(executor._line(kept).body, executor._packer.arguments((5,), {}))
        assert late.result(10) == -5, "what comes too late is done all the same"
