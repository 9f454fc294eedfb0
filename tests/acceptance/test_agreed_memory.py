"""Keys that must not fork, on real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from .harness import Pool

pytestmark = pytest.mark.processes

CONTENDER = """
import json, sys
import potluck
for line in sys.stdin:
    number = int(line)
    won = potluck.memory.compare_and_set("crown", number - 1 if number else None, number)
    total = potluck.memory.increment("rounds")
    print(json.dumps([won, total]), flush=True)
potluck.memory.close()
"""


@pytest.mark.parametrize("rounds", [20, pytest.param(1000, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])])
def test_of_five_nodes_that_set_one_key_exactly_one_wins_every_round(nodes: Pool, rounds: int) -> None:
    names = ["p1", "p2", "p3", "p4", "p5"]
    nodes.up_together(*names, flags=["--slots=1"])
    path = nodes.folder / "contender.py"
    path.write_text(CONTENDER)
    contenders = [
        subprocess.Popen(
            [sys.executable, str(path)],
            env={**nodes.environment, "POTLUCK_NODE": name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]

    def play(process: subprocess.Popen[str], number: int) -> list:
        assert process.stdin and process.stdout
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    totals: list[int] = []
    try:
        with ThreadPoolExecutor(len(names)) as threads:
            for number in range(rounds):
                answers = list(threads.map(lambda process, number=number: play(process, number), contenders))
                assert sum(won for won, _ in answers) == 1, f"round {number}: {answers}"
                totals += [total for _, total in answers]
    finally:
        for process in contenders:
            process.communicate(timeout=20)
    assert sorted(totals) == list(range(1, 5 * rounds + 1)), "every increment counts once"
    assert nodes.call("mem", "get", "crown", node="p3").out.strip() == str(rounds - 1)


INSIDE = """
def main():
    import potluck
    first = potluck.memory.compare_and_set("inside", None, "mine")
    second = potluck.memory.compare_and_set("inside", None, "yours")
    return [first, second, potluck.memory["inside"], potluck.memory.increment("in tasks", 5)]
"""


def test_agreed_keys_outlive_a_node_refuse_old_versions_and_serve_tasks(nodes: Pool) -> None:
    nodes.up_together("p1", "p2", "p3")
    nodes.call("mem", "set", "k", "1", node="p1")
    plain = nodes.call("mem", "get", "--json", "k", node="p2").value["version"]
    written = nodes.call("mem", "set", "--json", "k", "2", "--if-version", str(plain), node="p2").value
    assert written["version"] > plain
    late = nodes.call("mem", "set", "--json", "k", "3", "--if-version", str(plain), node="p3")
    assert late.code == 1
    assert late.value["error"]["kind"] == "Conflict"
    nodes.call("mem", "set", "k", "10", node="p3")  # a plain set is agreed, too, on such a key
    nodes.nodes["p1"].kill()
    assert nodes.call("mem", "incr", "--json", "k", "5", node="p2").value["value"] == 15
    assert nodes.call("mem", "get", "k", node="p3").out.strip() == "15"
    inside = nodes.call("run", "--json", "-c", INSIDE, "--function", "main", node="p2").value
    assert inside["tasks"][0]["value"] == [True, False, "mine", 5]
    nodes.nodes["p3"].kill()
    alone = nodes.call("mem", "incr", "--json", "k", node="p2")
    assert (alone.code, alone.value["error"]["kind"]) == (1, "Unavailable")
