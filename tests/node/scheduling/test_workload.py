"""What a workload may be, and what is said of one that is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.processes.types import ProcessType
from potluck.node.scheduling import machine
from potluck.node.scheduling.catalogue import make
from potluck.node.scheduling.machine import Machine
from potluck.node.scheduling.workload import Work, mixed, parse, recorded
from potluck.overlay.errors import LimitExceeded, UsageError

ROW = {
    "name": "a",
    "arrives_s": 1,
    "runs_s": [1, 2.5],
    "waits_s": 3,
    "priority": 2,
    "submitter": "ann",
    "function": "f",
    "estimate_s": 4,
    "type": "ai_inference",
}


@pytest.mark.parametrize("text", [json.dumps([ROW, {"runs_s": 1}]), f'{json.dumps(ROW)}\n\n{{"runs_s": 1}}\n'])
def test_a_list_and_lines_say_the_same(text: str) -> None:
    first, second = parse(text, "file")
    assert first.bursts_s == (1.0, 2.5)
    assert (first.name, first.arrives_s, first.waits_s, first.priority) == ("a", 1, 3, 2)
    assert (first.submitter, first.function, first.estimate_s, first.type) == ("ann", "f", 4, ProcessType.AI_INFERENCE)
    assert (second.name, second.bursts_s, second.type) == ("t2", (1.0,), ProcessType.USER)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no tasks"),
        ("[]", "no tasks"),
        ("nonsense", "file, line 1: no JSON"),
        ('{"runs_s": 1}\n{', "file, line 2: no JSON"),
        ("[" * 100_000, "file: no JSON"),
        ("3", "file, task 1: Expected `object`"),
        ('{"name": "a"}', "file, task 1: .*runs_s"),
        ('{"runs_s": 0}', "file, task 1: .*runs_s"),
        ('{"runs_s": -1}', "file, task 1: .*runs_s"),
        ('{"runs_s": NaN}', "file, task 1: .*runs_s"),
        ('{"runs_s": Infinity}', "file, task 1: .*runs_s"),
        ('{"runs_s": []}', "file, task 1: .*runs_s"),
        ('{"runs_s": 1, "arrives_s": "soon"}', "file, task 1: .*arrives_s"),
        ('{"runs_s": 1, "type": "cat"}', "file, task 1: .*cat"),
        ('{"runs_s": 1, "needs": 2}', "file, task 1: .*needs"),
    ],
)
def test_what_is_no_workload_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text, "file")


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_text_is_a_workload_or_refused(text: str) -> None:
    try:
        assert parse(text, "file")
    except UsageError:
        pass


def test_the_same_seed_draws_the_same_workload() -> None:
    def rows(seed: int) -> list[object]:
        return [(work.name, work.arrives_s, work.bursts_s, work.submitter) for work in mixed(50, seed)]

    assert rows(1) == rows(1) != rows(2)


def test_what_a_node_has_run_arrives_as_it_began() -> None:
    def entry(owner: str, program: str, *tasks: tuple[float, float]) -> dict[str, object]:
        runs = [{"started_s": at_s, "elapsed_s": took_s} for at_s, took_s in tasks]
        return {"owner": owner, "program": program, "job": "0123456789ab", "tasks": runs}

    works = recorded([entry("ann", "f", (12.0, 1.0), (10.0, 2.0)), entry("bo", "g", (11.0, 3.0))], "bee")
    assert [(work.arrives_s, work.bursts_s[0], work.submitter, work.function) for work in works] == [
        (0.0, 2.0, "ann", "f"),
        (1.0, 3.0, "bo", "g"),
        (2.0, 1.0, "ann", "f"),
    ]
    with pytest.raises(UsageError, match="bee"):
        recorded([], "bee")


def test_what_would_take_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "STEPS_MAX", 1000)
    years = [Work(key, str(key), 0.0, (1e7,)) for key in range(2)]
    with pytest.raises(LimitExceeded, match="rr"):
        Machine(make("rr:time_quantum_ms=1")).play(years)
