"""Moving processes elsewhere, while they come and go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import trio
import trio.testing
from potluck.node.processes.service import ProcessTable
from potluck.overlay.wire.processes import Acted, ActOnProcesses

GUEST = b"g" * 20


def test_a_process_that_has_gone_before_its_turn_is_not_among_the_moved() -> None:
    tasks = {
        number: SimpleNamespace(job=SimpleNamespace(whose=GUEST), process=SimpleNamespace(number=number))
        for number in (4, 5, 6)
    }
    said: list[Any] = []

    async def move(task: Any, to: str) -> None:
        await trio.lowlevel.checkpoint()
        tasks.pop(task.process.number)  # handed back at once
        tasks.pop(6, None)  # ends meanwhile

    async def send(message: Any) -> None:
        said.append(message)

    async def guarded(work: Any, *args: object) -> None:
        await work(*args)

    async def main() -> None:
        own: Any = SimpleNamespace(name="n", owner_id=b"o" * 20, node_id=b"n" * 20)
        execution: Any = SimpleNamespace(processes=tasks)
        links: Any = SimpleNamespace(on=lambda *_: None)
        moving: Any = SimpleNamespace(move=move)
        table = ProcessTable(own, execution, links, None, moving)  # type: ignore[arg-type]
        link: Any = SimpleNamespace(peer=SimpleNamespace(owner_id=GUEST), send=send, guarded=guarded)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(table.run)
            await trio.testing.wait_all_tasks_blocked()
            table._asked(link, ActOnProcesses(1, "migrate", [4, 5, 5, 6], to="b"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert said == [Acted(1, numbers=[4, 5])]
