"""How far a `map` is, for a person: a bar in a terminal or a notebook, lines of text where neither is.

    bar                 seen in
    `TerminalBar`       a terminal (rich)
    `NotebookBar`       a notebook whose front end shows HTML
    `LinesBar`          anything else that takes text, only when asked for: progress="always"

A bar is advanced in the connection's thread and ended in the caller's, once or more often; after that it is still.
"""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sized
from typing import Any, Final, Literal, Protocol, TextIO

REDRAW_S: Final = 0.1
LINE_S: Final = 5.0

Wish = bool | Literal["always"]


class Bar(Protocol):
    def advance(self, items: int) -> None: ...

    def end(self) -> None: ...


def bar_for(wish: Wish, iterables: Iterable[object], what: str) -> Bar | None:
    """The one that suits where this runs; None where nobody looks, unless `wish` is "always"."""
    if wish not in (False, True, "always"):
        raise ValueError(f'progress {wish!r}: True, False or "always"')
    if not wish:
        return None
    total = total_of(iterables)
    if (display := _notebook_display()) is not None:
        return NotebookBar(what, total, display)
    if sys.stderr.isatty():
        return TerminalBar(what, total, sys.stderr)
    return LinesBar(what, total, sys.stderr) if wish == "always" else None


def total_of(iterables: Iterable[object]) -> int | None:
    """As many inputs as there are, at most; None where none of them knows its length."""
    return min((len(each) for each in iterables if isinstance(each, Sized)), default=None)


def _notebook_display() -> Any:
    """IPython's `display`, if this is a kernel of it with a front end that shows HTML. Nothing is imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return sys.modules["IPython.display"].display if hasattr(shell, "kernel") else None


class Count:
    """How many of how many, since when."""

    def __init__(self, what: str, total: int | None) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self._begun_s = time.monotonic()

    @property
    def fraction(self) -> float | None:
        return None if not self.total else min(1.0, self.done / self.total)

    def text(self) -> str:
        elapsed_s = time.monotonic() - self._begun_s
        of = f" of {self.total}" if self.total is not None else ""
        speed = f", {self.done / elapsed_s:.0f}/s" if elapsed_s > 1 else ""
        return f"{self.what}: {self.done}{of} in {elapsed_s:.0f} s{speed}"


class TerminalBar:
    def __init__(self, what: str, total: int | None, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(file=stream))
        self._task = self._progress.add_task(what, total=total)
        self._progress.start()

    def advance(self, items: int) -> None:
        self._progress.advance(self._task, items)

    def end(self) -> None:
        self._progress.stop()


class _Paced(ABC):
    """Counts at every step and shows now and then, and the end for certain."""

    def __init__(self, what: str, total: int | None, pause_s: float) -> None:
        self.count = Count(what, total)
        self._pause_s = pause_s
        self._shown_s = time.monotonic()
        self._ended = False
        self._lock = threading.Lock()

    def advance(self, items: int) -> None:
        with self._lock:
            self.count.done += items
            now_s = time.monotonic()
            if self._ended or now_s - self._shown_s < self._pause_s:
                return
            self._shown_s = now_s
            self.show()

    def end(self) -> None:
        with self._lock:
            if not self._ended:
                self._ended = True
                self.show()

    @abstractmethod
    def show(self) -> None:
        """The count as it is."""


class LinesBar(_Paced):
    def __init__(self, what: str, total: int | None, stream: TextIO, pause_s: float = LINE_S) -> None:
        super().__init__(what, total, pause_s)
        self._stream = stream

    def show(self) -> None:
        print(self.count.text(), file=self._stream, flush=True)


class NotebookBar(_Paced):
    """An object that a front end shows as it shows others: by its HTML, or as text where that is all it can."""

    def __init__(self, what: str, total: int | None, display: Any, pause_s: float = REDRAW_S) -> None:
        super().__init__(what, total, pause_s)
        self._shown = display(self, display_id=True)

    def show(self) -> None:
        if self._shown is not None:  # a front end that cannot update
            self._shown.update(self)

    def __repr__(self) -> str:
        return self.count.text()

    def _repr_html_(self) -> str:
        from html import escape

        fraction = self.count.fraction
        value = "" if fraction is None else f' value="{fraction:.4f}"'
        return f"<progress{value}></progress> {escape(self.count.text())}"
