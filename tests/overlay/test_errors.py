"""The tree of errors and its numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay import errors
from potluck.overlay.errors import BY_WIRE_CODE, NotFound, PotluckError, Unavailable, from_wire, reason


def tree(base: type[PotluckError]) -> list[type[PotluckError]]:
    below = [cls for cls in base.__subclasses__() if cls.__module__ == errors.__name__]
    return [one for cls in below for one in (cls, *tree(cls))]


every_error = pytest.mark.parametrize("cls", tree(PotluckError), ids=lambda cls: cls.__name__)


@every_error
def test_an_error_comes_back_from_the_wire_as_itself(cls: type[PotluckError]) -> None:
    error = from_wire(cls("why").wire_code, "why")
    assert type(error) is cls
    assert str(error) == "why"
    assert error.kind == cls.__name__
    assert from_wire(cls.wire_code, "").kind == cls.__name__


@every_error
def test_the_tree_in_the_documentation_is_the_tree(cls: type[PotluckError]) -> None:
    lines = [line for line in (errors.__doc__ or "").splitlines() if line.strip("├└│─ ").split(" ")[0] == cls.__name__]
    assert len(lines) == 1
    depth = len(cls.__mro__) - len(PotluckError.__mro__)
    assert lines[0].index(cls.__name__) == 4 * depth


def test_numbers_are_unique_positive_and_complete() -> None:
    codes = [cls.wire_code for cls in tree(PotluckError)]
    assert len(set(codes)) == len(codes) == len(BY_WIRE_CODE)
    assert min(codes) > 0


def test_numbers_are_permanent() -> None:
    assert {cls.__name__: cls.wire_code for cls in tree(PotluckError)}.items() >= {
        "UsageError": 1,
        "ConfigError": 2,
        "LocalProtocolError": 3,
        "RemoteProtocolError": 4,
        "Unavailable": 10,
        "LinkLost": 11,
        "DeadlineExceeded": 12,
        "NoWorker": 13,
        "NotLent": 16,
        "NoNode": 14,
        "Syncing": 15,
        "Refused": 20,
        "QuotaExceeded": 21,
        "OutOfMemory": 22,
        "LimitExceeded": 23,
        "WouldDeadlock": 24,
        "NotAllowed": 25,
        "SandboxUnavailable": 26,
        "NameInUse": 27,
        "NotFound": 30,
        "Conflict": 31,
        "BadProgram": 40,
        "TaskFailed": 41,
        "TaskTimedOut": 42,
        "Cancelled": 43,
        "WorkerLost": 44,
        "ResultNotEncodable": 45,
    }.items()


@given(code=st.integers(0, 1 << 53).filter(lambda code: code not in BY_WIRE_CODE), message=st.text())
def test_a_number_of_a_later_version_means_try_again(code: int, message: str) -> None:
    error = from_wire(code, message)
    assert type(error) is Unavailable
    assert str(error) == message


def test_the_base_is_never_raised_itself() -> None:
    with pytest.raises(TypeError):
        PotluckError("x")


@given(faults=st.lists(st.text(min_size=1), min_size=1))
def test_a_config_error_names_every_fault(faults: list[str]) -> None:
    error = errors.ConfigError(faults)
    assert error.faults == tuple(faults)
    assert all(fault in str(error) for fault in faults)


def test_a_person_is_told_the_interruption_or_our_error_and_no_other_fault_is_hidden() -> None:
    ours, other = NotFound("x"), ValueError("y")
    interrupted = BaseExceptionGroup("", [ExceptionGroup("", [other, ours]), KeyboardInterrupt()])
    assert isinstance(reason(interrupted), KeyboardInterrupt)
    assert reason(ExceptionGroup("", [ExceptionGroup("", [other, ours])])) is ours
    group = ExceptionGroup("", [other])
    assert reason(group) is group
