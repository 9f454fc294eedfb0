"""How far a `map` is, for whoever looks."""

from __future__ import annotations

import io
import itertools
import sys
import types
from collections.abc import Iterator

import pytest
from potluck.client import progress
from potluck.client.progress import LinesBar, NotebookBar, TerminalBar, bar_for, total_of

from .test_mapping import Submitted, mapped


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FrontEnd:
    """What a notebook gives: a place where something is shown, and can be shown again."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, thing: NotebookBar, *, display_id: bool) -> FrontEnd:
        assert display_id
        return self.update(thing)

    def update(self, thing: NotebookBar) -> FrontEnd:
        self.shown.append(thing._repr_html_())
        return self


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    yield stream


def test_nothing_is_shown_where_nobody_looks(stderr: io.StringIO) -> None:
    assert bar_for(False, [[]], "map") is None
    assert bar_for(True, [[]], "map") is None
    assert isinstance(bar_for("always", [[]], "map"), LinesBar)
    with pytest.raises(ValueError, match="progress"):
        bar_for("loud", [[]], "map")  # type: ignore[arg-type]


def test_a_terminal_sees_a_bar_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = bar_for(True, [range(20)], "squares")
    assert isinstance(bar, TerminalBar)
    assert list(mapped(Submitted(), abs, range(20), bar=bar)) == list(range(20))
    assert "squares" in terminal.getvalue()
    assert "20/20" in terminal.getvalue()


def test_lines_tell_the_end_once() -> None:
    stream = io.StringIO()
    bar = LinesBar("squares", 3, stream)
    assert list(mapped(Submitted(), abs, range(3), bar=bar)) == [0, 1, 2]
    bar.end()
    bar.advance(1)
    assert stream.getvalue() == "squares: 3 of 3 in 0 s\n"


def test_lines_come_at_a_pace() -> None:
    stream = io.StringIO()
    bar = LinesBar("squares", None, stream, pause_s=0.0)
    for _ in range(4):
        bar.advance(2)
    assert [line.partition(" in ")[0] for line in stream.getvalue().splitlines()] == [
        "squares: 2",
        "squares: 4",
        "squares: 6",
        "squares: 8",
    ]


def test_a_notebook_is_shown_html_that_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    front_end = FrontEnd()
    kernel = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: kernel))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=front_end))  # type: ignore[arg-type]
    monkeypatch.setattr(progress, "REDRAW_S", 0.0)
    bar = bar_for(True, [range(4)], "<f>")
    assert list(mapped(Submitted(), abs, range(4), bar=bar)) == [0, 1, 2, 3]
    assert front_end.shown[0].startswith('<progress value="0.0000"></progress> &lt;f&gt;: 0 of 4')
    assert front_end.shown[-1].startswith('<progress value="1.0000"></progress> &lt;f&gt;: 4 of 4')
    assert repr(bar).startswith("<f>: 4 of 4")


def test_a_failed_map_ends_its_bar() -> None:
    stream = io.StringIO()
    results = mapped(Submitted(), lambda number: 1 // number, [1, 0, 1], bar=LinesBar("f", 3, stream))
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert stream.getvalue().count("\n") == 1


def test_a_bar_of_results_nobody_takes_ends_with_them() -> None:
    stream = io.StringIO()
    results = mapped(Submitted(at_once=False), abs, [1, 2], bar=LinesBar("f", 2, stream))
    del results
    assert stream.getvalue().startswith("f: 0 of 2")


def test_the_shortest_known_length_counts() -> None:
    assert total_of([range(5), itertools.count(), [1, 2]]) == 2
    assert total_of([itertools.count()]) is None
