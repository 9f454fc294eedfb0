"""Keys and members for tests, the same in every run."""

from __future__ import annotations

from functools import cache

from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.identity.mesh import Identity, Mesh, found, make_identity
from potluck.simulations.entropy import SeededEntropy


@cache
def key(number: int) -> KeyPair:
    return KeyPair.from_seed(SeededEntropy(number, "key").token(32))


@cache
def mesh(secret: int = 1, owner: int = 1) -> Mesh:
    return found(SeededEntropy(secret, "secret").token(32), key(1000 + owner))


@cache
def member(number: int, secret: int = 1, owner: int = 1) -> Identity:
    return make_identity(mesh(secret, owner), f"n{number}", key(number), SeededEntropy(number, "boot"))
