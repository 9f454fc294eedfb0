"""Bad input: one clear line, the right kind, the right exit code, and nothing else disturbed."""

from __future__ import annotations

import socket
import sys

import pytest

from .harness import Answered, Pool

pytestmark = pytest.mark.processes


def complains(answer: Answered, code: int, *words: str) -> None:
    assert answer.code == code, answer
    assert "Traceback" not in answer.err, answer.err
    lines = [line for line in answer.err.splitlines() if line.strip()]
    assert lines, "it says nothing"
    for word in words:
        assert word in answer.err, answer.err


def kind(answer: Answered) -> str:
    return answer.value["error"]["kind"]


@pytest.fixture
def node(nodes: Pool) -> Pool:
    nodes.up("p1", "--slots=1").await_ready()
    return nodes


def test_every_bad_input_has_its_kind_and_leaves_the_node_well(node: Pool) -> None:
    missing = node.call("run", "--json", "missing.py")
    complains(missing, 2, "missing.py")
    complains(node.call("nosuchverb"), 2, "nosuchverb")
    complains(node.call("run", "--json", "-c", "def f(): pass", "--function", "f", "--args", "{not json"), 2, "--args")

    absent = node.call("run", "--json", "-c", "def f(): pass", "--function", "g")
    complains(absent, 1, "g")
    assert kind(absent) == "BadProgram"

    broken = node.call("run", "--json", "-c", "def f(:", "--function", "f")
    complains(broken, 1, "line 1")
    assert kind(broken) == "BadProgram"

    taken = node.call("up", "--json", "--name", "p1", "--interface", "127.0.0.1")
    complains(taken, 1, "p1")
    assert kind(taken) == "NameInUse"

    unplaced = node.call("run", "--json", "-c", "def f(): pass", "--function", "f", "--on", "nobody")
    assert unplaced.code == 1
    assert unplaced.value["tasks"][0]["error"]["kind"] == "NoWorker"
    assert unplaced.value["tasks"][0]["node"] is None, "it ran nowhere"

    unencodable = node.call("run", "--json", "-c", "def f(): return open('/dev/null')", "--function", "f")
    assert unencodable.code == 1
    assert unencodable.value["tasks"][0]["error"]["kind"] == "ResultNotEncodable"

    assert node.call("mem", "get", "--json", "nokey").value["error"]["kind"] == "NotFound"
    well = node.call("run", "--json", "-c", "def f(): return 1", "--function", "f").value
    assert well["tasks"][0]["value"] == 1


def test_an_inviter_is_not_looked_for_by_ipv6(nodes: Pool) -> None:
    complains(nodes.call("join", "--json", "3-acorn-acrobat", "--peer", "[::1]:9000"), 2, "IPv4")


def test_an_empty_script_is_done_at_once(node: Pool) -> None:
    answer = node.call("run", "-c", "", timeout_s=20)
    assert (answer.code, answer.out) == (0, "")


def test_a_lost_worker_is_counted_and_named_as_it_was(node: Pool) -> None:
    answer = node.call("run", "--json", "--retries", "1", "-c", "import os; os._exit(5)")
    (task,) = answer.value["tasks"]
    assert (task["error"]["kind"], task["attempts"], task["node"]) == ("WorkerLost", 2, "p1")
    assert "2 tries" in task["error"]["message"]


def test_a_taken_port_is_one_line(nodes: Pool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = nodes.call("up", "--json", "--name", "p1", "--interface", "127.0.0.1", "--port", str(port))
    complains(answer, 1, str(port))
    assert kind(answer) == "ConfigError"


def test_without_a_node_a_command_says_how_to_start_one(nodes: Pool) -> None:
    answer = nodes.call("peers", "--json")
    complains(answer, 1, "potluck up")
    assert kind(answer) == "NoNode"


def test_a_fault_of_the_users_code_shows_its_traceback_and_one_line(node: Pool) -> None:
    answer = node.call("run", "-c", "def f(x):\n    return 1 / x", "--function", "f", "--args", "[0]")
    assert answer.code == 1
    assert "ZeroDivisionError" in answer.err.splitlines()[-1]
    assert "return 1 / x" in answer.err
    assert "potluck/" not in answer.err and "execution" not in answer.err, "none of our frames"
    script = node.call("run", "-c", "import sys; print('said'); sys.exit(3)")
    assert script.code == 1
    assert "said" in script.out


UNENCODABLE = """
import sys, threading, potluck
class Strange: pass
with potluck.Executor() as pool:
    printed = pool.submit(print, "said there")
    printed.result()
    assert printed.stdout.strip() == "said there"
    assert isinstance(pool.submit(Strange).result(), Strange)      # own node: a pickle comes back
    try:
        pool.submit(threading.Lock).result()
    except potluck.ResultNotEncodable as error:
        print("refused", "lock" in str(error))
    try:
        pool.submit(int, "x").result()
    except ValueError as error:
        print("raised", error.__cause__ is not None)
"""


def test_a_program_gets_errors_as_itself(node: Pool) -> None:
    answer = node.script(UNENCODABLE, "p1")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == ["said there", "refused True", "raised True"]


def test_optimised_python_is_refused(nodes: Pool) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-O", "-m", "potluck", "peers"], capture_output=True, text=True, env=nodes.environment
    )
    assert done.returncode != 0
    assert "-O" in done.stderr
