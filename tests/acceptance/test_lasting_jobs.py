"""Jobs that outlive their machines, on real processes: any of them killed, all at once, and asked from anywhere."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from .harness import Answered, Pool, wait_until

pytestmark = pytest.mark.processes

NAMES = ("l1", "l2", "l3")
TASKS = 12
SLOW = """
import time
def slow(number, cost_s):
    time.sleep(cost_s)
    print("did", number)
    return number * number
"""


def submitted(pool: Pool, node: str, *options: str, cost_s: float = 0.5, tasks: int = TASKS) -> str:
    """A job of tasks that take a while, acknowledged."""
    answered = mapped(pool, node, "--detach", *options, cost_s=cost_s, tasks=tasks)
    assert answered.code == 0, answered.err
    return str(answered.value["job"])


def mapped(pool: Pool, node: str | None, *options: str, cost_s: float, tasks: int = TASKS) -> Answered:
    program, inputs = pool.folder / "slow.py", pool.folder / "inputs.jsonl"
    program.write_text(SLOW)
    inputs.write_text("".join(json.dumps([number, cost_s]) + "\n" for number in range(tasks)))
    call = ("map", str(program), "--function", "slow", "--inputs", str(inputs), "--json")
    return pool.call(*call, *options, node=node)


def await_over(pool: Pool, job: str, node: str) -> dict:
    def over() -> bool:
        answered = pool.call("result", job, "--json", node=node)
        return answered.code == 0 or answered.value.get("state") == "failed"

    wait_until(over, f"{job} is over at {node}", 60)
    told: dict = pool.call("result", job, "--json", node=node).value
    return told


def test_a_job_goes_on_when_its_master_is_killed_and_any_node_tells_of_it(nodes: Pool) -> None:
    nodes.up_together(*NAMES)
    job = submitted(nodes, "l1")
    listed = nodes.call("jobs", "--json", node="l3").value
    assert [(row["job"], row["master"], row["epoch"]) for row in listed] == [(job, "l1", 1)]
    nodes.nodes["l1"].kill()
    wait_until(lambda: nodes.call("job", job, "--json", node="l3").value.get("epoch") == 2, "another is master")
    assert nodes.call("jobs", node="l3").err == "not listed is what only l1 may know of, lost from sight\n"
    told = await_over(nodes, job, "l3")
    assert told["state"] == "completed" and told["epoch"] == 2 and told["master"] in ("l2", "l3")
    assert not told["unfenced"]
    assert [task["value"] for task in told["tasks"]] == [number**2 for number in range(TASKS)]
    printed = nodes.call("logs", job, "--json", node="l2").value
    assert [one["stdout"] for one in printed] == [f"did {number}\n" for number in range(TASKS)]
    shown = nodes.call("job", job, node="l2")
    assert f"{job}: completed, {TASKS} of {TASKS} tasks have ended" in shown.out


@contextmanager
def reading(pool: Pool, job: str, node: str) -> Iterator[IO[str]]:
    """What `logs -f` says there, which ends well; whatever else happens, nobody waits for it for ever."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "potluck", "logs", "-f", job],
        env={**pool.environment, "POTLUCK_NODE": node},
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        in_vain = threading.Timer(60, reader.kill)
        in_vain.start()
        try:
            yield reader.stdout
        except BaseException:
            reader.kill()
            raise
        finally:
            in_vain.cancel()
    assert reader.returncode == 0


GATE = """
import time, potluck
print("begun", flush=True)
while potluck.memory.get("gate") is None:
    time.sleep(0.05)
print("done")
"""


def test_what_a_task_prints_is_read_at_any_node_while_it_runs(nodes: Pool) -> None:
    nodes.up_together(*NAMES)
    script = nodes.folder / "gate.py"
    script.write_text(GATE)
    job = nodes.call("run", str(script), "--detach", "--json", node="l1").value["job"]
    with reading(nodes, job, "l3") as told:
        assert told.readline() == "0  begun\n"
        (printed,) = nodes.call("logs", job, "--json", node="l2").value
        assert printed["stdout"] == "begun\n"
        assert nodes.call("job", job, "--json", node="l2").value["state"] == "running"
        assert nodes.call("mem", "set", "gate", "1", node="l2").code == 0
        assert told.read() == "0  done\n"
    assert nodes.call("logs", job, node="l3").out == "0  begun\n0  done\n"


def test_what_a_task_prints_that_begins_anew_with_its_next_master_is_read_while_it_runs(nodes: Pool) -> None:
    """Of two: until it is known that the first is gone, the other one answers for it, who has heard of nothing."""
    nodes.up_together("l1", "l2", flags=["--slots=1"])
    script = nodes.folder / "gate.py"
    script.write_text(GATE)
    job = nodes.call("run", str(script), "--detach", "--json", node="l1").value["job"]
    with reading(nodes, job, "l2") as told:
        assert told.readline() == "0  begun\n"
        nodes.nodes["l1"].kill()
        assert told.readline() == "0  begun\n", "at the other one"
        assert nodes.call("mem", "set", "gate", "1", node="l2").code == 0
        assert told.read() == "0  done\n"


COUNTED_GATE = GATE.replace('print("begun"', 'potluck.memory.increment("begun"); print("begun"')


@pytest.mark.parametrize("options", [(), ("--at-most-once",)], ids=["again if lost", "at most once"])
def test_what_runs_when_its_master_is_killed_runs_on_and_is_not_begun_again(
    nodes: Pool, options: tuple[str, ...]
) -> None:
    nodes.up_together(*NAMES)
    script = nodes.folder / "gate.py"
    script.write_text(COUNTED_GATE)
    job = nodes.call("run", str(script), "--detach", "--json", "--on", "l3", *options, node="l1").value["job"]
    wait_until(lambda: nodes.call("mem", "get", "begun", node="l2").out.strip() == "1", "it runs")
    with reading(nodes, job, "l2") as said:
        assert said.readline() == "0  begun\n"
        nodes.nodes["l1"].kill()
        wait_until(lambda: nodes.call("job", job, "--json", node="l3").value.get("epoch") == 2, "another is master")
        wait_until(lambda: nodes.call("logs", job, node="l3").out == "0  begun\n", "it knows what was printed", 10)
        nodes.call("mem", "set", "gate", "1", node="l2")
        assert said.read() == "0  done\n", "and nothing twice"
    told = await_over(nodes, job, "l2")
    assert told["state"] == "completed" and [task["node"] for task in told["tasks"]] == ["l3"]
    assert nodes.call("mem", "get", "begun", node="l2").out.strip() == "1"
    assert nodes.call("logs", job, node="l2").out == "0  begun\n0  done\n"


def test_a_job_longer_than_what_is_on_its_way_at_once_is_safe_before_its_tasks_end(nodes: Pool) -> None:
    nodes.up_together("l1", "l2", flags=["--slots=1"])
    job = mapped(nodes, "l1", "--detach", cost_s=600.0, tasks=40_000).value["job"]
    told = nodes.call("job", job, "--json", node="l2").value
    assert (told["state"], told["tasks_total"], told["tasks_ended"]) == ("running", 40_000, 0)
    assert nodes.call("cancel", job, node="l2").code == 0
    assert nodes.call("job", "forget", job, node="l2").code == 0


def test_jobs_and_results_survive_kill_9_of_every_node_at_once(nodes: Pool) -> None:
    nodes.up_together(*NAMES)
    done, going = submitted(nodes, "l1", cost_s=0.0), submitted(nodes, "l2")
    await_over(nodes, done, "l1")
    for node in nodes.nodes.values():
        node.kill()
    nodes.up_together(*NAMES)
    for job in (done, going):
        told = await_over(nodes, job, "l3")
        assert [task["value"] for task in told["tasks"]] == [number**2 for number in range(TASKS)]


def test_a_node_alone_takes_its_jobs_up_again(nodes: Pool) -> None:
    nodes.up("l1").await_ready()
    job = submitted(nodes, "l1", cost_s=0.3)
    nodes.nodes["l1"].kill()
    nodes.up("l1").await_ready()
    assert await_over(nodes, job, "l1")["state"] == "completed"


def test_of_two_the_survivor_goes_on_and_says_that_nobody_could_fence_it(nodes: Pool) -> None:
    nodes.up_together("l1", "l2")
    job = submitted(nodes, "l1")
    nodes.nodes["l1"].kill()

    def went_on() -> bool:
        """It may be told of as l1 has left it, until l2 is its master."""
        told = nodes.call("job", job, "--json", node="l2").value
        return (told.get("state"), told.get("master"), told.get("unfenced")) == ("completed", "l2", True)

    wait_until(went_on, "l2 has done the job alone", 60)
    assert await_over(nodes, job, "l2")["unfenced"]


def test_a_master_that_leaves_hands_its_jobs_over(nodes: Pool) -> None:
    nodes.up_together(*NAMES)
    job = submitted(nodes, "l1")
    assert nodes.call("down", "l1").code == 0
    told = await_over(nodes, job, "l2")
    assert told["state"] == "completed" and told["master"] != "l1"


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(30))
def test_any_node_may_be_killed_in_the_middle_thirty_times(nodes: Pool, seed: int) -> None:
    """The one that took the job included. From the crash to the first new assignment: the job goes on at once."""
    draws = random.Random(seed)
    nodes.up_together(*NAMES)
    submitter, victim = draws.choice(NAMES), draws.choice(NAMES)
    job = submitted(nodes, submitter, cost_s=0.4)
    threading.Event().wait(draws.uniform(0, 2))  # the moment of the crash is what is drawn
    nodes.nodes[victim].kill()
    witness = draws.choice([name for name in NAMES if name != victim])
    told = await_over(nodes, job, witness)
    assert told["state"] == "completed"
    assert [task["value"] for task in told["tasks"]] == [number**2 for number in range(TASKS)]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(1, 30))])
def test_a_map_that_is_waited_for_is_completed_whichever_node_is_killed_in_its_middle(nodes: Pool, seed: int) -> None:
    """The one that the command talks to, l1, included: another of the user's nodes takes its place."""
    draws = random.Random(seed)
    nodes.up_together(*NAMES, flags=["--slots=1"])
    victim = "l1" if seed == 0 else draws.choice(NAMES)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(mapped, nodes, None, cost_s=1.0)
        wait_until(lambda: nodes.call("jobs", "--json", node="l1").value != [], "l1 has the job")
        threading.Event().wait(draws.uniform(0, 1))  # the moment of the crash is what is drawn
        nodes.nodes[victim].kill()
        told = answer.result().value
    assert told["state"] == "completed", told
    assert [task["value"] for task in told["tasks"]] == [number**2 for number in range(TASKS)]
    assert (told["master"] == "l1") == (victim != "l1")


def test_cancelled_and_forgotten_from_another_node(nodes: Pool) -> None:
    nodes.up_together(*NAMES)
    job = submitted(nodes, "l1", cost_s=60.0)
    assert nodes.call("result", job, node="l2").code == 1
    cancelled = nodes.call("cancel", job, "--json", node="l2").value
    assert cancelled["state"] == "cancelled"
    told = nodes.call("job", job, "--json", node="l3").value
    assert {task["state"] for task in told["tasks"]} == {"cancelled"}
    assert nodes.call("job", "forget", job, node="l3").code == 0
    wait_until(lambda: nodes.call("job", job, node="l1").code == 1, "forgotten at its master", 5)
    assert "no job" in nodes.call("job", job, node="l2").err
    assert nodes.call("history", "--stats", "--json", node="l2").value["states"] == {"cancelled": 1}


def test_what_cannot_run_says_why_it_waits(nodes: Pool) -> None:
    nodes.up_together("l1", "l2", flags=("--slots=0",))
    job = submitted(nodes, "l1", tasks=1)
    (waiting,) = nodes.call("explain", job, "--json", node="l2").value
    assert waiting["task"] == f"{job}/0"
    assert {lack["node"]: lack["what"] for lack in waiting["lacking"]} == dict.fromkeys(("l1", "l2"), "it lends no CPU")


def test_a_durable_job_is_waited_for_and_prints_what_it_printed(nodes: Pool) -> None:
    nodes.up_together(*NAMES)
    done = nodes.call("run", "-c", "print('hello')", "--durable", node="l1")
    assert (done.code, done.out) == (0, "hello\n")
    failed = nodes.call("run", "-c", "raise ValueError('no')", "--durable", node="l1")
    assert failed.code == 1 and "ValueError: no" in failed.err


def listed(nodes: Pool) -> list[str]:
    """States of the jobs that l2 has heard of."""
    return [row["state"] for row in nodes.call("jobs", "--json", node="l2").value]


def test_a_durable_job_is_told_by_another_node_when_the_one_it_was_given_to_is_killed(nodes: Pool) -> None:
    nodes.up_together(*NAMES, flags=["--slots=1"])
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(mapped, nodes, None, "--durable", cost_s=2.0)
        wait_until(lambda: listed(nodes) in (["pending"], ["running"]), "the job is safe")
        nodes.nodes["l1"].kill()
        told = answer.result().value
    assert told.get("state") == "completed" and told["master"] != "l1" and told["epoch"] == 2, told
    assert [task["value"] for task in told["tasks"]] == [number**2 for number in range(TASKS)]


def test_files_of_a_job_come_home_when_its_result_is_asked_for(nodes: Pool) -> None:
    nodes.up("l1").await_ready()
    source = "open('a.txt', 'w').write('A'); open('b.txt', 'w').write('B'); print('done')"
    answered = nodes.call("run", "-c", source, "--output", "*.txt", "--detach", "--json")
    job = answered.value["job"]
    await_over(nodes, job, "l1")
    folder = nodes.folder / "home"
    folder.mkdir()
    told = nodes.call("result", job, "--output", "a*", cwd=folder)
    assert (told.code, told.out) == (0, "done\n")
    assert told.err == "brought home: a.txt\nhas files, too, which --output brings: b.txt\n"
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"a.txt": "A"}


def test_a_confidential_job_is_known_nowhere_else_and_written_nowhere(nodes: Pool) -> None:
    nodes.up_together(*NAMES)
    answered = nodes.call("run", "-c", "print('s3cr3t')", "--detach", "--confidential", "--json", node="l1")
    job = answered.value["job"]
    wait_until(lambda: nodes.call("result", job, node="l1").code == 0, "done where it was submitted")
    nodes.nodes["l1"].kill()
    wait_until(lambda: nodes.call("job", job, node="l2").code == 1, "gone with its node")
    disks: list[Path] = [path for path in nodes.data_dir.rglob("state.db*") if path.is_file()]
    assert disks and not any(b"s3cr3t" in path.read_bytes() or job.encode() in path.read_bytes() for path in disks)


@pytest.mark.parametrize("words", [("job",), ("job", "a", "b"), ("result",), ("cancel", "x", "y"), ("job", "forget")])
def test_a_job_is_named_once(nodes: Pool, words: tuple[str, ...]) -> None:
    nodes.up("l1").await_ready()
    answered = nodes.call(*words, node="l1")
    assert answered.code in (1, 2) and len(answered.err.strip().splitlines()) <= 3
    assert "Traceback" not in answered.err


@pytest.mark.parametrize("verb", ["job", "result", "logs", "cancel", "explain"])
def test_a_job_that_nobody_knows_is_not_found(nodes: Pool, verb: str) -> None:
    nodes.up("l1").await_ready()
    answered = nodes.call(verb, "0123456789abcdef", "--json", node="l1")
    assert answered.code == 1 and answered.value["error"]["kind"] == "NotFound"
