"""`potluck.memory`, from a program and from inside a task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import potluck
import pytest
from potluck.client.executor import Executor
from potluck.client.memory import Memory

from ..verbs.mesh import Mesh, mesh

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("one"), ["ant"]) as made:
        yield made


@pytest.fixture
def memory(node: Mesh) -> Iterator[Memory]:
    made = Memory(node.surroundings)
    yield made
    made.close()


def test_it_is_a_mapping_of_plain_data(memory: Memory) -> None:
    value = {"list": [1, 2.5], "tuple": (1,), "bytes": b"\0", "set": {1, 2}}
    memory["k"] = value
    assert memory["k"] == value
    assert "k" in memory
    memory["k"] = None
    assert memory["k"] is None
    assert memory.get("k", 3) is None
    del memory["k"]
    assert "k" not in memory
    assert memory.get("k", 3) == 3
    with pytest.raises(KeyError):
        memory["k"]
    with pytest.raises(KeyError):
        del memory["k"]


def test_it_outlives_the_node_it_talks_to_where_another_of_the_users_runs(tmp_path: Path) -> None:
    with mesh(tmp_path, ["ant", "bee"]) as pair:
        pair.await_seen("ant", by="bee")
        pair.await_seen("bee", by="ant")
        memory = Memory(pair.surroundings)
        memory["k"] = 1
        name = memory._connected().node_name
        pair.nodes[name].process.kill()
        assert memory["k"] == 1
        assert memory._connected().node_name in {"ant", "bee"} - {name}
        memory.close()


def test_a_child_process_of_a_task_is_told_where_the_mesh_is(node: Mesh) -> None:
    def family() -> list[str]:
        import multiprocessing

        def child(told: Any) -> None:
            for use in (lambda: potluck.memory.get("k"), lambda: potluck.Executor().submit(abs, -1).result(10)):
                try:
                    use()
                except potluck.NoNode as error:
                    told.put(str(error))

        forking = multiprocessing.get_context("fork")
        told = forking.SimpleQueue()
        process = forking.Process(target=child, args=(told,))
        process.start()
        process.join()
        return [told.get() for _ in range(2)]

    with Executor(surroundings=node.surroundings) as pool:
        assert all("the task itself has" in text for text in pool.submit(family).result(60))


def test_a_value_with_a_time_to_live_goes(memory: Memory) -> None:
    memory.set("short", 1, ttl=0.2)
    while "short" in memory:
        pass
    for wrong in (0, -1, math.nan, math.inf, 1e300, "5", [1]):
        with pytest.raises(potluck.UsageError):
            memory.set("k", 1, ttl=wrong)  # type: ignore[arg-type]
    memory.set("k", 1, ttl=True)


@pytest.mark.parametrize("wrong", [object(), lambda: 0])
def test_what_is_no_data_is_refused(memory: Memory, wrong: object) -> None:
    with pytest.raises(potluck.ResultNotEncodable):
        memory["k"] = wrong


def test_what_is_too_long_is_refused(memory: Memory) -> None:
    with pytest.raises(potluck.LimitExceeded):
        memory["k"] = bytes(2 << 20)
    with pytest.raises(potluck.UsageError):
        memory["k" * 2000] = 1
    memory["k"] = 1


@pytest.mark.parametrize("key", [0, b"k", None, ("k",)])
def test_a_key_is_text(memory: Memory, key: Any) -> None:
    uses: list[Callable[[], object]] = [
        lambda: memory[key],
        lambda: memory.get(key),
        lambda: memory.set(key, 1),
        lambda: memory.__delitem__(key),
        lambda: memory.compare_and_set(key, None, 1),
        lambda: memory.increment(key),
    ]
    for use in uses:
        with pytest.raises(TypeError, match="a key is text"):
            use()
    assert key not in memory


def test_it_is_not_iterated(memory: Memory) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        list(memory)  # type: ignore[call-overload]


def test_tasks_share_it_with_their_program(node: Mesh, memory: Memory) -> None:
    def task(key: str) -> object:
        import potluck

        found = potluck.memory[key]
        potluck.memory.set("from task", [found, "seen"])
        return found

    memory["for task"] = ("a", 1)
    with Executor(surroundings=node.surroundings) as pool:
        assert pool.submit(task, "for task").result(30) == ("a", 1)
    assert memory["from task"] == [("a", 1), "seen"]


def test_without_a_node_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTLUCK_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("POTLUCK_NODE", raising=False)
    with pytest.raises(potluck.NoNode, match="potluck up"):
        Memory()["k"]


def test_compare_and_set_goes_by_value_and_none_stands_for_nothing(memory: Memory) -> None:
    assert memory.compare_and_set("cas", None, {"a": (1, 2)})
    assert not memory.compare_and_set("cas", None, 1)
    assert memory.compare_and_set("cas", {"a": (1, 2)}, "next")
    assert memory["cas"] == "next"
    memory["cas"] = "plain"
    assert not memory.compare_and_set("cas", "next", 1)
    del memory["cas"]
    assert memory.compare_and_set("cas", None, b"again")


def test_increments_begin_at_nothing_and_take_any_step(memory: Memory) -> None:
    assert memory.increment("count") == 1
    assert memory.increment("count", -3) == -2
    memory["count"] = 2**80
    assert memory.increment("count") == 2**80 + 1
    memory["word"] = "word"
    with pytest.raises(potluck.PotluckError, match="no integer"):
        memory.increment("word")
    for wrong in (1.5, True, 1 << 63):
        with pytest.raises(potluck.UsageError):
            memory.increment("count", wrong)  # type: ignore[arg-type]


def test_tasks_use_agreed_keys(node: Mesh, memory: Memory) -> None:
    def task() -> list[object]:
        import potluck

        won = potluck.memory.compare_and_set("agreed in task", "from program", "from task")
        return [won, potluck.memory.increment("counted in task", 4)]

    memory.compare_and_set("agreed in task", None, "from program")
    with Executor(surroundings=node.surroundings) as pool:
        assert pool.submit(task).result(30) == [True, 4]
    assert memory["agreed in task"] == "from task"
