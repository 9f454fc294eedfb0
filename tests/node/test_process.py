"""How a node's process ends."""

from __future__ import annotations

import errno
import signal
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from potluck.node.process import _first_lack, _leave_on_signal


class Leaving:
    def __init__(self) -> None:
        self.leaving = False
        self.started = trio.Event()
        self.started.set()

    def leave(self) -> None:
        self.leaving = True


@pytest.mark.parametrize(
    ("numbers", "at_once"),
    [
        ([signal.SIGTERM], False),
        ([signal.SIGTERM, signal.SIGTERM], True),
        ([signal.SIGHUP, signal.SIGHUP], False),
        ([signal.SIGHUP, signal.SIGINT], True),
    ],
)
def test_who_insists_ends_a_node_at_once_and_a_terminal_that_goes_does_not(numbers: list[int], at_once: bool) -> None:
    async def main() -> None:
        async def asked() -> AsyncIterator[int]:
            for number in numbers:
                yield number

        node, house, scope = Leaving(), SimpleNamespace(following="the next"), trio.CancelScope()
        await _leave_on_signal(cast(Any, node), cast(Any, house), asked(), scope)
        assert node.leaving and house.following is None
        assert scope.cancel_called == at_once

    trio.run(main)


def test_a_node_that_may_open_no_more_files_tells_just_that() -> None:
    lack = OSError(errno.EMFILE, "Too many open files")
    only = BaseExceptionGroup("all", [ExceptionGroup("inner", [lack, OSError(errno.ENFILE, "the system's")])])
    assert _first_lack(only) is lack
    assert _first_lack(BaseExceptionGroup("all", [lack, KeyError("a fault of ours")])) is None
