"""`potluck.AsyncExecutor`: the executor for programs that run on trio. No thread waits for a call."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, Never, TypeVar

import trio

from ..overlay.bell import Bell
from ..overlay.wire import inside
from .executor import Executor
from .futures import TaskFuture
from .mapping import Window
from .surroundings import Surroundings

R = TypeVar("R")


class AsyncExecutor:
    """As `Executor`, for use inside `trio.run`.

        async with potluck.AsyncExecutor() as pool:
            result = await pool.run(function, argument)
            async for result in pool.map(function, inputs):
                ...

    A call that is cancelled, by its scope or by a deadline, is cancelled on the mesh: where it runs its process is
    killed. Use it in one `trio.run` only.
    """

    def __init__(
        self,
        node: str | None = None,
        *,
        trust_results: bool = False,
        output: bool = True,
        surroundings: Surroundings | None = None,
        **others: Never,
    ) -> None:
        """Raises UsageError as `Executor` does."""
        self._executor = Executor(node, trust_results=trust_results, output=output, surroundings=surroundings, **others)
        self._token: trio.lowlevel.TrioToken | None = None

    async def __aenter__(self) -> AsyncExecutor:
        self._executor.__enter__()
        self._token = trio.lowlevel.current_trio_token()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing runs any more that somebody waits for: what is left is what nobody wants, and is cancelled."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._executor.abandon)

    async def run(self, fn: Callable[..., R], /, *args: Any) -> R:
        """The result of one call, or its exception. Keyword arguments go by `functools.partial`, as with trio."""
        await trio.lowlevel.checkpoint_if_cancelled()
        future = self._executor.submit(fn, *args)
        assert isinstance(future, TaskFuture)
        done = _FarBell(self._entered())
        future.add_done_callback(lambda _future: done.ring())
        try:
            with inside.pausing():
                await done.heard()
        except trio.Cancelled:
            future.kill()
            raise
        result: R = future.result()
        return result

    def map(
        self, fn: Callable[..., R], /, *iterables: Iterable[Any], chunksize: int = 0, buffersize: int | None = None
    ) -> AsyncMapping[R]:
        """Results in the order of the inputs, which may be endless; see `Executor.map`. Begins when iterated."""
        bell = _FarBell(self._entered())
        make = self._executor.window
        return AsyncMapping(lambda: make(fn, iterables, chunksize, buffersize, bell.ring), bell)

    def _entered(self) -> trio.lowlevel.TrioToken:
        if self._token is None:
            raise RuntimeError("enter it first: `async with potluck.AsyncExecutor() as pool`")
        return self._token


class AsyncMapping(AsyncIterator[R], Generic[R]):
    """One call of `map`. Tasks that nobody waits for any more, because of a cancelled scope too, are cancelled."""

    def __init__(self, make: Callable[[], Window[R]], bell: _FarBell) -> None:
        self._make = make
        self._window: Window[R] | None = None
        self._ready: deque[R] = deque()
        self._bell = bell

    def __aiter__(self) -> AsyncMapping[R]:
        return self

    async def __anext__(self) -> R:
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._ready:
            self._ready.extend(await self._more())
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self._ready.popleft()

    async def _more(self) -> Sequence[R]:
        if self._window is None:
            self._window = self._make()
        window = self._window
        try:
            while not window.advance():
                with inside.pausing():
                    await self._bell.heard()
        except trio.Cancelled:
            window.close(kill=True)
            raise
        if window.is_empty:
            raise StopAsyncIteration
        return window.take()

    def close(self) -> None:
        """Cancels what is not taken yet."""
        if self._window is not None:
            self._window.close(kill=True)

    def __del__(self) -> None:
        if self.__dict__.get("_window") is not None:
            self.close()


class _FarBell:
    """Rung in any thread, heard by one trio task."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._bell = Bell()

    def ring(self, _items: int = 0) -> None:
        try:
            self._token.run_sync_soon(self._bell.ring, idempotent=True)
        except trio.RunFinishedError:
            pass  # whoever waited has gone with the whole program

    async def heard(self) -> None:
        await self._bell.heard()
