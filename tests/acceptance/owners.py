"""Machines of several owners, each with a data directory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .harness import NodeProcess, Pool, pool, wait_until


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Pool]]:
    """Of three owners."""
    with ExitStack() as stack:
        yield [stack.enter_context(pool(tmp_path / name)) for name in ("one", "two", "three")]


def up(machine: Pool, name: str, *flags: str) -> NodeProcess:
    node = machine.up(name, "--slots=1", *flags)
    node.await_ready()
    return node


def let_in(inviter: Pool, machine: Pool, *flags: str) -> None:
    code = inviter.call("invite", "--json", *flags).value["code"]
    assert machine.call("join", "--interface", "127.0.0.1", code).code == 0


def alive(machine: Pool) -> set[str]:
    answer = machine.call("peers", "--json")
    return {row["name"] for row in answer.value if row["state"] == "alive"} if answer.code == 0 else set()


def await_alive(machine: Pool, *names: str) -> None:
    wait_until(lambda: alive(machine) == set(names), f"{names} see each other")
