"""The inputs that are kept in the tree: a file of hexadecimal lines for each target, shortest first.

They are what fuzzing has found worth keeping; what real messages give (`Target.seeds`) is made anew every time.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .target import Target

FOLDER = Path(__file__).parent / "corpus"
INPUT_BYTES_MAX = 300
INPUTS_MAX = 40
"""Of one target."""


def kept(name: str) -> list[bytes]:
    path = FOLDER / f"{name}.hex"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def starting_points(name: str, target: Target) -> list[bytes]:
    return [*target.seeds(), *kept(name)]


def keep(name: str, found: Iterable[bytes]) -> int:
    """Adds the shortest of these while there is room; how many there are now."""
    inputs = dict.fromkeys(kept(name))
    for data in sorted(found, key=lambda data: (len(data), data)):
        if 0 < len(data) <= INPUT_BYTES_MAX and len(inputs) < INPUTS_MAX:
            inputs[data] = None
    lines = [data.hex() for data in sorted(inputs, key=lambda data: (len(data), data))]
    if lines:
        (FOLDER / f"{name}.hex").write_text("\n".join(lines) + "\n")
    return len(lines)
