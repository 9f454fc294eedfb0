"""The results of earlier runs, for those who ask for them, and for nobody else."""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Iterator

import pytest
from potluck.client.executor import Executor
from potluck.client.options import options

from .mesh import Mesh, mesh

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("pair"), ["ant", "bee"]) as made:
        yield made


def draw(_n: int) -> str:
    print("drawn")
    return uuid.uuid4().hex


def test_nobody_who_does_not_ask_is_given_an_earlier_result(pair: Mesh) -> None:
    with Executor(surroundings=pair.surroundings) as pool:
        for function in (random.random, functools.partial(random.choice, range(10**9))):  # noqa: TID251
            assert pool.submit(function).result() != pool.submit(function).result()
        assert pool.submit(options(cache=True)(draw), 1).result() != pool.submit(draw, 1).result()


def test_an_equal_call_is_not_run_again_on_whichever_node_it_is_asked_for(pair: Mesh) -> None:
    source = "import random\ndef draw(*args): print('drawn'); return random.random()"
    arguments = ("run", "-c", source, "--function", "draw", "--args", '["x"]', "--cache")
    first = pair.json(*arguments, "--node", "ant", "--on", "bee")["tasks"][0]
    again = pair.json(*arguments, "--node", "bee")["tasks"][0]
    assert (first["cached"], again["cached"]) == (False, True)
    assert (again["value"], again["node"], again["stdout"]) == (first["value"], "bee", "drawn\n")
    for other in (("--args", '["y"]'), ("--no-cache",), ("--env", "A=1")):
        task = pair.json(*arguments, "--node", "bee", *other)["tasks"][0]
        assert not task["cached"] and task["value"] != first["value"]
    assert "not run: bee ran the same before" in pair.type(*arguments, "--node", "ant").err


def test_what_fails_is_run_again(pair: Mesh) -> None:
    for _ in range(2):
        said = pair.type("run", "--cache", "-c", "raise ValueError", "--json")
        assert said.code == 1
        assert not said.json["tasks"][0]["cached"]


def test_long_results_and_those_of_a_program_come_back_too(pair: Mesh) -> None:
    with Executor(surroundings=pair.surroundings) as pool:
        drawn = options(cache=True)(lambda n: [uuid.uuid4().hex for _ in range(n)])
        first = pool.submit(drawn, 5_000).result()
        assert pool.submit(drawn, 5_000).result() == first
        assert list(pool.map(options(cache=True)(draw), range(40), chunksize=1)) == list(
            pool.map(options(cache=True)(draw), range(40), chunksize=1)
        )
