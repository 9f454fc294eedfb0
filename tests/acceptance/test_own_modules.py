"""A user's own modules are importable wherever the work runs, under their own names."""

from __future__ import annotations

import json
from pathlib import Path

from .harness import Pool


def _project(folder: Path) -> None:
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("from .prices import Price\n")
    (folder / "shop" / "prices.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Price:\n    cents: int\n"
        "    def doubled(self):\n        return Price(2 * self.cents)\n"
        "class TooDear(Exception):\n    pass\n"
        "def buy(price):\n    raise TooDear(price.cents)\n"
    )
    (folder / "shop" / "words.txt").write_text("hello from a file of the package")
    (folder / "helper.py").write_text("def shout(text):\n    import late\n    return late.again(text.upper())\n")
    (folder / "added_later.py").write_text(
        "class Value:\n    def __init__(self, x):\n        self.x = x\n    def read(self):\n        return self.x\n"
    )
    (folder / "late.py").write_text("def again(text):\n    return text + '!'\n")


def _two_owners_nodes(nodes: Pool) -> None:
    nodes.up_together("here", "there", flags=("--slots=1",))


def test_a_program_and_its_classes_are_the_same_on_both_sides(nodes: Pool) -> None:
    _two_owners_nodes(nodes)
    _project(nodes.folder)
    done = nodes.script(
        "import json, potluck\n"
        "import shop, helper\n"
        "def words():\n"
        "    import importlib.resources\n"
        "    return importlib.resources.files('shop').joinpath('words.txt').read_text()\n"
        "def lazily(text):\n"
        "    import helper\n"
        "    return helper.shout(text)\n"
        "with potluck.Executor() as pool:\n"
        "    there = potluck.options(on='there')\n"
        "    price = pool.submit(there(shop.Price.doubled), shop.Price(21)).result(30)\n"
        "    assert type(price) is shop.Price and price == shop.Price(42), price\n"
        "    assert isinstance(pool.submit(there(shop.prices.buy), price).exception(30), shop.prices.TooDear)\n"
        "    print(json.dumps([pool.submit(there(lazily), 'hi').result(30), pool.submit(there(words)).result(30)]))\n"
        "    import added_later\n"
        "    assert pool.submit(there(added_later.Value.read), added_later.Value(3)).result(30) == 3\n"
        "    assert list(pool.map(helper.shout, ['a', 'b'])) == ['A!', 'B!']\n",
        "here",
    )
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == ["HI!", "hello from a file of the package"]


def test_a_file_given_to_run_brings_what_lies_beside_it(nodes: Pool, tmp_path: Path) -> None:
    _two_owners_nodes(nodes)
    project = tmp_path / "project"
    project.mkdir()
    _project(project)
    (project / "main.py").write_text(
        "import helper\ndef f(text):\n    return helper.shout(text)\nprint(f('from main'))\n"
    )
    script = nodes.call("run", str(project / "main.py"), "--on", "there", node="here")
    assert (script.code, script.out) == (0, "FROM MAIN!\n")
    call = ("run", str(project / "main.py"), "--function", "f", "--args", '["x"]', "--on", "there", "--json")
    assert nodes.call(*call, node="here").value["tasks"][0]["value"] == "X!"
    (project / "inputs.jsonl").write_text('["a"]\n["b"]\n')
    inputs = ("--inputs", str(project / "inputs.jsonl"), "--json")
    mapped = nodes.call("map", str(project / "main.py"), "--function", "f", *inputs, node="here")
    assert [task["value"] for task in mapped.value["tasks"]] == ["A!", "B!"]
    inline = nodes.call("run", "-c", "import late; print(late.again('beside'))", node="here", cwd=project)
    assert inline.out == "beside!\n"


def test_a_package_that_cannot_be_shipped_is_one_line(nodes: Pool) -> None:
    nodes.up_together("here")
    refused = nodes.call("run", "-c", "1", "--ship", "msgspec", node="here")
    assert refused.code == 1
    assert refused.err.strip() == "potluck: msgspec cannot be shipped: it is not pure Python"
