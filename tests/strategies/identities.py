"""Keys and members for tests, the same in every run."""

from __future__ import annotations

from functools import cache

from potluck.overlay.identity.certificates import issue
from potluck.overlay.identity.keys import KeyPair, derive
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


@cache
def root(secret: int = 1) -> KeyPair:
    return KeyPair.from_seed(derive(SeededEntropy(secret, "secret").token(32), "root"))


@cache
def place(*owners: int, secret: int = 1) -> Mesh:
    """Of the last of these owners, each let in by the one before, the first by the root."""
    above = mesh(secret, owners[0]) if len(owners) < 3 else place(*owners[:-1], secret=secret)
    if len(owners) == 1:
        return above
    owner = key(1000 + owners[-1])
    return Mesh(
        above.root_der, above.tag_key, owner, (issue(above.owner, owner.public, may_issue=True), *above.owner_chain)
    )


@cache
def node_at(*owners: int, number: int = 1) -> Identity:
    """A node of the last of these owners."""
    return make_identity(place(*owners), f"n{number}", key(number), SeededEntropy(number, "boot"))
