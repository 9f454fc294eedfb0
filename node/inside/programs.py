"""Inside a worker: the forms a program comes in, and how each is run. See `overlay.wire.work.Program`."""

from __future__ import annotations

import importlib
import inspect
import linecache
import sys
import threading
import types
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final, Protocol

import msgspec

from ...overlay.errors import BadProgram, LimitExceeded, RemoteProtocolError, ResultNotEncodable
from ...overlay.ids import leading_letters
from ...overlay.wire import inside, values
from ...overlay.wire.kinds import HANDLES
from ...overlay.wire.work import Inline
from ...overlay.wire.worker import LoadProgram, opened

_UNNAMED: Final = "program.py"


class Program(Protocol):
    def run(self, arguments: Inline) -> object: ...


class NonZeroExit(Exception):
    """A script ended with `sys.exit(n)`, n not zero."""


def load(message: LoadProgram) -> Program:
    """Raises BadProgram, or whatever the program's own code raises."""
    if message.form == "callable":
        return PickledCallable(message)
    if message.form == "function":
        return Function(message)
    if message.form == "script":
        return Script(message)
    return Kind(message)


class Libraries:
    """Files of the program's own modules, below one folder that is searched before everything installed."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def add(self, message: LoadProgram) -> None:
        """Raises BadProgram for what is no library, OSError when the disk is full."""
        try:
            files = msgspec.msgpack.decode(opened(message.body).data, type=dict[str, bytes])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadProgram(f"{message.file_name} is no library: {error}") from error
        if self._folder is None:
            from tempfile import mkdtemp  # with much else, which most tasks do without

            self._folder = Path(mkdtemp(prefix="potluck-modules-"))
            sys.path.insert(0, str(self._folder))
        for name, content in files.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        importlib.invalidate_caches()


def unpickle(inline: Inline) -> Any:
    """Arrays among the arguments can be written to, as they can be in a local call: what came in a frame is copied."""
    import pickle  # noqa: TID251 (inside the sandbox, which is what it is for)

    return pickle.loads(inline.data, buffers=map(_writable, inline.buffers))  # noqa: S301


def _writable(buffer: bytes | memoryview) -> bytearray | memoryview:
    return buffer if isinstance(buffer, memoryview) and not buffer.readonly else bytearray(buffer)


def called(function: Callable[..., Any], positional: Sequence[object], named: Mapping[str, Any]) -> object:
    """What it returns. Of a generator function that is what the generator returns; what it yields are checkpoints."""
    outcome = function(*positional, **named)
    return _stepped(outcome) if inspect.isgeneratorfunction(function) else outcome


def _stepped(steps: Generator[object, None, object]) -> object:
    keeper = inside.keeper()
    fault: Exception | None = None
    while True:
        try:
            state = next(steps) if fault is None else steps.throw(fault)
        except StopIteration as end:
            return end.value
        try:
            fault = None
            if keeper is not None:
                keeper.save(state)
        except (LimitExceeded, ResultNotEncodable) as error:
            fault = error  # raised where it was yielded, as a call would raise it


class PickledCallable:
    def __init__(self, message: LoadProgram) -> None:
        self._function = unpickle(opened(message.body))

    def run(self, arguments: Inline) -> object:
        positional, named = unpickle(arguments)
        return called(self._function, positional, named)


class Function:
    def __init__(self, message: LoadProgram) -> None:
        module = _module_of(message)
        self._function = _entry(module, message.entry, message.file_name or _UNNAMED)

    def run(self, arguments: Inline) -> object:
        match values.decode(arguments):
            case [list(positional), dict(named)]:
                return called(self._function, positional, named)
        raise RemoteProtocolError("the arguments of a function are [args, kwargs]")


class Script:
    def __init__(self, message: LoadProgram) -> None:
        self._source, self._file_name = _source_of(message)
        self._code = _compiled(self._source, self._file_name)

    def run(self, arguments: Inline) -> object:
        argv = values.decode(arguments)
        if not isinstance(argv, list):
            raise RemoteProtocolError("the arguments of a script are a list")
        module = types.ModuleType("__main__")
        module.__file__ = self._file_name
        before = sys.modules["__main__"], sys.argv
        sys.modules["__main__"], sys.argv = module, [self._file_name, *map(str, argv)]
        try:
            exec(self._code, module.__dict__)  # noqa: S102 (inside the sandbox, which is what it is for)
        except SystemExit as leaving:
            _judge_exit(leaving)
        finally:
            _await_threads()
            sys.modules["__main__"], sys.argv = before
        return None


class Kind:
    """The handlers of this node. What no handler takes is an instruction, and answered with itself."""

    def __init__(self, message: LoadProgram) -> None:
        self._handlers: dict[str, Callable[..., object]] = {}
        if opened(message.body).data:
            functions = [one for one in vars(_module_of(message)).values() if isinstance(one, types.FunctionType)]
            self._handlers = {kind: one for one in functions if isinstance(kind := getattr(one, HANDLES, None), str)}

    def run(self, arguments: Inline) -> object:
        match values.decode(arguments):
            case [str(kind), list(positional), dict(named)]:
                if kind not in self._handlers:
                    raise BadProgram(f"this node has no handler for kind {kind!r}")
                return called(self._handlers[kind], positional, named)
            case instruction:
                handler = self._handlers.get(leading_letters(instruction)) if isinstance(instruction, str) else None
                return instruction if handler is None else called(handler, [instruction], {})


def _module_of(message: LoadProgram) -> types.ModuleType:
    """The source, run as a module."""
    source, file_name = _source_of(message)
    code = _compiled(source, file_name)
    module = types.ModuleType(_module_name(file_name))
    module.__file__ = file_name
    sys.modules[module.__name__] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 (inside the sandbox, which is what it is for)
    except BaseException:  # sys.exit too: half a module is not to be found by the next import
        del sys.modules[module.__name__]
        raise
    # Its classes are known nowhere else, so a pickled result has to carry them.
    importlib.import_module("cloudpickle").register_pickle_by_value(module)
    return module


def _source_of(message: LoadProgram) -> tuple[str, str]:
    try:
        source = str(opened(message.body).data, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadProgram(f"the source is not UTF-8: {error}") from error
    file_name = message.file_name or _UNNAMED
    # Without a time stamp the entry stays, so that tracebacks show the user's lines.
    linecache.cache[file_name] = (len(source), None, source.splitlines(keepends=True), file_name)
    return source, file_name


def _compiled(source: str, file_name: str) -> types.CodeType:
    try:
        return compile(source, file_name, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise BadProgram(f"{file_name}, line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise BadProgram(f"{file_name} does not compile: {error}") from error


def _module_name(file_name: str) -> str:
    """The name that classes of the program have in tracebacks; never one that would hide another module."""
    stem = PurePath(file_name).stem
    if stem.isidentifier() and stem not in sys.modules and stem not in sys.stdlib_module_names:
        return stem
    name = f"{stem if stem.isidentifier() else ''}_program"
    while name in sys.modules:
        name += "_"
    return name


def _entry(module: types.ModuleType, entry: str, file_name: str) -> Callable[..., object]:
    function = module.__dict__.get(entry)
    if callable(function):
        return function  # type: ignore[no-any-return]
    if entry in module.__dict__:
        raise BadProgram(f"{file_name}: {entry!r} is a {type(function).__name__}, not a function")
    named = [name for name, value in module.__dict__.items() if isinstance(value, types.FunctionType)]
    known = f"; it has {', '.join(named[:8])}" if named else ""
    raise BadProgram(f"{file_name} has no function {entry!r}{known}")


def _judge_exit(leaving: SystemExit) -> None:
    if leaving.code is None or leaving.code == 0:
        return
    if isinstance(leaving.code, int):
        raise NonZeroExit(f"exit status {leaving.code}") from None
    print(leaving.code, file=sys.stderr)
    raise NonZeroExit("exit status 1") from None


def _await_threads() -> None:
    """As Python does at the end of a program."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
