"""The processes of one node or of all, as verbs show them and act on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from ..client.connection import Connection
from ..node.processes.types import ProcessType
from ..overlay.errors import Conflict, NotFound, PotluckError, RemoteProtocolError, UsageError, from_wire
from ..overlay.wire.control import AskPeers
from ..overlay.wire.processes import ACTED_MAX, ActOnProcesses, AskProcesses, Processes
from .answer import Answer, Session
from .asking import ask, ask_json, connected
from .rendering import duration_text, size_text, table

ROUNDS_MAX: Final = 5
"""A tree may grow while it is being stopped."""


class Row(Struct, gc=False):
    """A process as it is shown, and printed as JSON."""

    pid: str
    parent: str | None
    group: str
    owner: str
    type: str
    state: str
    priority: int
    job: str
    task: str
    created_s: float
    cpu_s: float
    memory: int | None
    memory_most: int | None
    network_bytes: int | None
    ran_s: float
    wait_s: float
    turnaround_s: float
    switches: int
    checkpoint: int
    ended: str | None


_HEADINGS: Final = ("PID", "", "STATE", "PRIORITY", "OWNER", "TASK", "CPU", "MEMORY", "WAITED", "AGE")


class Seen(msgspec.Struct, frozen=True):
    """`silent`: nodes that did not answer, and why."""

    rows: list[Row]
    silent: dict[str, str]

    @property
    def notes(self) -> str:
        return "\n".join(f"{name} did not answer: {why}" for name, why in self.silent.items())


def seen(connection: Connection, *, everywhere: bool, ended: bool = False) -> Seen:
    """`ended`: also those that are over, as far as nodes remember them."""
    here = connection.node_name
    names = [here]
    if everywhere:
        peers: list[dict[str, Any]] = ask_json(connection, AskPeers)
        names = [here, *(one["name"] for one in peers if one["state"] == "alive" and not one["self"])]
    rows: list[Row] = []
    silent: dict[str, str] = {}
    for name in names:
        try:
            rows += _rows_of(connection, name, ended)
        except PotluckError as error:
            silent[name] = str(error)
    pids = {row.task: row.pid for row in reversed(rows)}
    for row in rows:
        row.parent = pids.get(row.parent or "", row.parent or None)
    return Seen(rows, silent)


def _rows_of(connection: Connection, node: str, ended: bool) -> list[Row]:
    """Those that are there come first."""
    rows = _pages(connection, node, ended=False)
    return [*rows, *_pages(connection, node, ended=True)] if ended else rows


def _pages(connection: Connection, node: str, *, ended: bool) -> list[Row]:
    first = 0
    rows: list[Row] = []
    while True:
        said = ask(connection, AskProcesses, node, first, ended)
        if said.code:
            raise from_wire(said.code, said.reason)
        rows += rows_of(node, said)
        first = said.more
        if not first:
            return rows


def rows_of(node: str, page: Processes) -> Iterator[Row]:
    for line in page.lines:
        try:
            of = page.jobs[line.job]
        except IndexError:
            raise RemoteProtocolError("a process of a job that is not named") from None
        yield Row(
            f"{node}/{line.number}",
            of.parent,
            of.group,
            of.owner,
            of.type,
            line.state,
            line.priority,
            of.job,
            f"{of.job}/{line.index}",
            line.created_s,
            line.ran_s if line.cpu_s is None else line.cpu_s,
            line.memory_bytes,
            line.memory_most_bytes,
            of.network_bytes,
            line.ran_s,
            line.wait_s,
            line.turnaround_s,
            line.stops,
            line.checkpoint,
            line.how or None,
        )


def shown(rows: Sequence[Row], *, emoji: bool) -> str:
    return table(_HEADINGS, [_cells(row, emoji) for row in rows]) if rows else "no processes"


def icon(row: Row, *, emoji: bool) -> str:
    try:
        return ProcessType(row.type).icon if emoji else row.type
    except ValueError:  # of a later version
        return "?" if emoji else row.type


def _cells(row: Row, emoji: bool) -> tuple[str, ...]:
    state = row.state if row.ended in (None, "completed") else row.ended
    what = (row.pid, icon(row, emoji=emoji), state, str(row.priority), row.owner, row.task)
    memory = "" if row.memory is None else size_text(row.memory)
    times = (duration_text(getattr(row, what)) for what in ("wait_s", "turnaround_s"))
    return (*what, duration_text(row.cpu_s), memory, *times)


def act(session: Session, act: str, pid: str, *, tree: bool, group: bool) -> Answer:
    """On one process, on all that have come from it, or on all of its job, wherever they are."""
    _parsed(pid)
    if tree and group:
        raise UsageError("give either --tree or --group")
    with connected(session) as connection:
        acted = _on_many(connection, act, pid, tree=tree) if tree or group else _on(connection, act, [pid])
        if not acted:
            raise _why_nothing(connection, act, pid)
    return Answer({"acted": acted}, "\n".join(acted))


def _why_nothing(connection: Connection, act: str, pid: str) -> NotFound | Conflict:
    states = {row.pid: row.state for row in seen(connection, everywhere=True).rows}
    if pid not in states:
        return NotFound(f"no process {pid} to {act}")
    return Conflict(f"process {pid} is {states[pid]}: there is nothing to {act}")


def move(session: Session, pid: str, to: str) -> Answer:
    node, number = _parsed(pid)
    with connected(session) as connection:
        said = ask(connection, ActOnProcesses, "migrate", [number], node, to)
    if said.code:
        raise from_wire(said.code, said.reason)
    if not said.numbers:
        raise NotFound(f"no process {pid}: it has ended, or there never was one")
    return Answer({"pid": pid, "node": to}, f"{pid} goes on at {to}")


def _parsed(pid: str) -> tuple[str, int]:
    """Raises UsageError."""
    node, slash, number = pid.rpartition("/")
    if not slash or not node or not (number.isascii() and number.isdecimal()) or len(number) > 15:
        raise UsageError(f"{pid!r} is no process: write NODE/NUMBER, as `potluck ps` does")
    return node, int(number)


def _on_many(connection: Connection, act: str, pid: str, *, tree: bool) -> list[str]:
    acted: list[str] = []
    group: str | None = None
    for _ in range(ROUNDS_MAX):
        rows = seen(connection, everywhere=True).rows
        known = {row.pid: row for row in rows}
        if group is None:
            if pid not in known:
                raise NotFound(f"no process {pid}")
            group = known[pid].group
        of_group = [row for row in rows if row.group == group]
        wanted = _tree(of_group, {pid, *acted}) if tree else [row.pid for row in of_group]
        more = _on(connection, act, [one for one in wanted if one not in acted])
        if not more:
            break
        acted += more
    return acted


def _tree(rows: Sequence[Row], roots: set[str]) -> list[str]:
    """Parents before their children, so that they submit no more."""
    found = [row.pid for row in rows if row.pid in roots]
    members = set(roots)
    while more := [row.pid for row in rows if row.parent in members and row.pid not in members]:
        found += more
        members.update(more)
    return found


def _on(connection: Connection, act: str, pids: Sequence[str]) -> list[str]:
    by_node: dict[str, list[int]] = {}
    for pid in pids:
        node, number = _parsed(pid)
        by_node.setdefault(node, []).append(number)
    acted: list[str] = []
    for node, numbers in by_node.items():
        for first in range(0, len(numbers), ACTED_MAX):
            said = ask(connection, ActOnProcesses, act, numbers[first : first + ACTED_MAX], node)
            if said.code:
                raise from_wire(said.code, said.reason)
            acted += (f"{node}/{number}" for number in said.numbers)
    return acted
