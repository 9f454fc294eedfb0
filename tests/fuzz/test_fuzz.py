"""Whatever bytes come: an answer or an error of ours, soon and in little memory.

Here Hypothesis draws a sample of what `python -m tests.fuzz` tries by the million.
"""

from __future__ import annotations

import importlib.util
import random
import resource
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .corpus import FOLDER, INPUT_BYTES_MAX, INPUTS_MAX, kept, starting_points
from .mutation import mutated
from .registry import TARGETS
from .target import SECONDS_MAX, Broken, Target, attempt

every_target = pytest.mark.parametrize("name", TARGETS)
ROOT = Path(__file__).parents[2]


@cache
def known(name: str) -> list[bytes]:
    return starting_points(name, TARGETS[name])


@every_target
def test_what_has_once_been_found_is_answered(name: str) -> None:
    taken = [attempt(TARGETS[name], data) for data in known(name)]
    assert any(taken) or name == "stranger", "what starts from real messages gets through"


@every_target
@given(data=st.data())
def test_no_input_is_a_fault(name: str, data: st.DataObject) -> None:
    drawn = data.draw(st.sampled_from(known(name)) | st.binary(max_size=200))
    draws = random.Random(data.draw(st.integers(0, 1 << 32)))
    for _ in range(data.draw(st.integers(0, 4))):
        drawn = mutated(drawn, draws)
    attempt(TARGETS[name], drawn)


def test_the_corpus_is_small_and_every_file_has_its_target() -> None:
    assert {path.stem for path in FOLDER.iterdir()} <= set(TARGETS)
    for name in TARGETS:
        inputs = kept(name)
        assert len(inputs) <= INPUTS_MAX
        assert inputs == sorted(set(inputs), key=lambda data: (len(data), data))
        assert max(map(len, inputs), default=0) <= INPUT_BYTES_MAX


def _spin(data: bytes) -> None:
    end_s = time.process_time() + SECONDS_MAX + 0.05
    while time.process_time() < end_s:
        assert data


def _grow(data: bytes) -> None:
    """Beyond whatever this process has held at some time before, which is what growth is measured by."""
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    assert len(bytearray(b"x") * (peak_bytes + (100 << 20))) > len(data)


@pytest.mark.parametrize(
    ("feed", "fault"),
    [(lambda data: 1 // len(data), ZeroDivisionError), (_spin, Broken), (_grow, Broken)],
    ids=["fails", "spins", "grows"],
)
def test_a_target_that_breaks_a_rule_is_found_out(feed: object, fault: type[Exception]) -> None:
    planted = Target(feed, (ValueError,), list)  # type: ignore[arg-type]
    with pytest.raises(fault):
        attempt(planted, b"" if fault is ZeroDivisionError else b"x")


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed: pip install '.[fuzz]'"
)
@pytest.mark.parametrize("runs", [2_000, pytest.param(10_000_000, marks=[pytest.mark.nightly, pytest.mark.timeout(0)])])
def test_inputs_guided_by_what_they_reach_are_no_fault(runs: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *(["codec_peer"] if runs < 10_000 else []), f"--runs={runs}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
