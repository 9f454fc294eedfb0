"""What a boundary lets pass, and what it makes of the rest."""

from __future__ import annotations

import logging

import pytest
import trio
from potluck.overlay.boundary import Boundary, log
from potluck.overlay.errors import InternalError, LinkLost, LocalProtocolError, NotFound, PotluckError


class Told:
    def __init__(self) -> None:
        self.faults: list[tuple[str, Exception]] = []

    def __call__(self, what: str, fault: Exception) -> None:
        self.faults.append((what, fault))


def test_what_is_expected_passes_untold() -> None:
    told = Told()
    with pytest.raises(NotFound), Boundary("a question", told, PotluckError):
        raise NotFound("no such thing")
    assert not told.faults


@pytest.mark.parametrize(
    "fault", [KeyError("k"), AssertionError(), LinkLost("of another kind"), LocalProtocolError("too long")]
)
def test_every_other_error_is_a_fault_of_ours(fault: Exception) -> None:
    told = Told()
    with pytest.raises(InternalError, match=type(fault).__name__), Boundary("a question", told, NotFound):
        raise fault
    assert told.faults == [("a question", fault)]


def test_we_break_the_protocol_ourselves_by_a_fault_alone() -> None:
    told = Told()
    with pytest.raises(InternalError), Boundary("a question", told, PotluckError):
        raise LocalProtocolError("an answer that is too long")
    assert len(told.faults) == 1


def test_what_ends_a_task_or_a_process_passes() -> None:
    told = Told()

    async def main() -> None:
        with trio.CancelScope() as scope, Boundary("a question", told):
            scope.cancel()
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught

    trio.run(main)
    with pytest.raises(KeyboardInterrupt), Boundary("a question", told):
        raise KeyboardInterrupt
    assert not told.faults


@pytest.mark.faulty
def test_a_fault_is_logged_with_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(InternalError), Boundary("a question", log):
        raise KeyError("k")
    assert "a question has failed" in caplog.text
    assert "Traceback" in caplog.text
    assert 'KeyError("k")' in caplog.text
