"""Values, names and lines that are unusual and yet what somebody has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.verbs.rendering import json_text, jsonable, printable, text_of

from .mesh import Mesh, mesh

HUGE = 10**5000


@pytest.fixture(scope="module")
def ant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("odd")) as made:
        made.up("ant", "--sandbox=bare")
        yield made


def run(mesh: Mesh, source: str, *arguments: str) -> list[str]:
    return ["run", "-c", source, "--function", "main", *arguments]


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
LONG = st.integers(0, 20_000).map(lambda bits: 1 << bits)


@given(
    st.recursive(
        PLAIN | LONG,
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | LONG, inner) | st.lists(inner).map(tuple),
        max_leaves=20,
    )
)
def test_any_value_has_a_text_and_is_json(value: object) -> None:
    assert text_of(value)
    assert json.loads(json_text([jsonable(value)] * 1_001))[0] == json.loads(json_text(jsonable(value)))


def test_a_number_of_very_many_digits_is_shown_and_kept(ant: Mesh) -> None:
    source = "def main():\n return [1, 10**5000]"
    said = ant.type(*run(ant, source))
    assert (said.code, said.out) == (0, f"[1, '{hex(HUGE)}']\n")
    assert ant.json(*run(ant, source))["tasks"][0]["value"] == [1, hex(HUGE)]


def test_lines_of_a_file_end_where_json_lines_do(ant: Mesh) -> None:
    (ant.folder / "work.py").write_text("def f(text):\n    return len(text)\n")
    (ant.folder / "inputs").write_text('\ufeff["a\u2028\x85b"]\n\n["c"]\r\n', encoding="utf-8", newline="")
    said = ant.type("map", "work.py", "--function", "f", "--inputs", "inputs")
    assert (said.code, said.out) == (0, "4\n1\n")


@pytest.mark.parametrize("line", ['["\\ud800"]', "[" * 200 + "]" * 200])
def test_what_cannot_be_sent_is_named_by_its_line(ant: Mesh, line: str) -> None:
    (ant.folder / "work.py").write_text("def f(text):\n    return len(text)\n")
    (ant.folder / "inputs").write_text(f"[1]\n{line}\n")
    said = ant.type("map", "work.py", "--function", "f", "--inputs", "inputs")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "line 2" in said.err


@pytest.mark.parametrize("verb", ["run", "status --node", "down", "mem get", "job", "up --label"])
def test_an_argument_that_is_no_text_is_refused_in_a_line(ant: Mesh, verb: str) -> None:
    command = [sys.executable, "-m", "potluck", *verb.split(), os.fsdecode(b"x=\xe9")]
    done = subprocess.run(command, env=ant.environment, cwd=ant.folder, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


def test_an_output_whose_name_is_no_text_is_named_as_the_reason(ant: Mesh) -> None:
    source = 'def main():\n open(b"caf\\xe9.txt", "w").write("x")\n return 42'
    said = ant.type(*run(ant, source, "--output", "*", "--json"))
    assert said.code == 1
    assert "no text" in said.json["error"]["message"]


def test_what_a_lost_worker_had_printed_is_told_with_its_loss(ant: Mesh) -> None:
    source = "def main():\n print('before', flush=True)\n import os\n os._exit(3)"
    said = ant.type(*run(ant, source, "--retries", "0", "--json"))
    (task,) = said.json["tasks"]
    assert (task["error"]["kind"], task["stdout"]) == ("WorkerLost", "before\n")
    assert "was lost on ant" in ant.type(*run(ant, source, "--retries", "0")).err


def test_words_of_others_do_nothing_to_the_terminal(ant: Mesh) -> None:
    said = ant.type(*run(ant, 'def main():\n open("\\x1b[31mred\\n", "w").write("x")', "--output", "*"))
    assert "brought home: ?[31mred?" in said.err
    said = ant.type(*run(ant, 'def main():\n raise ValueError("bad\\x1b[31m")'))
    assert "ValueError: bad?[31m" in said.err.splitlines()[-1]
    assert printable("a\x1b\u2028b") == "a??b"


def test_a_job_that_runs_is_said_to_run_and_files_nobody_kept_are_said_to_lack(ant: Mesh) -> None:
    source = "def main():\n import time\n open('x', 'w').close()\n time.sleep(600)"
    name = ant.json(*run(ant, source, "--detach"))["job"]
    ant.await_processes("ant", "RUNNING")
    while "runs on ant" not in (shown := ant.type("job", name).out):
        assert "was lost" not in shown
    later = ant.json(*run(ant, "def main(): return 1", "--needs", "label=no:where", "--detach"))["job"]
    assert "waits: no node can run this: ant: it does not have the label no=where" in ant.type("job", later).out
    assert ant.type("cancel", name).code == ant.type("cancel", later).code == 0
    done = ant.json(*run(ant, "def main():\n open('x', 'w').close()", "--detach"))["job"]
    while ant.json("job", done)["state"] not in ("completed", "failed"):
        pass
    assert "kept no files" in ant.type("result", done, "--output", "*").err


def test_a_durable_job_that_nobody_waits_for_any_more_is_named(ant: Mesh, tmp_path: Path) -> None:
    source = "def main():\n import time\n time.sleep(600)"
    command = [sys.executable, "-m", "potluck", *run(ant, source, "--durable")]
    with subprocess.Popen(command, env=ant.environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        ant.await_processes("ant", "RUNNING")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    (name,) = [job["job"] for job in ant.json("jobs") if job["state"] == "running"]
    assert (process.returncode, f"`potluck job {name}`" in err) == (1, True)
    assert ant.type("cancel", name).code == 0


def test_no_value_is_lost_for_being_none_or_nan(ant: Mesh) -> None:
    said = ant.type(*run(ant, "def main():\n return [None, float('nan')]"))
    assert said.out == "[None, nan]\n"
