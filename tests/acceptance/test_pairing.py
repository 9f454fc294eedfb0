"""Two machines that know nothing of each other: an invite here, a join there, and their work is shared."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .harness import Answered, NodeProcess, Pool, pool, wait_until

pytestmark = pytest.mark.processes

QUICK_S = 5.0
SLOW_MACHINE_S = 5.0
"""Allowed on top where tests share their cores."""
SUM = ("run", "--json", "-c", "def main(n): return sum(range(n))", "--function", "main", "--args", "[10]")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Pool, Pool]]:
    """Each with a data directory and a runtime directory of its own."""
    with ExitStack() as stack:
        yield stack.enter_context(pool(tmp_path / "one")), stack.enter_context(pool(tmp_path / "two"))


def up(machine: Pool, name: str) -> NodeProcess:
    node = machine.up(name, "--slots=1")
    node.await_ready()
    return node


def invite(machine: Pool, *flags: str) -> str:
    answer = machine.call("invite", "--json", *flags).value
    assert answer["expires_s"] > 0
    code: str = answer["code"]
    return code


def join(machine: Pool, *code: str) -> Answered:
    return machine.call("join", "--json", "--interface", "127.0.0.1", *code)


def alive(machine: Pool) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in machine.call("peers", "--json").value if row["state"] == "alive"}


def test_a_running_node_moves_with_its_data_and_is_at_work_within_seconds(machines: tuple[Pool, Pool]) -> None:
    one, two = machines
    first, second = up(one, "north"), up(two, "south")
    assert first.ready["mesh"] != second.ready["mesh"]
    assert two.call("mem", "set", "kept", '"from before"').code == 0
    number, *words = invite(one).split("-")
    began_s = time.monotonic()
    joined = join(two, number, words[0].upper(), f" {words[1]} ")
    assert joined.value == {"mesh": first.ready["mesh"], "inviter": "north"}, joined.err
    answer = wait_for_work(one, "south")
    took_s = time.monotonic() - began_s
    assert answer["tasks"][0]["value"] == 45
    assert took_s < QUICK_S + SLOW_MACHINE_S
    assert second.process.poll() is None, "the same process goes on"
    rows = alive(two)
    assert set(rows) == {"north", "south"}
    assert rows["south"]["node_id"] == second.ready["node_id"], "it keeps its key"
    assert rows["south"]["address"] == second.ready["address"], "others remember where it listens"
    assert "was open to other users" not in second.log_text(), "what it puts aside is nobody else's from the beginning"
    assert not rows["north"]["own"], "another owner's"
    assert one.call("mem", "get", "--json", "kept").value["value"] == "from before"
    check_members(one, two)


@pytest.mark.nightly
def test_from_join_to_a_task_on_the_new_machine_it_takes_five_seconds_at_most(tmp_path: Path) -> None:
    """The median of five, each with fresh machines."""
    took_s = []
    for n in range(5):
        with pool(tmp_path / f"one{n}") as one, pool(tmp_path / f"two{n}") as two:
            up(one, "north")
            up(two, "south")
            code = invite(one)
            began_s = time.monotonic()
            assert join(two, code).code == 0
            wait_for_work(one, "south")
            took_s.append(time.monotonic() - began_s)
    print("from join to a task:", [round(one_s, 2) for one_s in sorted(took_s)])
    assert statistics.median(took_s) <= QUICK_S


def wait_for_work(machine: Pool, name: str) -> Any:
    """Of a task on that node, as soon as it can be reached."""
    answers: list[Answered] = []

    def ran() -> bool:
        answers.append(machine.call(*SUM, "--on", name))
        return answers[-1].code == 0

    wait_until(ran, f"work on {name}")
    return answers[-1].value


def check_members(one: Pool, two: Pool) -> None:
    members = {row["name"]: row for row in one.call("mesh", "members", "--json").value}
    assert members["north"]["invited_by"] is None
    assert members["south"]["invited_by"] == members["north"]["owner"]
    assert {row["name"] for row in two.call("mesh", "members", "--json").value} == {"north", "south"}
    assert not any(row["banned"] for row in members.values())


def test_a_machine_joins_before_its_first_node_and_leaves_no_secret(machines: tuple[Pool, Pool]) -> None:
    one, two = machines
    first = up(one, "north")
    code = invite(one, "--mine")
    assert join(two, code).value["mesh"] == first.ready["mesh"]
    assert not (two.data_dir / "secret").exists()
    again = join(two, code)
    assert (again.code, again.value["error"]["kind"]) == (1, "NotAllowed")
    second = up(two, "south")
    assert second.ready["mesh"] == first.ready["mesh"]
    wait_until(lambda: set(alive(one)) == {"north", "south"}, "they find each other")
    assert alive(one)["south"]["own"], "--mine: the same owner"
    moved = join(one, code)
    assert (moved.code, moved.value["error"]["kind"]) == (1, "NotAllowed"), "others are in its mesh now"


def test_a_wrong_code_lets_nobody_in_and_the_third_ends_the_invite(machines: tuple[Pool, Pool]) -> None:
    one, two = machines
    port = up(one, "north").ready["port"]
    code = invite(one)
    number, first_word, second_word = code.split("-")
    wrong = "-".join((number, second_word, "acorn" if first_word != "acorn" else "acrobat"))
    assert join(two, number, "nonsuch", second_word).code == 2, "no word of a code: no guess is spent"
    for attempt in (wrong, wrong, wrong, code):
        answer = two.call("join", "--json", attempt, "--peer", f"127.0.0.1:{port}")
        assert answer.code == 1
        assert answer.value["error"]["kind"] == ("NotAllowed" if attempt == wrong else "LinkLost")
        assert len(answer.err.splitlines()) == 1
    assert not (two.data_dir / "mesh.toml").exists()


def test_whoever_may_not_invite_is_told_so(machines: tuple[Pool, Pool]) -> None:
    one, two = machines
    up(one, "north")
    up(two, "south")
    assert join(two, invite(one)).code == 0
    refused = two.call("invite", "--json")
    assert (refused.code, refused.value["error"]["kind"]) == (1, "NotAllowed")
    assert two.call("invite", "--mine", "--json").code == 0, "machines of one's own let in nobody else"


def test_a_machine_whose_node_cannot_follow_is_not_moved_and_its_invite_not_used(machines: tuple[Pool, Pool]) -> None:
    one, two = machines
    up(one, "north")
    second = up(two, "south")
    code = invite(one)
    with tempfile.TemporaryDirectory(prefix="potluck-") as elsewhere:
        away = {**two.environment, "XDG_RUNTIME_DIR": elsewhere}
        command = [sys.executable, "-P", "-m", "potluck", "join", "--interface=127.0.0.1", code]
        said = subprocess.run(command, env=away, capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stderr.count("\n")) == (1, 1)
    assert "south runs here, but not where this session looks" in said.stderr
    second.process.send_signal(signal.SIGSTOP)
    try:
        silent = join(two, code)
    finally:
        second.process.send_signal(signal.SIGCONT)
    assert (silent.code, silent.value["error"]["kind"]) == (1, "DeadlineExceeded")
    assert join(two, code).code == 0, "nothing was moved, and the invite is there still"


def test_doctor_tells_of_a_node_that_did_not_follow(machines: tuple[Pool, Pool]) -> None:
    one, two = machines
    first, second = up(one, "north"), up(two, "south")
    for name in ("mesh.toml", "owner-key"):
        (two.data_dir / name).write_bytes((one.data_dir / name).read_bytes())
    told = two.call("doctor", "--json", "--interface", "127.0.0.1")
    (row,) = [row for row in told.value if row["check"] == "mesh" and not row["ok"]]
    assert told.code == 1
    assert first.ready["mesh"] in row["detail"] and second.ready["mesh"] in row["detail"]
    assert "potluck down south" in row["fix"]
