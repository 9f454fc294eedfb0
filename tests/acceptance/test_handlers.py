"""Nodes with handlers of their own for kinds of work."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import Pool

BESIDE = "def twice(x):\n    return 2 * x\n"
HANDLERS = """
import potluck
from beside import twice

@potluck.handler("resize")
def resize(name, width=1):
    return [name, twice(width)]

@potluck.handler("fails")
def fails():
    raise ValueError("boom")

@potluck.handler("b")
def shout(instruction):
    return instruction.upper()
"""
TWICE = """
from potluck import handler

@handler("a")
def one():
    pass

@handler("a")
def other():
    pass
"""
PROGRAM = """
import potluck

with potluck.Executor() as pool:
    resize = potluck.kind("resize")
    future = pool.submit(resize, "a.png", width=21)
    print(future.result(), future.node)
    print(list(pool.map(resize, ["x", "y"], [1, 2])))
    print(pool.submit(resize, pool.submit(str, 5)).result())
    print(pool.submit(potluck.options(timeout=20)(resize), "t").result())
    for kind, arguments in (("fails", ()), ("nobody", ()), ("resize", (object(),))):
        try:
            pool.submit(potluck.kind(kind), *arguments).result()
        except Exception as error:
            print(type(error).__name__, str(error).splitlines()[0])
"""


def test_work_by_kind_goes_where_it_is_handled(nodes: Pool, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text(BESIDE)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    for node in [nodes.up("plain"), nodes.up("able", "--handlers", str(tmp_path / "handlers.py"))]:
        node.await_ready()
    nodes.await_members("plain", "able")
    done = nodes.script(PROGRAM, "plain")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "['a.png', 42] able",
        "[['x', 2], ['y', 4]]",
        "['5', 2]",
        "['t', 2]",
        "ValueError boom",
        "NoWorker no node handles instructions of kind 'nobody'",
        "ResultNotEncodable what a handler is given must be data: "
        + done.out.splitlines()[-1].partition(" must be data: ")[2],
    ]
    instructed = nodes.call("instruct", "b1", "plain2", "--json", node="plain").value["tasks"]
    assert [(task["value"], task["node"]) for task in instructed] == [("B1", "able"), ("plain2", "plain")]
    able = nodes.call("status", "--json", node="able").value
    assert instructed[0]["guarantees"] == able["sandbox"]["guarantees"], "in the sandbox that all tasks have"
    assert able["kinds"] == ["able", "resize", "fails", "b"]


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        (None, 2, "there is no file"),
        ("def f(:\n", 1, "line 1"),
        ("x = 1\n", 1, "has no handlers"),
        ("import potluck\nk = 'a'\n@potluck.handler(k)\ndef f():\n    pass\n", 1, "must be written out"),
        ("import potluck\n@potluck.handler('A b')\ndef f():\n    pass\n", 1, "small letters"),
        (
            "from potluck import handler\n@handler('a')\ndef f(): pass\n@handler('a')\ndef g(): pass\n",
            1,
            "two handlers",
        ),
    ],
)
def test_a_bad_file_of_handlers_is_refused_with_one_line(
    nodes: Pool, tmp_path: Path, source: str | None, code: int, said: str
) -> None:
    file = tmp_path / "bad.py"
    if source is not None:
        file.write_text(source)
    answer = nodes.call("up", "--interface", "127.0.0.1", "--handlers", str(file))
    assert (answer.code, answer.err.count("\n")) == (code, 1), answer.err
    assert said in answer.err
