"""One workload under every policy, as its user sees it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from potluck.cli import main

from .mesh import mesh

FIELDS = {
    "policy",
    "wait_s_mean",
    "turnaround_s_mean",
    "response_s_mean",
    "throughput_per_s",
    "context_switches",
    "queues",
}
BOOK = '[{"runs_s": 24, "estimate_s": 24}, {"runs_s": 3, "estimate_s": 3}, {"runs_s": 3, "estimate_s": 3}]'


@pytest.fixture
def book(tmp_path: Path) -> str:
    file = tmp_path / "book.json"
    file.write_text(BOOK)
    return str(file)


def test_every_policy_is_compared(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedulers", "--json", "--workload", book]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["policy"] for one in told] == ["fcfs", "sjf", "priority", "rr", "mlfq", "fair"]
    assert all(set(one) == FIELDS for one in told)
    waits = {one["policy"]: one["wait_s_mean"] for one in told}
    assert (waits["fcfs"], waits["sjf"]) == (17, 3)


def test_a_policy_is_chosen_with_its_settings(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedulers", "--json", "--workload", book, "--policy", "rr:time_quantum_ms=4000"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["wait_s_mean"] == pytest.approx(17 / 3)
    assert told["context_switches"] == 1


def test_the_same_seed_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for _ in range(2):
        assert main(["schedulers", "--json", "--tasks", "50", "--seed", "7", "--processors", "2"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]


def test_the_chart_shows_who_ran_when(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedulers", "--workload", book, "--policy", "fcfs", "--no-emoji"]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    first, second, third = re.findall(r"^user t\d +(.*)$", out, re.M)
    assert set(first) == {"#"}
    assert re.fullmatch(r"\.+#+", second)
    assert re.fullmatch(r"\.+#+", third)
    assert len(first) / len(third) == pytest.approx(24 / 30, abs=0.05)


def test_people_see_icons(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedulers", "--tasks", "30"]) == 0
    out = capsys.readouterr().out
    assert "📊" in out
    assert "and 10 more tasks" in out


def test_the_page_needs_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.html"
    workload = tmp_path / "w.json"
    workload.write_text('[{"runs_s": 1, "name": "</script><b>"}]')
    assert main(["schedulers", "--workload", str(workload), "--html", str(file)]) == 0
    text = file.read_text()
    assert not re.search(r"https?://|src=|href=|@import", text)
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    assert data is not None
    told = json.loads(data[1])
    assert told["tasks"][0][0] == "</script><b>"
    assert len(told["policies"]) == 6


@pytest.mark.parametrize(
    "arguments",
    [
        ["--workload", "missing.json"],
        ["--policy", "lifo"],
        ["--policy", "rr:time_quantum_ms=never"],
        ["--recorded", "--tasks", "3"],
        ["--tasks", "0"],
        ["--processors", "0"],
        ["--html", "missing/folder/page.html"],
        ["--within", "5"],
        ["--live", "--within", "0"],
        ["--live", "--tasks", "2001"],
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedulers", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"potluck: .+\n", said.err)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{", b'{"runs_s": "long"}', b"[1]"])
def test_a_bad_file_is_one_line_that_names_it(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.json"
    file.write_bytes(data)
    assert main(["schedulers", "--workload", str(file)]) == 2
    assert re.fullmatch(r"potluck: .*bad\.json.+\n", capsys.readouterr().err)


LIVE = "\n".join(
    json.dumps({"runs_s": runs_s, "arrives_s": arrives_s, "estimate_s": runs_s, "submitter": who})
    for runs_s, arrives_s, who in [(40, 0, "ann"), (4, 1, "bo"), (4, 1, "ann")]
)


LIVELY = ["schedulers", "--live", "--within", "1.2", "--policy", "fcfs", "--policy", "sjf:preemptive=true"]


@pytest.mark.processes
def test_a_workload_is_run_for_real(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work, drawn = tmp_path / "work.jsonl", tmp_path / "page.html"
    work.write_text(LIVE)
    waits: list[tuple[float, float]] = []
    while len(waits) < 3 and not any(sjf < fcfs for fcfs, sjf in waits):  # the machine has other things to do, too
        assert main([*LIVELY, "--no-emoji", "--workload", str(work), "--html", str(drawn)]) == 0
        said = capsys.readouterr()
        assert len(re.findall(r"^user t\d +.*#", said.out, re.M)) == 6
        assert re.fullmatch(r"run for real in \w+ sandboxes, 40 times as fast as given\n", said.err)
        told = json.loads(re.findall(r'json">(.*?)</script>', drawn.read_text(), re.S)[0])["policies"]
        fcfs, sjf = (one["figures"] for one in told)
        assert set(fcfs) == set(sjf) == FIELDS
        assert sjf["context_switches"] >= 1 > fcfs["context_switches"]
        waits.append((fcfs["wait_s_mean"], sjf["wait_s_mean"]))
    assert any(sjf < fcfs for fcfs, sjf in waits), waits


@pytest.mark.processes
def test_what_a_node_has_run_can_be_run_again_under_every_policy(tmp_path: Path) -> None:
    with mesh(tmp_path) as made:
        made.up("bee")
        assert made.type("schedulers", "--recorded").code == 2, "nothing has run yet"
        (tmp_path / "work.py").write_text("import time\ndef f(x):\n    time.sleep(x / 100)\n    return x\n")
        (tmp_path / "inputs.jsonl").write_text("[1]\n[5]\n[2]\n")
        ran = made.type("map", "work.py", "--function", "f", "--inputs", "inputs.jsonl")
        assert ran.code == 0, ran.err
        until_s = time.monotonic() + 30
        while (said := made.type("schedulers", "--recorded", "--json")).code == 2 and time.monotonic() < until_s:
            """The log gathers for a second."""
        assert said.code == 0, said.err
        assert [one["policy"] for one in said.json] == ["fcfs", "sjf", "priority", "rr", "mlfq", "fair"]
        assert all(one["turnaround_s_mean"] > 0.01 for one in said.json)
        (lived,) = made.json("schedulers", "--recorded", "--live", "--policy", "rr")
        assert lived["turnaround_s_mean"] > 0.01
