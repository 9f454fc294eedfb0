"""The program inside a sandbox: every form of program, and every way in which user code can end."""

from __future__ import annotations

import ast
import pickle  # noqa: TID251 (opens what a worker of this test has made)
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import potluck.node.execution
import pytest
import trio
from potluck.node.sandboxes.bare import BareSandbox
from potluck.overlay.errors import BadProgram, LimitExceeded, ResultNotEncodable, TaskFailed
from potluck.overlay.wire import values
from potluck.overlay.wire.setting import Setting, encoded, files_in
from potluck.overlay.wire.work import Fault, Inline
from potluck.overlay.wire.worker import LoadProgram, NodeAnswer, NodeCall, RunTask, TaskFinished

from ..sandboxes.sandbox_suite import DEADLINE_S, Talk, call, function


class Session:
    """A worker of this test, driven step by step."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self._numbers = iter(range(1, 1_000))
        self._printed = [0, 0]
        self.stdout = b""
        self.stderr = b""

    async def run(self, message: LoadProgram, arguments: Inline, *, may_pickle: bool = False) -> TaskFinished:
        number = next(self._numbers)
        load = LoadProgram(number, message.form, message.body, message.entry, message.file_name)
        await self.talk.give(load, RunTask(number, number, arguments, may_pickle))
        finished = await self.talk.finished()
        assert finished.task == number
        ends = finished.stdout_end, finished.stderr_end
        self.stdout, self.stderr = (self.talk.process.read_output(stream) for stream in (1, 2))
        assert ends == (self._printed[0] + len(self.stdout), self._printed[1] + len(self.stderr))
        self._printed = list(ends)
        return finished

    async def value_of(self, source: str, *arguments: object) -> object:
        finished = await self.run(function("task", source), call(*arguments))
        assert finished.fault is None, finished.fault
        assert finished.value is not None
        return values.decode(finished.value)

    async def fault_of(self, source: str, *arguments: object, may_pickle: bool = False) -> Fault:
        finished = await self.run(function("task", source), call(*arguments), may_pickle=may_pickle)
        assert finished.fault is not None and finished.value is None
        return finished.fault

    async def script(self, source: str, *argv: str) -> TaskFinished:
        return await self.run(
            LoadProgram(0, "script", Inline(source.encode()), "", "job.py"), values.encode(list(argv))
        )

    async def callable(self, function: Callable[..., object], *args: object, may_pickle: bool = False) -> TaskFinished:
        buffers: list[Any] = []
        data = cloudpickle.dumps((args, {}), protocol=5, buffer_callback=buffers.append)
        arguments = Inline(data, [bytes(buffer.raw()) for buffer in buffers])
        body = Inline(cloudpickle.dumps(function))
        return await self.run(LoadProgram(0, "callable", body), arguments, may_pickle=may_pickle)


Play = Callable[[Session], Awaitable[None]]


def worker(play: Play) -> Callable[[], None]:
    """Makes a test of a coroutine that plays with a fresh worker."""

    def test() -> None:
        async def main() -> None:
            with trio.fail_after(DEADLINE_S):
                process = await BareSandbox().start()
                try:
                    await play(Session(Talk(process)))
                finally:
                    await process.kill()

        trio.run(main)

    test.__name__, test.__doc__ = play.__name__, play.__doc__
    return test


@worker
async def test_a_callable_gets_positional_and_named_arguments(session: Session) -> None:
    finished = await session.callable(lambda x, y=2: [x, y], 1)
    assert finished.value is not None and values.decode(finished.value) == [1, 2]


@worker
async def test_arrays_among_the_arguments_can_be_written_to(session: Session) -> None:
    numpy = pytest.importorskip("numpy")

    def double(array: Any) -> Any:
        array *= 2
        return array

    finished = await session.callable(double, numpy.ones(100_000))
    assert finished.fault is None and finished.value is not None
    assert len(finished.value.buffers) == 1
    assert (values.decode(finished.value) == 2).all()


@worker
async def test_a_function_runs_in_a_module_executed_once_per_program(session: Session) -> None:
    load = function("task", "runs = []\ndef task():\n    runs.append(__name__)\n    return runs")
    await session.talk.give(load, RunTask(1, 1, call()), RunTask(2, 1, call()))
    assert await session.talk.value() == ["job"]
    assert await session.talk.value() == ["job", "job"]


@worker
async def test_the_main_guard_of_a_functions_file_is_not_entered(session: Session) -> None:
    source = "if __name__ == '__main__':\n    raise SystemExit(9)\ndef task(): return 1"
    assert await session.value_of(source) == 1


@worker
async def test_dataclasses_and_forward_references_work_in_programs(session: Session) -> None:
    source = """
from __future__ import annotations
from dataclasses import dataclass, asdict
from typing import ClassVar

@dataclass
class Point:
    x: int
    kind: ClassVar[str] = "point"

def task():
    return asdict(Point(3))
"""
    assert await session.value_of(source) == {"x": 3}


@worker
async def test_a_script_is_main_with_its_arguments_and_prints(session: Session) -> None:
    source = "import sys\nprint(__name__, sys.argv)\nprint('to stderr', file=sys.stderr)"
    finished = await session.script(source, "one", "2")
    assert finished.fault is None
    assert session.stdout == b"__main__ ['job.py', 'one', '2']\n"
    assert session.stderr == b"to stderr\n"


@worker
async def test_every_run_of_a_script_is_fresh(session: Session) -> None:
    for _ in range(2):
        finished = await session.script("assert 'seen' not in globals()\nseen = 1")
        assert finished.fault is None


@worker
async def test_a_script_that_exits_with_a_status_has_failed(session: Session) -> None:
    for source, message in (
        ("raise SystemExit(3)", "exit status 3"),
        ("import sys; sys.exit('bad input')", "exit status 1"),
    ):
        fault = (await session.script(source)).fault
        assert fault is not None
        assert (fault.code, fault.message) == (TaskFailed.wire_code, message)
    assert session.stderr == b"bad input\n"
    for source in ("raise SystemExit", "raise SystemExit(0)"):
        assert (await session.script(source)).fault is None


@worker
async def test_threads_of_a_script_are_waited_for(session: Session) -> None:
    source = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()"
    await session.script(source)
    assert session.stdout == b"late\n"


@worker
async def test_a_program_that_does_not_parse_is_named_with_its_line(session: Session) -> None:
    fault = await session.fault_of("x = 1\ndef task(:\n")
    assert fault.code == BadProgram.wire_code
    assert fault.message.startswith("job.py, line 2:")
    assert not fault.traceback


@worker
async def test_a_missing_function_is_named_with_those_there_are(session: Session) -> None:
    fault = await session.fault_of("def other(): pass\ndef third(): pass")
    assert fault.code == BadProgram.wire_code
    assert "'task'" in fault.message and "other, third" in fault.message
    fault = await session.fault_of("task = 3")
    assert "is a int" in fault.message


@worker
async def test_a_traceback_shows_the_users_lines_and_none_of_ours(session: Session) -> None:
    source = """
def task(x):
    try:
        1 / x
    except ZeroDivisionError as error:
        raise ValueError("told") from error
"""
    fault = await session.fault_of(source, 0)
    assert fault.message == "ValueError: told"
    assert fault.exception_type == "builtins.ValueError"
    assert values.decode_bytes(fault.exception_arguments) == ("told",)
    for expected in ("1 / x", "ZeroDivisionError", "direct cause", 'File "job.py", line 6, in task'):
        assert expected in fault.traceback
    assert "potluck" not in fault.traceback and "execution" not in fault.traceback


@worker
async def test_an_exception_of_the_users_own_class_has_its_qualified_name(session: Session) -> None:
    fault = await session.fault_of("class Odd(Exception): pass\ndef task(): raise Odd({1, 2}, object())")
    assert fault.exception_type == "job.Odd"
    assert fault.exception_arguments == b""


AWKWARD = {
    "exits": "def task(): raise SystemExit(1)",
    "interrupts": "def task(): raise KeyboardInterrupt",
    "recurses": "def task(): return task()",
    "runs out of memory": "def task(): raise MemoryError",
    "cannot be shown": """
class Bad(Exception):
    def __str__(self): raise RuntimeError("no text")
    __repr__ = __str__
    @property
    def args(self): raise RuntimeError("no args")
def task(): raise Bad
""",
    "raises when formatted": """
class Bad(BaseException):
    def __getattribute__(self, name): raise KeyboardInterrupt
def task(): raise Bad
""",
    "has surrogates": "def task(): raise ValueError('\\ud800')",
    "is very long": "def task(): raise ValueError('x' * 10_000_000)",
    "is a group": "def task(): raise ExceptionGroup('many', [ValueError(str(n)) for n in range(2_000)])",
    "chains to itself": """
def task():
    error = ValueError("loop")
    error.__cause__ = error
    raise error
""",
    "is a deep chain": """
def task():
    error = None
    for n in range(300):
        new = ValueError(n)
        new.__cause__ = error
        error = new
    raise error
""",
}


def test_whatever_is_raised_is_a_fault_of_that_task_alone() -> None:
    async def play(session: Session) -> None:
        for what, source in AWKWARD.items():
            fault = await session.fault_of(source)
            assert fault.code == TaskFailed.wire_code, what
            assert len(fault.message) <= 2_000 and len(fault.traceback) <= 30_000
        assert await session.value_of("def task(): return 'alive'") == "alive"

    worker(play)()


@worker
async def test_a_result_that_is_not_data_comes_as_a_pickle_only_where_it_may(session: Session) -> None:
    source = "class Point:\n    def __init__(self): self.x = 4\ndef task(): return Point()"
    fault = await session.fault_of(source)
    assert fault.code == ResultNotEncodable.wire_code
    assert "job.Point" in fault.message and "trust_results" in fault.message
    finished = await session.run(function("task", source), call(), may_pickle=True)
    assert finished.pickled and finished.value is not None
    assert pickle.loads(finished.value.data, buffers=finished.value.buffers).x == 4


@worker
async def test_a_result_that_cannot_be_pickled_either_is_a_clear_fault(session: Session) -> None:
    fault = await session.fault_of("import _thread\ndef task(): return _thread.allocate_lock()", may_pickle=True)
    assert fault.code == ResultNotEncodable.wire_code
    assert "lock" in fault.message
    fault = await session.fault_of("def task():\n    return (n for n in [1])", may_pickle=True)
    assert "generator" in fault.message


@worker
async def test_large_results_arrive_whole(session: Session) -> None:
    assert await session.value_of("def task(): return b'x' * 5_000_000") == b"x" * 5_000_000


@worker
async def test_what_children_and_c_code_print_comes_home_with_the_task(session: Session) -> None:
    source = """
import os, subprocess, sys
def task():
    print("from python")
    os.write(1, b"from the descriptor\\n")
    subprocess.run(["sh", "-c", "echo from a child; echo aside >&2"], check=True)
    sys.stderr.write("unfinished line")
"""
    await session.value_of(source)
    assert session.stdout == b"from python\nfrom the descriptor\nfrom a child\n"
    assert session.stderr == b"aside\nunfinished line"


@worker
async def test_a_task_may_close_or_replace_its_output_without_harm_to_the_next(session: Session) -> None:
    for source in (
        "import sys\ndef task(): sys.stdout.close()",
        "import sys\ndef task(): sys.stdout = sys.stderr = None",
        "import io, sys\ndef task(): sys.stdout = io.StringIO()",
        "import os\ndef task(): os.dup2(os.open('/dev/null', os.O_WRONLY), 1); print('lost')",
        "import sys\ndef task():\n    sys.stdout.detach()",
        "import os\ndef task(): os.close(1); os.close(2)",
        "import os\ndef task(): os.close(1); os.open('/dev/null', os.O_WRONLY)",
    ):
        await session.run(function("task", source), call())
        await session.value_of("import sys\ndef task(): print('sound'); print('too', file=sys.stderr)")
        assert (session.stdout, session.stderr) == (b"sound\n", b"too\n"), source


@worker
async def test_the_pipe_is_not_inherited_and_stdin_is_empty(session: Session) -> None:
    source = """
import os, subprocess, sys
def task():
    program = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[3:-1]])"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, close_fds=False)
    return ["socket" in child.stdout, sys.stdin.read()]
"""
    assert await session.value_of(source) == [False, ""]


@worker
async def test_forked_children_neither_answer_nor_hold_the_pipe(session: Session) -> None:
    source = """
import os
def task():
    return os.getpid() if os.fork() == 0 else "parent"
"""
    assert await session.value_of(source) == "parent"
    assert await session.value_of("def task(): return 1") == 1


@worker
async def test_process_pools_work_inside_a_task(session: Session) -> None:
    source = """
import multiprocessing
def task():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, [-1, -2])
"""
    assert await session.value_of(source) == [1, 2]


@worker
async def test_a_task_asks_its_node_and_work_that_comes_meanwhile_is_kept(session: Session) -> None:
    source = """
from potluck.overlay.wire import inside
def task(key):
    assert inside.current() is not None
    try:
        return inside.call("get", [key])
    except Exception as error:
        return [type(error).__name__, str(error)]
"""
    talk = session.talk
    await talk.give(function("task", source), RunTask(1, 1, call("a")), RunTask(2, 1, call("b")))
    asked = await talk.take()
    assert isinstance(asked, NodeCall)
    assert (asked.operation, values.decode_bytes(asked.arguments)) == ("get", ["a"])
    await talk.give(RunTask(3, 1, call("c")), NodeAnswer(asked.request, values.encode_bytes({"v": 1})))
    assert await talk.value() == {"v": 1}
    asked = await talk.take()
    await talk.give(NodeAnswer(asked.request, code=30, reason="no such key"))
    assert await talk.value() == ["NotFound", "no such key"]
    assert isinstance(await talk.take(), NodeCall)


@worker
async def test_threads_of_a_task_ask_in_turn(session: Session) -> None:
    source = """
from concurrent.futures import ThreadPoolExecutor
from potluck.overlay.wire import inside
def task():
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda n: inside.call("echo", n), range(20)))
"""
    await session.talk.give(function("task", source), RunTask(1, 1, call()))
    for _ in range(20):
        asked = await session.talk.take()
        await session.talk.give(NodeAnswer(asked.request, asked.arguments))
    assert await session.talk.value() == list(range(20))


def test_outside_a_worker_there_is_no_node_to_ask() -> None:
    from potluck.overlay.errors import NoNode
    from potluck.overlay.wire import inside

    assert inside.current() is None
    with pytest.raises(NoNode):
        inside.call("get", [])


@worker
async def test_a_missing_package_is_named(session: Session) -> None:
    fault = await session.fault_of("import no_such_package\ndef task(): pass")
    assert fault.exception_type == "builtins.ModuleNotFoundError"
    assert "no_such_package" in fault.message


@worker
async def test_a_programs_file_does_not_hide_a_module_of_its_name(session: Session) -> None:
    load = LoadProgram(
        1, "function", Inline(b"import random\ndef task(): return random.randint(3, 3)"), "task", "random.py"
    )
    finished = await session.run(load, call())
    assert finished.value is not None and values.decode(finished.value) == 3


def modules() -> Iterator[Path]:
    folder = Path(potluck.node.execution.__file__).parent
    inside = ("worker.py", "keeping.py", "programs.py", "reports.py", "surroundings.py")
    yield from (path for path in folder.glob("*.py") if path.name not in inside)
    yield from (folder.parent / "scheduling").glob("*.py")


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: path.name)
def test_what_runs_in_the_node_never_opens_a_pickle(path: Path) -> None:
    imported = set()
    for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(part, ast.Import):
            imported |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom):
            imported |= {part.module or "", *(alias.name for alias in part.names)}
    forbidden = {"pickle", "cloudpickle", "marshal", "shelve"}
    forbidden |= {"homeward", "keeping", "programs", "reports", "surroundings"}
    assert not imported & forbidden


def test_the_worker_needs_little_before_it_is_ready() -> None:
    program = (
        "import sys, potluck.node.inside.worker;"
        "big = {'trio', 'numpy', 'psutil', 'asyncio', 'ssl', 'cloudpickle', 'pickle', 'hashlib', 'tempfile', 'shutil'};"
        "print(*sorted(big & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=20)
    assert ran.stdout.strip() == ""


LEAVING = """
import os, pathlib

def task(n):
    found = sorted(os.listdir())
    pathlib.Path("in.txt").write_text("changed") if n == 2 else None
    pathlib.Path(f"{n}.csv").write_text(str(n))
    os.symlink("/etc/hostname", "link.csv")
    if n == 3:
        pathlib.Path("huge.csv").write_bytes(bytes(2_000_000))
    if n == 4:
        raise ValueError(n)
    return found, os.environ["WHO"]
"""


@worker
async def test_tasks_of_a_setting_find_a_fresh_folder_and_leave_their_outputs(session: Session) -> None:
    setting = encoded(Setting({"WHO": "me"}, {"in.txt": b"as sent"}, ["*.csv", "in.txt"]))
    await session.talk.give(LoadProgram(900, "setting", setting))
    await session.talk.give(LoadProgram(901, "function", Inline(LEAVING.encode()), "task", "job.py"))
    for n in range(5):
        await session.talk.give(RunTask(n, 901, call(n)))
        finished = await session.talk.finished()
        if n < 3:
            assert finished.value is not None and finished.with_files
            both = files_in(finished.value)
            assert values.decode(both.value) == (["in.txt"], "me")
            assert both.files == {f"{n}.csv": str(n).encode()} | ({"in.txt": b"changed"} if n == 2 else {})
        else:
            assert finished.value is None and not finished.with_files and finished.fault is not None
            assert finished.fault.code == (LimitExceeded if n == 3 else TaskFailed).wire_code
