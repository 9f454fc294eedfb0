"""A program's own enums in a process that has none of them: what is asked of them has the same answers."""

from __future__ import annotations

import enum
import subprocess
import sys
from collections.abc import Callable

import pytest
from potluck.client.programs import Packer
from potluck.overlay.wire.work import Inline


def planets() -> list[object]:
    return [Planet.EARTH.gravity, list(Planet), Planet((1.0, 2.0)) is Planet.MARS, Planet["EARTH"].nearest]


class Planet(enum.Enum):
    EARTH = (5.976e24, 6.37814e6)
    MARS = (1.0, 2.0)

    def __init__(self, mass: float, radius: float) -> None:
        self.mass = mass
        self.radius = radius

    @property
    def gravity(self) -> float:
        return self.mass / self.radius**2

    @property
    def nearest(self) -> Planet:
        return Planet.MARS if self is Planet.EARTH else Planet.EARTH


class Coordinate(bytes, enum.Enum):
    label: str

    def __new__(cls, value: int, label: str) -> Coordinate:
        made = bytes.__new__(cls, [value])
        made._value_ = value
        made.label = label
        return made

    PX = (0, "P.X")
    PY = (1, "P.Y")


def coordinates() -> list[object]:
    return [Coordinate(1).label, bytes(Coordinate.PY), Coordinate.PX.value, Coordinate["PX"].name]


class Numbered(enum.Enum):
    """Its members count themselves."""

    def __new__(cls, *_arguments: object) -> Numbered:
        made = object.__new__(cls)
        made._value_ = len(cls.__members__) + 1
        return made


class Size(Numbered):
    def __init__(self, label: str) -> None:
        self.label = label

    SMALL = "s"
    LARGE = "l"
    BIG = LARGE

    @classmethod
    def _missing_(cls, value: object) -> Size:
        return cls.SMALL


def sizes() -> list[object]:
    missing: object = Size(77)
    return [[one.label for one in Size], Size(2), missing, Size.BIG is Size.LARGE, list(Size.__members__)]


class May(enum.Flag):
    READ = 1
    WRITE = 2
    BOTH = 3


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = enum.auto()
    AYE = YES


class Pair(tuple[int, ...], enum.Enum):
    ONE = (1, 2)


def others() -> list[object]:
    made = [May.READ | May.WRITE, ~May.READ, May(0), May.BOTH.name, list(May), Level.LOW + 1, Level(1)]
    return [*made, f"{Word.AYE}", Word("yes"), list(Word.__members__), Pair.ONE[1], Pair((1, 2)), Pair.ONE.value]


WORKER = """
import pickle, sys
print(pickle.load(sys.stdin.buffer)())
"""


@pytest.mark.parametrize("asked", [planets, coordinates, sizes, others], ids=lambda asked: asked.__name__)
def test_members_are_there_what_they_are_here(
    asked: Callable[[], list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    packer, this = Packer(), sys.modules[__name__]
    monkeypatch.setattr(packer, "_look", lambda: None)
    packer._strays = (this,)
    body = packer.body(asked).program.body
    assert isinstance(body, Inline)
    ran = subprocess.run([sys.executable, "-c", WORKER], input=body.data, capture_output=True, timeout=60, check=False)
    assert ran.stdout.decode() == f"{asked()}\n", ran.stderr.decode()
