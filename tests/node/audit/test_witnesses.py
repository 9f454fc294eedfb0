"""What others give to keep is kept for good, and contradictions above all."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from potluck.node.audit.witnesses import Witness
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.ids import node_id_of
from potluck.overlay.wire.audit import HEADS_MAX, Head, signed_part
from potluck.simulations.store import VirtualDisk, VirtualStore


def store_on(disk: VirtualDisk) -> VirtualStore:
    return VirtualStore(disk, lambda: 0.0)


NODE, OTHER = KeyPair.from_seed(bytes(32)), KeyPair.from_seed(bytes(31) + b"\1")
NODE_ID = node_id_of(NODE.public)


def head(number: int, digest: int = 0, *, key: KeyPair = NODE, signed: bool = True) -> Head:
    about = key.public, number, digest.to_bytes(32, "big"), 1.0
    return Head(*about, key.sign(signed_part(*about)) if signed else bytes(64))


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 1)), max_size=10))
def test_of_heads_that_contradict_each_other_two_are_shown_whatever_comes_later(given: list[tuple[int, int]]) -> None:
    store = store_on(VirtualDisk())
    witness = Witness(store)
    wrong = [bool(witness.take(head(number, digest))) for number, digest in given]
    shown = witness.heads_of(NODE_ID)
    rising = all(after[0] > before[0] or after == before for before, after in itertools.pairwise(given))
    assert any(wrong) != rising
    numbers = [one.number for one in shown]
    assert (sorted(set(numbers)) == numbers) == rising
    assert {(one.number, one.digest) for one in shown} <= {(n, d.to_bytes(32, "big")) for n, d in given}
    again = Witness(store)
    again.load()
    assert again.heads_of(NODE_ID) == shown


def test_what_its_node_has_not_signed_is_not_taken() -> None:
    witness = Witness(store_on(VirtualDisk()))
    assert witness.take(head(1, signed=False))
    forged = head(1, key=OTHER)
    assert witness.take(Head(NODE.public, forged.number, forged.digest, forged.at_s, forged.signature))
    assert not witness.heads_of(NODE_ID)


def test_of_a_long_life_the_newest_are_kept() -> None:
    store = store_on(VirtualDisk())
    witness = Witness(store)
    for number in range(1, 3 * HEADS_MAX):
        assert not witness.take(head(number))
    assert not witness.take(head(1, key=OTHER))
    kept = witness.heads_of(NODE_ID)
    assert len(kept) < HEADS_MAX and kept[-1].number == 3 * HEADS_MAX - 1
    again = Witness(store)
    again.load()
    assert again.heads_of(NODE_ID) == kept
