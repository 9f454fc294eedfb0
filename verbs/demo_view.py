"""What a person sees of the demo: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import deque
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .demo_tiles import COLUMNS, ROWS, TILE_PIXELS, Tile

HUES: Final = ((86, 182, 255), (255, 176, 64), (120, 220, 120))
"""One per node: who computed a tile shows in its colour."""
LINES_SHOWN: Final = 9
REFRESHES_PER_S: Final = 12
ROOMY_COLUMNS: Final = 118
ROOMY_LINES: Final = 30
"""Of a terminal that shows the picture in full size."""
FRAME_COLUMNS: Final = 4
PLAIN_STEP: Final = 20
"""Without a terminal, a line for every so many tiles."""


class NodeLine(msgspec.Struct):
    name: str
    address: str
    state: str = "alive"
    tiles: int = 0
    running: int = 0


class Board(msgspec.Struct):
    """Everything there is to show."""

    nodes: dict[str, NodeLine] = {}
    tiles: dict[tuple[int, int], tuple[Tile, str]] = {}
    """Tiles with the node that computed them."""

    @property
    def total(self) -> int:
        return COLUMNS * ROWS


class View(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def say(self, text: str) -> None:
        """One thing that has happened."""

    def update(self) -> None:
        """The board has changed."""


class SilentView:
    """For `--json`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def update(self) -> None:
        pass


class PlainView(SilentView):
    """Lines, for a pipe or a file."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._told = 0

    def say(self, text: str) -> None:
        print(text, flush=True)

    def update(self) -> None:
        done = len(self._board.tiles)
        if done // PLAIN_STEP > self._told // PLAIN_STEP or (done == self._board.total and self._told < done):
            shares = ", ".join(f"{node.name} {node.tiles}" for node in self._board.nodes.values())
            self.say(f"{done} of {self._board.total} tiles: {shares}")
        self._told = done


class LiveView:
    """The picture as it comes in, beside who does what."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lines: deque[str] = deque(maxlen=LINES_SHOWN)
        self._console = Console(file=sys.stdout)
        roomy = self._console.width >= ROOMY_COLUMNS and self._console.height >= ROOMY_LINES
        self._step = 1 if roomy else 2
        self._live = Live(console=self._console, refresh_per_second=REFRESHES_PER_S, get_renderable=self._draw)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._lines.append(text)

    def update(self) -> None:
        pass  # it draws by itself

    def _draw(self) -> Table:
        done, total = len(self._board.tiles), self._board.total
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=total, completed=done, width=24), f"{done}/{total} tiles")
        side = Group(_node_table(self._board), "", bar, "", Text("\n".join(self._lines)))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(min_width=COLUMNS * TILE_PIXELS // self._step + FRAME_COLUMNS)  # the text may wrap, not this
        grid.add_row(Panel.fit(draw_picture(self._board, self._step), border_style="dim"), side)
        return grid


def _node_table(board: Board) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("node", "state", "running", "tiles"):
        table.add_column(heading, justify="right" if heading in ("running", "tiles") else "left", no_wrap=True)
    for number, node in enumerate(board.nodes.values()):
        red, green, blue = HUES[number % len(HUES)]
        style = f"rgb({red},{green},{blue})" if node.state == "alive" else "red strike"
        table.add_row(Text(f"● {node.name}", style=style), node.state, str(node.running or ""), str(node.tiles))
    return table


def draw_picture(board: Board, step: int) -> Text:
    """Two pixels to a character: the upper half block has one colour, its background the other. `step` 2: half size."""
    hues = {name: HUES[number % len(HUES)] for number, name in enumerate(board.nodes)}
    text = Text(no_wrap=True)
    for row in range(0, ROWS * TILE_PIXELS, 2 * step):
        for column in range(0, COLUMNS * TILE_PIXELS, step):
            upper, lower = (_colour(board, hues, column, each) for each in (row, row + step))
            text.append("▀", style=f"{upper} on {lower}")
        text.append("\n")
    text.rstrip()
    return text


def _colour(board: Board, hues: dict[str, tuple[int, int, int]], column: int, row: int) -> str:
    found = board.tiles.get((column // TILE_PIXELS, row // TILE_PIXELS))
    if found is None:
        return "rgb(24,24,28)"
    tile, node = found
    shade = tile.shades[row % TILE_PIXELS * TILE_PIXELS + column % TILE_PIXELS]
    light = 0.25 + 0.75 * (shade / 255) ** 0.6 if shade else 0.08
    red, green, blue = (int(part * light) for part in hues.get(node, (200, 200, 200)))
    return f"rgb({red},{green},{blue})"
