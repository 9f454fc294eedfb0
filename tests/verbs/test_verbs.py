"""The verbs, typed at real nodes."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from .mesh import Mesh, mesh

pytestmark = pytest.mark.processes

RECORD = {"job", "state", "master", "epoch", "unfenced", "tasks"}
TASK = {
    "task", "state", "value", "error", "node", "attempts", "cached", "started_s", "elapsed_s", "stdout", "stderr",
    "guarantees",
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("pair")
    (folder / "job.py").write_text(
        "import sys\n"
        "def double(number, *, more=0):\n"
        "    return number * 2 + more\n"
        "def fail(number):\n"
        "    print('so far')\n"
        "    raise ValueError(f'no {number}')\n"
        "def forever():\n"
        "    while True: pass\n"
        "def odd():\n"
        "    return object()\n"
        "if __name__ == '__main__':\n"
        "    print('arguments:', *sys.argv[1:])\n"
        "    print('warned', file=sys.stderr)\n"
        "    sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)\n"
    )
    with mesh(folder, ["ant", "bee"]) as made:
        yield made


def test_peers_are_listed_with_this_node_among_them(pair: Mesh) -> None:
    peers = pair.json("peers", "--node", "ant")
    assert {peer["name"] for peer in peers} == {"ant", "bee"}
    assert [peer["name"] for peer in peers if peer["self"]] == ["ant"]
    assert {peer["state"] for peer in peers} == {"alive"}
    for peer in peers:
        assert {"node_id", "address", "own", "load", "age_s"} <= set(peer)
        assert re.fullmatch("[0-9a-f]{40}", peer["node_id"])
        assert {"slots", "busy", "queued", "memory_free", "disk_free", "cpu_percent"} <= set(peer["load"])
    shown = pair.type("peers", "--node", "ant").out
    assert "ant *" in shown
    assert "bee" in shown


def test_status_names_the_node_that_was_asked(pair: Mesh) -> None:
    for name in ("ant", "bee"):
        status = pair.json("status", "--node", name)
        assert status["name"] == name
        assert {"uptime_s", "mesh", "peers", "load", "policy", "sandbox", "memory", "disk", "versions"} <= set(status)
    assert pair.json("status")["name"] == "ant", "the first by name"
    assert "ant" in pair.type("status").out


def test_run_calls_a_function(pair: Mesh) -> None:
    said = pair.type("run", "job.py", "--function", "double", "--args", "[21]")
    assert (said.code, said.out) == (0, "42\n")
    assert re.search(r"ran on (ant|bee) in", said.err)
    record = pair.json("run", "job.py", "--function", "double", "--args", '{"number": 1, "more": 3}')
    assert set(record) >= RECORD
    assert record["state"] == "completed"
    (task,) = record["tasks"]
    assert set(task) == TASK | {"files"}
    assert (task["value"], task["state"], task["error"], task["attempts"]) == (5, "completed", None, 1)
    assert task["task"] == f"{record['job']}/0"
    assert task["started_s"] > 1.7e9
    assert len(task["guarantees"]) == 9


def test_run_runs_a_script_with_its_arguments_and_output(pair: Mesh) -> None:
    said = pair.type("run", "job.py", "--", "0", "--flag")
    assert (said.code, said.out) == (0, "arguments: 0 --flag\n")
    assert "warned" in said.err
    said = pair.type("run", "-c", "import sys; print(6 * 7, *sys.argv[1:])", "--", "x")
    assert (said.code, said.out) == (0, "42 x\n")


def test_a_script_that_exits_with_a_status_has_failed(pair: Mesh) -> None:
    said = pair.type("run", "job.py", "--json", "--", "3")
    assert said.code == 1
    assert said.json["state"] == "failed"
    assert said.json["error"]["kind"] == "TaskFailed"
    assert "arguments: 3" in said.json["tasks"][0]["stdout"]


def test_a_fault_in_the_users_code_shows_its_own_traceback_then_one_line(pair: Mesh) -> None:
    said = pair.type("run", "job.py", "--function", "fail", "--args", "[1]")
    assert said.code == 1
    assert said.out == "so far\n"
    assert "Traceback (most recent call last)" in said.err
    assert "job.py" in said.err
    assert "potluck/" not in said.err.replace("potluck: ", "")
    assert "potluck: TaskFailed: ValueError: no 1" in said.err
    record = pair.type("run", "job.py", "--function", "fail", "--args", "[1]", "--json").json
    assert record["tasks"][0]["error"]["kind"] == "TaskFailed"
    assert "ValueError" in record["tasks"][0]["error"]["traceback"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["run", "job.py", "--function", "odd"], "ResultNotEncodable"),
        (["run", "job.py", "--function", "forever", "--timeout", "0.3"], "TaskTimedOut"),
        (["run", "-c", "globals()['x'] = 1", "--function", "missing"], "BadProgram"),
        (["run", "-c", "import os; os._exit(3)", "--retries", "0"], "WorkerLost"),
    ],
)
def test_other_failures_have_their_kind(pair: Mesh, arguments: list[str], kind: str) -> None:
    said = pair.type(*arguments, "--json")
    assert said.code == 1
    assert said.json["error"]["kind"] == kind
    assert kind in said.err or said.err == ""


def test_a_result_that_is_no_data_is_refused_with_what_to_do(pair: Mesh) -> None:
    said = pair.type("run", "job.py", "--function", "odd", "--json")
    assert "use plain data (numbers, text, lists, dicts, arrays)" in said.json["error"]["message"]


def test_a_task_runs_where_it_is_told(pair: Mesh) -> None:
    for name in ("ant", "bee"):
        record = pair.json("run", "-c", "def f(): return 1", "--function", "f", "--on", name)
        assert record["tasks"][0]["node"] == name
    record = pair.json("run", "-c", "def f(): return 1", "--function", "f", "--confidential", "--node", "bee")
    assert record["tasks"][0]["node"] == "bee"


def test_map_answers_in_the_order_of_the_lines(pair: Mesh) -> None:
    (pair.folder / "inputs.jsonl").write_text("".join(f"[{number}]\n" for number in range(40)))
    arguments = ["map", "job.py", "--function", "double", "--inputs", "inputs.jsonl"]
    record = pair.json(*arguments)
    assert [task["value"] for task in record["tasks"]] == [2 * number for number in range(40)]
    assert [task["task"] for task in record["tasks"]] == [f"{record['job']}/{index}" for index in range(40)]
    assert pair.type(*arguments).out.split() == [str(2 * number) for number in range(40)]


def test_instructions_go_to_nodes_that_handle_their_kind(pair: Mesh) -> None:
    record = pair.json("instruct", "ant1", "bee1", "ant2")
    assert [(task["value"], task["node"]) for task in record["tasks"]] == [
        ("ant1", "ant"),
        ("bee1", "bee"),
        ("ant2", "ant"),
    ]
    assert pair.type("instruct", "bee7").out == "bee7: bee7 (bee)\n"


@pytest.mark.parametrize("value", ["42", '"text"', "plain words", '{"a": [1, null]}', "null", "ä€"])
def test_memory_set_on_one_node_is_read_on_another(pair: Mesh, value: str) -> None:
    stored = pair.json("mem", "set", "key", value, "--node", "ant")
    assert set(stored) == {"key", "version", "replicas"}
    found = pair.json("mem", "get", "key", "--node", "bee")
    try:
        expected = json.loads(value)
    except ValueError:
        expected = value
    assert (found["key"], found["value"], found["version"]) == ("key", expected, stored["version"])
    pair.json("mem", "del", "key", "--node", "bee")
    gone = pair.type("mem", "get", "key", "--json")
    assert gone.code == 1
    assert gone.json["error"]["kind"] == "NotFound"


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", "[1e400]", "[" * 5000])
def test_what_json_cannot_say_is_kept_as_it_was_written(pair: Mesh, text: str) -> None:
    pair.json("mem", "set", "odd", text)
    assert pair.json("mem", "get", "odd")["value"] == text


def test_numbers_below_zero_are_no_options(pair: Mesh) -> None:
    pair.json("mem", "set", "below", "-5")
    assert pair.json("mem", "get", "below")["value"] == -5
    assert pair.json("mem", "incr", "below", "-3")["value"] == -8
    pair.json("mem", "set", "below", "-.5e1", "--ttl", "60")
    assert pair.type("mem", "set", "below", "-5", "--tlt", "60").code == 2


def test_bytes_come_back_as_they_were_given(pair: Mesh) -> None:
    data = bytes(range(256))
    (pair.folder / "data.bin").write_bytes(data)
    pair.json("mem", "set", "bytes", "--bytes-from", "data.bin")
    assert pair.json("mem", "get", "bytes")["type"] == "bytes"
    said = pair.type("mem", "get", "bytes")
    assert json.loads(said.out) == base64.b64encode(data).decode()
    assert "256 bytes" in said.err
    assert "--raw" in said.err
    assert pair.type("mem", "get", "bytes", "--output", "copy.bin").code == 0
    assert (pair.folder / "copy.bin").read_bytes() == data
    piped = f"{sys.executable} -m potluck mem get bytes --raw | {sys.executable} -m potluck mem set copy --bytes-from -"
    subprocess.run(piped, shell=True, check=True, env=pair.environment, timeout=60)
    assert pair.json("mem", "get", "copy")["value"] == pair.json("mem", "get", "bytes")["value"]
    assert pair.type("mem", "get", "bytes", "--raw", "--json").code == 2


def test_a_value_may_come_from_a_file(pair: Mesh) -> None:
    (pair.folder / "value.json").write_text('{"a": [1, 2]}\n')
    pair.json("mem", "set", "from-file", "--value-from", "value.json")
    assert pair.json("mem", "get", "from-file")["value"] == {"a": [1, 2]}
    (pair.folder / "data.bin").write_bytes(b"\xff\xfe")
    assert "--bytes-from" in pair.type("mem", "set", "from-file", "--value-from", "data.bin").err
    endless = pair.type("mem", "set", "endless", "--bytes-from", "/dev/zero", "--json")
    assert (endless.code, endless.json["error"]["kind"]) == (1, "LimitExceeded")
    assert pair.type("mem", "set", "from-file", "1", "--value-from", "value.json").code == 2


def test_text_that_reads_like_a_number_is_called_text(pair: Mesh) -> None:
    pair.json("mem", "set", "text", '"42"')
    assert "text" in pair.type("mem", "get", "text").err
    pair.json("mem", "set", "number", "42")
    assert pair.type("mem", "get", "number").err == ""


def test_what_is_not_there_cannot_be_deleted(pair: Mesh) -> None:
    for key in ("never-set", "agreed"):
        if key == "agreed":
            pair.json("mem", "incr", key)
            pair.json("mem", "del", key)
        said = pair.type("mem", "del", key, "--json")
        assert (said.code, said.json["error"]["kind"]) == (1, "NotFound")


@pytest.mark.parametrize("verb", [["job"], ["cancel"], ["explain"], ["result"], ["logs"], ["mesh", "ban"], ["audit"]])
def test_a_name_that_is_too_long_is_refused_before_the_node_hears_it(pair: Mesh, verb: list[str]) -> None:
    said = pair.type(*verb, "x" * 300, "--json")
    assert (said.code, said.json["error"]["kind"]) == (2, "UsageError")


def test_people_see_values_in_their_own_letters(pair: Mesh) -> None:
    pair.json("mem", "set", "letters", '["ä€"]')
    assert pair.type("mem", "get", "letters").out == '["ä€"]\n'


def test_a_running_name_is_refused(pair: Mesh) -> None:
    said = pair.type("up", "--name", "ant", "--interface", "127.0.0.1", "--json")
    assert said.code == 1
    assert said.json["error"]["kind"] == "NameInUse"


def test_a_port_that_is_taken_is_refused_in_one_line(pair: Mesh) -> None:
    port = pair.json("status")["address"].rpartition(":")[2]
    said = pair.type("up", "--name", "cat", "--interface", "127.0.0.1", "--port", port, "--json")
    assert said.code == 1
    assert said.json["error"]["kind"] == "ConfigError"
    assert port in said.json["error"]["message"]
