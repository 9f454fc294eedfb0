"""A machine gives way to its owner: at once, and without a try used up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .harness import Pool, wait_until

LONG_AGO_S = 1_000.0
RULES = ("--only-when-idle=1", "--idle-cpus=1000", "--lend-grace=2")
"""How busy the machine is that the tests run on is no matter."""


def states(nodes: Pool, node: str) -> list[str]:
    return [row["state"] for row in nodes.call("ps", "--json", node=node).value]


@contextmanager
def typing_on(keyboard: Path) -> Iterator[None]:
    over = threading.Event()

    def type_on() -> None:
        while not over.wait(0.1):
            keyboard.touch()

    owner = threading.Thread(target=type_on)
    owner.start()
    try:
        yield
    finally:
        over.set()
        owner.join()


def lending(nodes: Pool, node: str) -> dict[str, Any]:
    told: dict[str, Any] = nodes.call("lend", "--show", "--json", node=node).value
    return told


def test_tasks_stand_still_when_the_owner_returns_and_go_back_after_the_grace(nodes: Pool, tmp_path: Path) -> None:
    keyboard = tmp_path / "keyboard"
    keyboard.touch()
    os.utime(keyboard, (time.time() - LONG_AGO_S,) * 2)  # noqa: TID251
    nodes.up("lends", *RULES, f"--idle-device={keyboard}").await_ready()
    nodes.up("asks", "--slots=0").await_ready()
    nodes.await_members("lends", "asks")
    wait_until(lambda: lending(nodes, "lends")["lends"], "its owner has been away for long enough")
    submitted = ("run", "-c", "import time; time.sleep(600)", "--retries", "0", "--detach", "--json")
    job = nodes.call(*submitted, node="asks").value["job"]
    wait_until(lambda: states(nodes, "lends") == ["RUNNING"], "it runs")

    with typing_on(keyboard):
        wait_until(lambda: states(nodes, "lends") in (["SUSPENDED"], []), "it stands still")
        wait_until(lambda: states(nodes, "lends") == [], "it has gone back")
        (waiting,) = nodes.call("explain", job, "--json", node="asks").value
        assert {one["node"]: one["what"] for one in waiting["lacking"]}["lends"] == "its owner is using it"
    wait_until(lambda: states(nodes, "lends") == ["RUNNING"], "it has begun anew, without a retry")
    assert nodes.call("cancel", job, node="asks").code == 0


def test_a_pause_outlasts_a_restart_and_what_its_owner_starts_there_goes_on(nodes: Pool) -> None:
    nodes.up_together("lends", "asks")
    assert nodes.call("pause", "--json", node="lends").value["reason"] == "its owner has paused lending"

    def ran_on(node: str) -> set[str]:
        tasks = nodes.call("run", "-c", "1", "--json", node=node).value["tasks"]
        return {task["node"] for task in tasks}

    wait_until(lambda: _closed(nodes, "asks") == {"lends"}, "the others know")
    assert {node for _ in range(4) for node in ran_on("asks")} == {"asks"}
    assert ran_on("lends") <= {"asks", "lends"}
    nodes.nodes["lends"].interrupt()
    nodes.nodes["lends"].process.wait(30)
    nodes.up("lends").await_ready()
    assert lending(nodes, "lends")["paused"]
    assert nodes.call("run", "-c", "1", "--on", "lends", node="lends").code == 0
    assert nodes.call("lend", "--json", node="lends").value["lends"]
    wait_until(lambda: not _closed(nodes, "asks"), "the others know again")
    assert nodes.call("run", "-c", "1", "--on", "lends", node="asks").code == 0


def _closed(nodes: Pool, node: str) -> set[str]:
    return {row["name"] for row in nodes.call("peers", "--json", node=node).value if row["load"]["closed"]}


def test_hours_that_make_no_sense_are_refused(nodes: Pool) -> None:
    refused = nodes.call("up", "--lend-hours", "at night")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "22:00-07:00" in refused.err
