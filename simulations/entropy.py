"""`ports.Entropy` from a seed. Every name has a generator of its own, so that nobody's draws move another's."""

from __future__ import annotations

import random


def named_stream(seed: int, name: str) -> random.Random:
    """The generator of this name. Seeded by text, which Python hashes with SHA-512: the same in every process."""
    return random.Random(f"{seed}/{name}")  # noqa: S311 - a simulation must be repeatable


class SeededEntropy:
    """What one owner of randomness draws: `owner` is a node's name and boot, or a part of the world."""

    def __init__(self, seed: int, owner: str) -> None:
        self._seed = seed
        self._owner = owner
        self._tokens = named_stream(seed, f"{owner}/tokens")

    def token(self, size_bytes: int) -> bytes:
        return self._tokens.randbytes(size_bytes)

    def stream(self, name: str) -> random.Random:
        return named_stream(self._seed, f"{self._owner}/stream/{name}")
