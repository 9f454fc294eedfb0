"""CPython's own tests of executors and futures, on `potluck.Executor` and real nodes.

Left as they are, but for what they mean by a name: `ThreadPoolExecutor` is ours, `BrokenProcessPool` (the process of a
task died) is `WorkerLost`. `APART` lists what cannot apply.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import gc
import logging
import threading
import types
import unittest
from collections.abc import Iterator
from typing import Any, ClassVar

import potluck
import pytest
from potluck.client.executor import Executor
from potluck.client.futures import Job, TaskFuture
from potluck.client.outcomes import RemoteTraceback
from potluck.client.programs import body_of
from potluck.client.surroundings import Surroundings
from potluck.overlay.wire.control import JobOptions
from potluck.overlay.wire.work import Inline

from ..verbs.mesh import mesh
from . import interpreter_suite

pytestmark = pytest.mark.processes
if reason := interpreter_suite.reason_to_skip():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(autouse=True)
def only_what_a_test_makes_is_looked_at() -> Iterator[None]:
    """Some collect garbage again and again, and all that other tests have left in this process would be searched."""
    gc.freeze()
    yield
    gc.unfreeze()


_SIZE = "how many run at once is the nodes' to say, not the program's"
_INSIDE = "looks at threads or processes of the standard pool, which ours has not"
_SHARED = "a task runs on another machine, and shares no lock, event or list with the program"
_AT_ONCE = "expects a task to have begun when `submit` returns; ours has a way to go"
_SETTINGS = "about a setting of the process pool that ours has not"

APART = {
    "ExecutorTest": {"test_max_workers_negative": _SIZE},
    "ThreadPoolExecutorTest": {
        "test_map_submits_without_iteration": _SHARED,
        "test_default_workers": _SIZE,
        "test_saturation": _SHARED,
        "test_idle_thread_reuse": _INSIDE,
        "test_hang_global_shutdown_lock": "a lock of the standard pools; and a task has no executor of its own",
        "test_executor_map_current_future_cancel": _SHARED,
    },
    "ProcessPoolExecutorTest": {
        "test_max_workers_too_large": "of Windows",
        "test_killed_child": _INSIDE,
        "test_ressources_gced_in_workers": "needs a manager process that the worker may connect to",
        "test_saturation": _SHARED,
        "test_idle_process_reuse_one": _INSIDE,
        "test_idle_process_reuse_multiple": _INSIDE,
        "test_max_tasks_per_child": _SETTINGS,
        "test_max_tasks_per_child_defaults_to_spawn_context": _SETTINGS,
        "test_max_tasks_early_shutdown": _SETTINGS,
        "test_python_finalization_error": _INSIDE,
    },
    "ThreadPoolShutdownTest": {
        "test_threads_terminate": _SHARED,
        "test_thread_names_assigned": _SETTINGS,
        "test_thread_names_default": _SETTINGS,
        "test_cancel_futures_wait_false": _AT_ONCE,
    },
    "ExecutorShutdownTest": {"test_cancel_futures": _AT_ONCE},
    "ThreadPoolWaitTests": {"test_pending_calls_race": _SHARED},
    "ExecutorDeadlockTest": {"test_gh105829_should_not_deadlock_if_wakeup_pipe_full": _INSIDE},
    "FutureTests": {
        "test_cancel": "looks at the private state: ours tells those who wait at once, and is in the state after that",
    },
}
"""Of `InitializerMixin`, `FailingInitializerMixin` and `ProcessPoolShutdownTest` nothing applies: settings, insides."""

BETTER = {
    "test_error_at_task_unpickle": Exception,
    "test_error_during_result_pickle_on_worker": potluck.ResultNotEncodable,
    "test_error_during_result_unpickle_in_result_handler": potluck.ResultNotEncodable,
    "test_exit_during_result_unpickle_in_result_handler": potluck.ResultNotEncodable,
    "test_exit_at_task_unpickle": SystemExit,
}
"""Where a process pool breaks for good, a task of ours fails alone, with an error that says why."""


class Judged(Executor):
    """Takes the arguments of the standard pools, and shows the threads it has as theirs do."""

    surroundings: ClassVar[Surroundings]

    def __init__(self, max_workers: int | None = None, mp_context: object = None) -> None:
        super().__init__(surroundings=self.surroundings)

    @property
    def _threads(self) -> list[threading.Thread]:
        assert self._connection is not None
        return [self._connection._writer, self._connection._reader]

    @property
    def _executor_manager_thread(self) -> threading.Thread:
        return self._threads[0]


class _Nobody:
    """As much of a connection as a future needs that nobody ever runs."""

    futures_lock = threading.RLock()

    def withdraw(self, future: TaskFuture) -> None:
        pass


class Future(TaskFuture):
    """One of ours, made as the standard ones are: without arguments."""

    def __init__(self) -> None:
        super().__init__(Job(_Nobody(), JobOptions()), body_of("callable", b""), Inline(b""))  # type: ignore[arg-type]


PRELUDE = """
import concurrent.futures, sys, time, types
import potluck

class Judged(potluck.Executor):
    def __init__(self, *size, **settings):
        super().__init__()

def sleep_and_print(t, msg):
    time.sleep(t)
    print(msg)

concurrent.futures.Judged = Judged
suite = types.SimpleNamespace(sleep_and_print=sleep_and_print)
sys.modules |= {f"test.test_concurrent_futures{part}": suite for part in ("", ".test_shutdown")}
"""


def run_program(flag: str, source: str) -> tuple[int, bytes, bytes]:
    from test.support.script_helper import assert_python_ok

    environment = {
        "POTLUCK_DATA_DIR": str(Judged.surroundings.data_dir),
        "XDG_RUNTIME_DIR": str(Judged.surroundings.runtime_dir.parent),
    }
    rc, out, err = assert_python_ok(flag, PRELUDE + source, **environment)
    return rc, out, err


def suite() -> dict[str, Any]:
    """What the modules of the suite define, in our meaning of some names."""
    found: dict[str, Any] = {}
    standard = types.SimpleNamespace(**vars(concurrent.futures))
    standard.ThreadPoolExecutor = Judged
    standard.process = types.SimpleNamespace(_RemoteTraceback=RemoteTraceback)
    meanings = {"futures": standard, "BrokenProcessPool": potluck.WorkerLost, "assert_python_ok": run_program}
    for module in MODULES:
        for name in meanings.keys() & vars(module).keys():
            setattr(module, name, meanings[name])
        _remake_futures(module)
        found |= vars(module)
    return found


def _remake_futures(module: types.ModuleType) -> None:
    """The futures that its tests share are made when the module is: once more, as futures of ours."""
    for name, made in list(vars(module).items()):
        if name.endswith("_FUTURE"):
            ours = Future()
            ours._state, ours._exception, ours._result = made._state, made._exception, made._result
            setattr(module, name, ours)
    if "create_future" in vars(module):
        module.create_future.__globals__["Future"] = Future


def of_ours(origin: str, *also: str) -> type[unittest.TestCase]:
    """A test case with the tests of one class of the suite, and those `also` named."""
    members: dict[str, Any] = {}
    for each in (origin, *also):
        for name, member in vars(SUITE[each]).items():
            if not name.startswith("__"):
                why = APART.get(each, {}).get(name)
                members[name] = unittest.skip(why)(lambda self: None) if why else _free(member)
    return type(origin, (_OnTheMesh, *BASES[origin]), members)


def _free(member: Any) -> Any:
    """What the tests hand to a pool travels without the class it is of, which holds the pool."""
    return staticmethod(functools.partial(member.__func__, None)) if isinstance(member, classmethod) else member


class _OnTheMesh:
    executor_type = Judged

    def setUp(self) -> None:
        self._before = set(threading.enumerate())
        super().setUp()  # type: ignore[misc]

    def get_context(self) -> None:
        return None

    def assertRaises(self, expected: type[BaseException], *call: Any, **settings: Any) -> Any:  # noqa: N802
        wanted = BETTER.get(self.id().rpartition(".")[2], expected)  # type: ignore[attr-defined]
        return super().assertRaises(wanted, *call, **settings)  # type: ignore[misc]

    def tearDown(self) -> None:
        super().tearDown()  # type: ignore[misc]
        left = set(threading.enumerate()) - self._before
        assert not [thread.name for thread in left if thread.name.startswith("potluck-")]


class _Complaining:
    """Callbacks that fail are logged, and in a program without handlers a log is seen on stderr."""

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        logging.getLogger("concurrent.futures").addHandler(logging.lastResort)

    def tearDown(self) -> None:
        logging.getLogger("concurrent.futures").removeHandler(logging.lastResort)
        super().tearDown()  # type: ignore[misc]


@pytest.fixture(scope="module", autouse=True)
def _nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Five slots in all, as many workers as the tests ask of a pool."""
    with interpreter_suite.travelling(MODULES), mesh(tmp_path_factory.mktemp("suite"), ["ant"]) as made:
        made.up("bee", "--slots=4")
        Judged.surroundings = made.surroundings
        yield


MODULES = interpreter_suite.load()
SUITE = suite()
BASES = collections.defaultdict(lambda: (SUITE["ExecutorMixin"], SUITE["BaseTestCase"]))
BASES["FutureTests"] = (_Complaining, SUITE["BaseTestCase"])

TestCalls = of_ours("ExecutorTest")
TestCallsAsThreads = of_ours("ThreadPoolExecutorTest")
TestCallsAsProcesses = of_ours("ProcessPoolExecutorTest")
TestShutdown = of_ours("ThreadPoolShutdownTest", "ExecutorShutdownTest")
TestWaiting = of_ours("WaitTests", "ThreadPoolWaitTests")
TestAsCompleted = of_ours("AsCompletedTests")
TestCrashes = of_ours("ExecutorDeadlockTest")
TestFutures = of_ours("FutureTests")
