"""The demo does what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from potluck.verbs import demo_tiles
from potluck.verbs.demo_tiles import COLUMNS, ROWS, Tile
from potluck.verbs.demo_view import Board, LiveView, NodeLine, draw_picture


@pytest.mark.nightly
@pytest.mark.processes
def test_it_loses_a_node_and_still_ends_with_the_right_picture(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "potluck", "demo", "--json"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    assert answer["right"]
    assert answer["tiles"] == COLUMNS * ROWS
    assert answer["killed"] == "cat"
    assert sum(node["tiles"] for node in answer["nodes"]) == COLUMNS * ROWS
    assert answer["memory"] == "everyone brings a machine; nobody is in charge"
    assert answer["wall_s"] < 60
    assert not list(tmp_path.iterdir())


def test_the_checksum_tells_a_wrong_tile() -> None:
    tiles = [Tile(*demo_tiles.tile(column, 0)) for column in range(3)]
    altered = tiles[1]._replace(inside=tiles[1].inside + 1)
    assert demo_tiles.checksum(tiles) == demo_tiles.checksum(tiles[::-1])
    assert demo_tiles.checksum([tiles[0], altered, tiles[2]]) != demo_tiles.checksum(tiles)


@pytest.mark.parametrize("step", [1, 2])
def test_the_picture_has_a_character_for_two_pixels(step: int) -> None:
    board = Board({name: NodeLine(name, "") for name in ("ant", "bee", "cat")})
    board.tiles[0, 0] = Tile(*demo_tiles.tile(0, 0)), "bee"
    lines = draw_picture(board, step).plain.splitlines()
    assert len(lines) == -(-ROWS * 5 // (2 * step))
    assert {len(line) for line in lines} == {COLUMNS * 5 // step}
    assert LiveView(board)._draw() is not None
