"""Exceptions come home as themselves, without importing or running anything for it."""

from __future__ import annotations

import builtins
import dataclasses
import enum
import json
import pickle  # noqa: TID251  what comes home from own machines may be one
import subprocess
import sys
import traceback
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.client.outcomes import CancelledWhileRunning, RemoteTraceback, exception_of, value_of, with_source_lines
from potluck.node.inside.reports import fault_of
from potluck.overlay.errors import BadProgram, ResultNotEncodable, TaskFailed, TaskTimedOut, WorkerLost
from potluck.overlay.wire import values
from potluck.overlay.wire.work import Fault, Inline

BUILTINS = sorted(
    name
    for name, cls in vars(builtins).items()
    if isinstance(cls, type) and issubclass(cls, Exception) and not issubclass(cls, BaseExceptionGroup)
)
PLAIN = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)


class OwnError(Exception):
    def __init__(self, code: int, *, strict: bool) -> None:
        super().__init__(code)
        self.strict = strict


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Exits(Exception):
    def __init__(self, *arguments: object) -> None:
        if not arguments:
            sys.exit("it takes one")


class Falsy(Exception):
    def __bool__(self) -> bool:
        return False


class NeverPrints(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


def fault(name: str, *args: object, message: str = "a message") -> Fault:
    return Fault(TaskFailed.wire_code, message, name, "Traceback (there)\n  boom\n", values.encode_bytes(args))


@given(st.sampled_from(BUILTINS), st.lists(PLAIN, max_size=3))
def test_a_builtin_exception_is_itself_with_its_arguments(name: str, arguments: list[object]) -> None:
    error = exception_of(fault(f"builtins.{name}", *arguments))
    assert type(error) is getattr(builtins, name) or isinstance(error, OSError)
    try:
        expected = getattr(builtins, name)(*arguments)
    except TypeError:
        return
    assert error.args == expected.args
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "boom" in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "name",
    ["", "x", "builtins.KeyboardInterrupt", "builtins.SystemExit", "builtins.print", "os.path.join", "nowhere.Error"],
)
def test_what_is_no_exception_of_ours_becomes_task_failed(name: str) -> None:
    error = exception_of(fault(name, "boom"))
    assert type(error) is TaskFailed
    assert error.exception_type == name
    assert error.remote_traceback.startswith("Traceback (there)")


def test_nothing_is_imported_for_an_exception() -> None:
    assert "xml.sax" not in sys.modules
    assert type(exception_of(fault("xml.sax.SAXException", "boom"))) is TaskFailed
    assert "xml.sax" not in sys.modules


def test_a_class_already_here_is_used_even_with_a_constructor_of_its_own() -> None:
    error = exception_of(fault(f"{__name__}.OwnError", 7))
    assert type(error) is OwnError
    assert error.args == (7,)
    failed = exception_of(fault("subprocess.CalledProcessError", 3, ["false"]))
    assert isinstance(failed, subprocess.CalledProcessError)
    broken = exception_of(fault("json.decoder.JSONDecodeError", "no JSON: line 1", message="no JSON"))
    assert isinstance(broken, json.JSONDecodeError)


def test_attributes_and_notes_come_home() -> None:
    told = OwnError(7, strict=True)
    told.add_note("seen on a rainy day")
    error = exception_of(fault_of(told))
    assert isinstance(error, OwnError)
    assert (error.args, error.strict) == ((7,), True)
    assert "seen on a rainy day" in "".join(traceback.format_exception(error))


def test_a_group_is_rebuilt_from_its_parts_and_what_is_not_here_is_task_failed() -> None:
    elsewhere = type("Elsewhere", (Exception,), {"__module__": "nowhere"})
    told = ExceptionGroup("several", [KeyError("k"), ExceptionGroup("inner", [OSError(2, "gone")]), elsewhere("?")])
    error = exception_of(fault_of(told))
    assert isinstance(error, ExceptionGroup)
    assert error.message == "several"
    key, inner, unknown = error.exceptions
    assert key.args == ("k",)
    assert isinstance(inner, ExceptionGroup) and isinstance(inner.exceptions[0], FileNotFoundError)
    assert isinstance(unknown, TaskFailed) and unknown.exception_type == "nowhere.Elsewhere"


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_only_an_own_machine_may_end_the_program(ending: BaseException) -> None:
    assert type(exception_of(fault_of(ending))) is TaskFailed
    error = exception_of(fault_of(ending), trusted=True)
    assert type(error) is type(ending)
    assert error.args == ending.args


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_state_that_does_not_parse_is_left_out(arguments: bytes, state: bytes) -> None:
    error = exception_of(Fault(TaskFailed.wire_code, "boom", "builtins.ValueError", "there", arguments, state))
    assert isinstance(error, ValueError)


def test_an_exception_that_cannot_be_printed_becomes_task_failed() -> None:
    assert type(exception_of(fault(f"{__name__}.NeverPrints"))) is TaskFailed


def test_an_exception_that_may_not_be_assigned_to_has_its_cause_all_the_same() -> None:
    error = exception_of(fault(f"{__name__}.Frozen", 3))
    assert (type(error), error.code) == (Frozen, 3)  # type: ignore[attr-defined]
    assert isinstance(error.__cause__, RemoteTraceback)


def test_a_constructor_that_exits_ends_nobody() -> None:
    assert type(exception_of(fault(f"{__name__}.Exits"))) is TaskFailed


def test_an_exception_that_counts_as_false_is_itself() -> None:
    assert type(exception_of(fault(f"{__name__}.Falsy"))) is Falsy
    group = exception_of(fault_of(ExceptionGroup("two", [Falsy(), ValueError(1)])))
    assert isinstance(group, ExceptionGroup)
    assert [type(one) for one in group.exceptions] == [Falsy, ValueError]


def test_arguments_that_are_no_data_leave_the_message() -> None:
    error = exception_of(Fault(TaskFailed.wire_code, "object at 0x7f", "builtins.ValueError", "there"))
    assert type(error) is ValueError
    assert error.args == ("object at 0x7f",)


def test_the_message_in_their_place_does_not_say_the_class_twice() -> None:
    told = Fault(TaskFailed.wire_code, "ValueError: of what is no data", "builtins.ValueError")
    error = exception_of(told)
    assert (type(error), str(error)) == (ValueError, "of what is no data")


@pytest.mark.parametrize("cls", [WorkerLost, TaskTimedOut, BadProgram])
def test_errors_of_ours_are_themselves(cls: type[Exception]) -> None:
    error = exception_of(Fault(cls.wire_code, "so it was"))  # type: ignore[attr-defined]
    assert type(error) is cls
    assert str(error) == "so it was"


def test_a_cancelled_one_is_caught_by_both_names() -> None:
    error = exception_of(Fault(43, ""))
    assert isinstance(error, CancelledWhileRunning)
    assert error.kind == "Cancelled"


class EndsItAll:
    def __reduce__(self) -> Any:
        return sys.exit, (1,)


def test_a_result_whose_own_code_exits_is_an_error_of_that_task() -> None:
    with pytest.raises(ResultNotEncodable, match="SystemExit"):
        value_of(Inline(pickle.dumps(EndsItAll())), pickled=True, trusted=True)


@given(st.binary(max_size=50))
def test_a_trusted_pickle_that_does_not_open_says_so(data: bytes) -> None:
    try:
        value_of(Inline(data), pickled=True, trusted=True)
    except Exception as error:  # noqa: BLE001
        assert type(error).__name__ == "ResultNotEncodable"


def test_a_remote_traceback_shows_the_lines_of_files_that_are_here() -> None:
    here = OwnError.__init__.__code__.co_firstlineno
    text = (
        f'Traceback (most recent call last):\n  File "{__file__}", line {here}, in f\n'
        '  File "/nowhere.py", line 3, in g\n    their_line()\nKeyError: 1\n'
    )
    shown = with_source_lines(text).splitlines()
    assert shown[2] == "    def __init__(self, code: int, *, strict: bool) -> None:"
    assert [line for line in shown if line not in shown[2:3]] == text.splitlines()


@given(st.text())
def test_any_text_may_stand_for_a_traceback(text: str) -> None:
    assert with_source_lines(text).count("\n") >= 0


class Answer(enum.Enum):
    RETRY = 1


class Refused(Exception):
    """Says something else than what it is made from."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("refused")
        self.answer = answer


class Ending(BaseException):
    pass


def of_own_machine(error: BaseException) -> BaseException:
    return exception_of(fault_of(error, may_pickle=True), trusted=True)


def test_an_exception_of_an_own_machine_is_the_very_one() -> None:
    error = of_own_machine(Refused(Answer.RETRY))
    assert (type(error), error.args) == (Refused, ("refused",))
    assert error.answer is Answer.RETRY  # type: ignore[attr-defined]
    assert type(of_own_machine(Ending("its own kind of end"))) is Ending
    group = of_own_machine(ExceptionGroup("many", [Refused(Answer.RETRY)] * 100))
    assert isinstance(group, ExceptionGroup)
    assert len(group.exceptions) == 100
    late = of_own_machine(TaskTimedOut("of a task of this one"))
    assert type(late) is TaskTimedOut


@pytest.mark.parametrize("error", [ValueError("plain", 3), KeyError("k"), TaskFailed("of another")], ids=repr)
def test_what_its_description_says_whole_is_not_pickled(error: BaseException) -> None:
    assert not fault_of(error, may_pickle=True).exception_pickle


def test_an_exception_of_anybody_else_is_never_opened() -> None:
    error = fault_of(Refused(Answer.RETRY), may_pickle=True)
    assert error.exception_pickle
    assert getattr(exception_of(error), "answer", None) is not Answer.RETRY
    assert not fault_of(Refused(Answer.RETRY)).exception_pickle


@given(st.binary(max_size=100))
def test_a_pickle_that_does_not_open_leaves_the_description(data: bytes) -> None:
    said = msgspec.structs.replace(fault("builtins.ValueError", 1), exception_pickle=data)
    assert repr(exception_of(said, trusted=True)) == "ValueError(1)"
