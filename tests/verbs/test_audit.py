"""A node's audit log, read by anybody, and what becomes of one that its own machine rewrites."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from potluck.overlay.errors import Cancelled
from potluck.overlay.wire.audit import digest_of, encode, entry_in

from .mesh import Mesh, mesh

pytestmark = pytest.mark.processes


@contextlib.contextmanager
def database(made: Mesh, name: str) -> Iterator[sqlite3.Connection]:
    (file,) = (made.folder / "data" / "nodes").glob(f"*-{name}/state.db")
    with contextlib.closing(sqlite3.connect(file)) as opened, opened:
        yield opened


def rewritten(opened: sqlite3.Connection, number: int) -> None:
    """The job of one entry is another, and every digest after it is computed anew."""
    rows = opened.execute("SELECT key, value FROM entries WHERE name = 'audit' ORDER BY key").fetchall()
    previous = None
    for key, value in rows:
        entry = entry_in(value)
        if entry.number == number:
            entry = msgspec.structs.replace(entry, job="something harmless")
        if previous is not None:
            entry = msgspec.structs.replace(entry, previous=previous)
        encoded = encode(entry)
        previous = digest_of(encoded)
        opened.execute("UPDATE entries SET value = ? WHERE name = 'audit' AND key = ?", (encoded, key))
    state = msgspec.msgpack.decode(opened.execute("SELECT value FROM entries WHERE name = 'audit state'").fetchone()[0])
    state[1] = previous
    opened.execute("UPDATE entries SET value = ? WHERE name = 'audit state'", (msgspec.msgpack.encode(state),))


def run_on(made: Mesh, name: str, source: str) -> str:
    job = made.json("run", "--node", "ant", "--on", name, "-c", source)["job"]
    made.json("audit", "--node", name)  # written down, and its head told
    assert isinstance(job, str)
    return job


def test_a_log_is_read_by_anybody_and_a_rewritten_one_is_found(tmp_path: Path) -> None:
    with mesh(tmp_path, ["ant", "bee", "cow"]) as made:
        jobs = [run_on(made, "bee", f"print({n})") for n in range(3)]
        found = made.json("audit", "bee", "--node", "cow")
        assert (found["node"], found["entries"], found["held"], found["broken"]) == ("bee", 3, True, None)
        assert [entry["job"] for entry in found["log"]] == jobs
        assert {keeper["node"] for keeper in found["witnesses"]} >= {"ant", "cow"}
        (task,) = found["log"][0]["tasks"]
        assert (task["task"], task["code"], len(task["result_sha256"])) == (f"{jobs[0]}/0", 0, 64)
        assert "all as they were" in made.type("audit", "bee", "--node", "cow").err
        made.nodes["bee"].ask_to_leave()
        made.nodes["bee"].stop()
        with database(made, "bee") as opened:
            rewritten(opened, 2)
        made.up("bee")
        made.await_seen("bee", by="cow"), made.await_seen("bee", by="ant")
        said = made.type("audit", "bee", "--node", "cow", "--json")
        assert said.code == 1
        assert (said.json["held"], said.json["broken"]["first"], said.json["broken"]["last"]) == (False, 2, 2)
        assert "the log was changed at entry 2" in made.type("audit", "bee", "--node", "ant").err


def test_what_ran_for_a_program_that_was_killed_is_in_the_log_unless_it_is_confidential(tmp_path: Path) -> None:
    nap = ("run", "--node", "ant", "-c", "import time; time.sleep(600)")
    with mesh(tmp_path, ["ant"]) as made:
        for more in ((), ("--confidential",)):
            with made.begin(*nap, *more) as program:
                made.await_processes("ant", "RUNNING")
                program.kill()
            made.await_processes("ant")
        (entry,) = made.json("audit", "--node", "ant")["log"]
        assert [task["code"] for task in entry["tasks"]] == [Cancelled.wire_code]


def test_confidential_work_leaves_no_trace_that_others_keep(tmp_path: Path) -> None:
    with mesh(tmp_path, ["ant", "bee"]) as made:
        made.json("run", "--node", "ant", "--confidential", "-c", "print(1)")
        made.json("run", "--node", "ant", "--on", "ant", "-c", "print(2)")
        assert made.json("audit", "--node", "ant")["entries"] == 1
