"""Who stands for a founding: nodes that have agreed to it, each by its signature and its chain.

A founding weighs what its witnesses' owners do. One nearer to the root weighs more than any number below, because
whoever may invite can let in as many owners of its own making as it likes; of equals the more weigh more. A member
can therefore not outweigh a founding to which somebody nearer to the root has agreed, nor one to which two of its
own standing have. Whoever is banned weighs nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from ..errors import NotAllowed
from ..identity.bans import places_of
from ..identity.certificates import DEPTH_MAX, verify_chain
from ..identity.keys import signed_by
from ..identity.mesh import Identity
from ..wire.registers import WITNESSES_MAX, Founded, Witness

_SIGNED_AS: Final = b"potluck founding 1\0"
_READ_MAX: Final = 256

Path = tuple[bytes, ...]
"""The places from the root's first owner down to that of a node's owner (`identity.bans`)."""
Weight = tuple[int, ...]
"""How many owners stand for it, by their distance from the root, the nearest first."""


def stand_for(identity: Identity, founding: bytes) -> Witness:
    """That this node agrees."""
    return Witness(list(identity.chain), identity.key.sign(_signed(founding, identity.mesh.root_der)))


def _signed(founding: bytes, root_der: bytes) -> bytes:
    return _SIGNED_AS + hashlib.sha256(root_der).digest() + founding


def path_of(chain: Sequence[bytes], root_der: bytes) -> Path:
    """Of the owner of the node whose verified chain this is."""
    return tuple(places_of(chain[1:], root_der))


class Witnesses:
    """Reads what bears witness in one mesh. Nothing is read twice."""

    def __init__(self, root_der: bytes, is_banned: Callable[[Sequence[bytes]], bool]) -> None:
        self._root_der = root_der
        self._is_banned = is_banned
        self._read: dict[bytes, Path] = {}

    def path(self, founding: bytes, witness: Witness) -> Path:
        """Whose word it is; empty if it is nobody's of this mesh."""
        digest = hashlib.sha256(founding + msgspec.msgpack.encode(witness)).digest()
        if digest not in self._read:
            if len(self._read) >= _READ_MAX:
                self._read.clear()
            self._read[digest] = self._path(founding, witness)
        return self._read[digest]

    def _path(self, founding: bytes, witness: Witness) -> Path:
        chain = witness.chain
        try:
            member = verify_chain(chain, self._root_der, chain[0])
        except NotAllowed:
            return ()
        if not signed_by(member.node_public_key, witness.signature, _signed(founding, self._root_der)):
            return ()
        return path_of(chain, self._root_der)

    def best(self, founding: bytes, witnesses: Iterable[Witness]) -> list[Witness]:
        """One for each owner, those nearest to the root first, as many as travel; nobody who is banned. A union: what
        is left out here, no later choice from more would bring back."""
        by_owner: dict[Path, Witness] = {}
        for witness in sorted(witnesses, key=lambda one: one.signature):
            if (path := self.path(founding, witness)) and not self._is_banned(witness.chain):
                by_owner.setdefault(path, witness)
        return [by_owner[path] for path in sorted(by_owner, key=lambda path: (len(path), path))[:WITNESSES_MAX]]

    def weight(self, news: Founded) -> Weight:
        """Nothing but zeros where nobody stands for it any more."""
        standing = self.best(news.founding, news.witnesses)
        counts = Counter(len(self.path(news.founding, one)) for one in standing)
        return tuple(counts[distance] for distance in range(1, DEPTH_MAX))

    def outweighs(self, one: Founded, other: Founded) -> bool:
        """Of two foundings of the same weight the lower id stands: the one by more nodes."""
        weights = self.weight(one), self.weight(other)
        return weights[0] > weights[1] or (weights[0] == weights[1] and one.founding < other.founding)


def beyond_one(tellers: Sequence[Path], own: Path) -> bool:
    """Whether what these members say alike cannot be one member's invention: none lets in all of them, but the root,
    a founder, who has the root's secret, or somebody who has let in the hearer, too, and could as well ban it."""
    if not tellers:
        return False
    common = 0
    while all(len(path) > common and path[: common + 1] == tellers[0][: common + 1] for path in tellers):
        common += 1
    return common <= 1 or tellers[0][common - 1] in own
