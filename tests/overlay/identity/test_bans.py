"""Bans come in any order and any number of times, only from who may write them, and take down what lies below."""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.errors import NotAllowed, RemoteProtocolError
from potluck.overlay.identity import bans as room
from potluck.overlay.identity.bans import BanSet, lies_below, make_ban
from potluck.overlay.identity.certificates import issue
from potluck.overlay.wire.bans import Ban, paged
from potluck.overlay.wire.codec import Codec
from potluck.overlay.wire.framing import OPENING_FRAME_BYTES_MAX
from potluck.overlay.wire.peer import PEER

from ...strategies.identities import key, mesh, node_at, place, root

ROOT = mesh().root_der
PATHS = [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), (1, 3), (1, 3, 2), (5,), (5, 2), (5, 6)]
"""Who let whom in; 2 and 3 have been let in by several."""


def ban(path: tuple[int, ...], writer: int | None = None) -> Ban:
    """By the owner of that number, or by the root."""
    signer = root() if writer is None else key(1000 + writer)
    return make_ban(place(*path).owner_chain, signer, ROOT)


POSSIBLE = {(path, writer): ban(path, writer) for path in PATHS if len(path) > 1 for writer in (None, *path[:-1])}
some = st.lists(st.sampled_from(sorted(POSSIBLE, key=str)), max_size=8)


def set_of(*batches: Iterable[Ban]) -> BanSet:
    made = BanSet(ROOT)
    for batch in batches:
        made.learn(batch)
    return made


@given(one=some, other=some, third=some, seed=st.integers(0, 1000))
def test_sets_merge_in_any_order_and_any_number_of_times(
    one: list[object], other: list[object], third: list[object], seed: int
) -> None:
    batches = [[POSSIBLE[which] for which in batch] for batch in (one, other, third)]  # type: ignore[index]
    together = set_of(*batches)
    shuffled = [*batches, batches[0], list(set_of(batches[1], batches[2]))]
    random.Random(seed).shuffle(shuffled)
    assert set_of(*shuffled).digest == together.digest
    written = {one.signature for batch in batches for one in batch}
    assert {one.signature for one in set_of(*shuffled)} == {one.signature for one in together} == written
    assert together.learn(list(together)) == []


@given(written=some)
def test_whoever_stands_at_a_banned_place_or_below_is_banned_and_nobody_else(
    written: list[tuple[tuple[int, ...], int | None]],
) -> None:
    banned = set_of([POSSIBLE[which] for which in written])
    for path in PATHS:
        expected = any(path[: len(fallen)] == fallen for fallen, _ in written)
        assert banned.is_banned(node_at(*path).chain) == expected
        assert banned.is_owner_banned(place(*path).owner_chain) == expected
    assert (banned.digest == BanSet(ROOT).digest) == (not written)


def test_what_grows_is_told_once() -> None:
    made, told = BanSet(ROOT), list[Ban]()
    made.grown.append(told.extend)
    made.learn([ban((1, 2)), ban((1, 2))])
    made.learn([ban((1, 2)), ban((5, 6))])
    assert told == [ban((1, 2)), ban((5, 6))]


@pytest.mark.parametrize("fallen", [(1, 2), (1, 2, 3), (1, 3), (5, 2)])
def test_what_bans_this_node_is_kept_aside_and_said_once(fallen: tuple[int, ...]) -> None:
    own = place(1, 2, 3)
    made, told = BanSet(ROOT, own.owner_chain), list[bool]()
    made.fell.append(lambda: told.append(True))
    made.learn([ban(fallen), ban((5, 6))])
    made.learn([ban(fallen)])
    hits = fallen == (1, 2, 3)[: len(fallen)]
    assert (made.against_this_node == ban(fallen)) == hits
    assert told == [True] * hits
    assert len(made) == (1 if hits else 2)
    assert made.against(node_at(5, 6).chain) == [ban((5, 6))]


def test_whoever_two_have_banned_is_banned_by_either_and_shown_with_all_below() -> None:
    own = place(1, 2, 3)
    made = BanSet(ROOT, own.owner_chain)
    made.learn([ban((1, 2, 3), writer=2)])
    for writer in (2, 1, None):
        assert made.concern_this_node([ban((5, 6)), ban((1, 2, 3), writer)])
    assert not made.concern_this_node([ban((5, 6))])
    shown = {path for path in PATHS if made.is_known_banned(node_at(*path).chain)}
    assert shown == {(1, 2, 3), (1, 2, 3, 4)}


def test_a_banned_node_is_known_by_its_id_once_its_chain_was_judged() -> None:
    made, node = set_of([ban((1, 2))]), node_at(1, 2, 3)
    assert not made.nodes
    with pytest.raises(NotAllowed, match="banned"):
        made.check(node.node_id, node.chain)
    assert made.nodes == {node.node_id}
    assert not made.judge(node.node_id, node_at(5, 6).chain), "let in anew by somebody else"
    assert not made.nodes
    made.check(node_at(1).node_id, node_at(1).chain)


def test_a_founder_cannot_be_banned() -> None:
    with pytest.raises(NotAllowed, match="mesh rotate"):
        ban((1,))
    for path in ((1, 2), (1, 2, 3)):
        real = ban(path)
        forged = msgspec.structs.replace(real, chain=real.chain[-1:])
        with pytest.raises(RemoteProtocolError):
            BanSet(ROOT).learn([forged])


@pytest.mark.parametrize("writer", [2, 4, 5, 7], ids=["itself", "below", "another founder", "a stranger"])
def test_nobody_bans_who_did_not_stand_above(writer: int) -> None:
    with pytest.raises(NotAllowed):
        ban((1, 2), writer)


def test_who_certifies_somebody_elses_key_has_no_power_over_its_real_place() -> None:
    """Everybody who may invite can write a certificate for any key, an ancestor's, too."""
    victim_below_attacker = (1, 2, 5)
    made = set_of([ban(victim_below_attacker, 2), ban((1, 2, 5, 6), 2)])
    assert not made.is_banned(node_at(5).chain)
    assert not made.is_banned(node_at(5, 6).chain)
    assert made.is_banned(node_at(1, 2, 5, 6).chain)


@given(which=st.sampled_from(sorted(POSSIBLE, key=str)), data=st.data())
def test_a_ban_that_was_changed_is_nobodys(which: object, data: st.DataObject) -> None:
    real = POSSIBLE[which]  # type: ignore[index]
    others = [one for one in POSSIBLE.values() if one != real]
    other = data.draw(st.sampled_from(others))
    byte = data.draw(st.integers(0, 63))
    signature = bytes(value ^ (n == byte) for n, value in enumerate(real.signature))
    leaf = issue(key(1002), key(1).public, may_issue=False)
    changes = [
        {"signature": signature},
        {"writer": real.writer % 7 + 1},
        {"chain": other.chain} if other.chain != real.chain else {"signature": bytes(64)},
        {"chain": real.chain[:1] * 2},
        {"chain": [leaf, *real.chain]},
        {"chain": [b"\x30\x00", b""]},
    ]
    forged = msgspec.structs.replace(real, **data.draw(st.sampled_from(changes)))
    made = BanSet(ROOT)
    with pytest.raises(RemoteProtocolError):
        made.learn([other, forged])
    assert list(made) == [], "nothing of a batch that holds a forgery"


def test_bans_of_another_mesh_are_nobodys() -> None:
    foreign = make_ban(place(1, 2, secret=2).owner_chain, root(2), mesh(2).root_der)
    with pytest.raises(RemoteProtocolError):
        BanSet(ROOT).learn([foreign])


@given(written=st.lists(st.sampled_from(sorted(POSSIBLE, key=str)), max_size=20, unique=True), cut=st.integers(0, 20))
def test_limits_choose_the_same_whatever_came_first(
    written: list[tuple[tuple[int, ...], int | None]], cut: int
) -> None:
    """And what a founder wrote stands before what anybody below wrote."""
    made = [POSSIBLE[which] for which in written]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "BY_ONE_MAX", 3)
        patch.setattr(room, "BANS_MAX", 5)
        whole = set_of(made)
        assert len(whole) <= 5
        assert whole.digest == set_of(made[cut:], made[:cut]).digest == set_of(*[[one] for one in made]).digest
        assert whole.digest == set_of(list(set_of(made[:cut])), list(set_of(made[cut:]))).digest
        by_root = sum(writer is None for _, writer in written)
        assert sum(one.writer == len(one.chain) for one in whole) == min(by_root, 3)


def test_pages_fit_into_the_frames_of_an_opening_and_lose_nothing() -> None:
    many = list(POSSIBLE.values()) * 30
    pages = list(paged(many))
    assert len(pages) > 1
    assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]
    assert [one for page in pages for one in page.bans] == many
    assert all(page.bans for page in pages)
    codec: Codec[object] = PEER  # type: ignore[assignment]
    assert all(len(codec.encode(page)) <= OPENING_FRAME_BYTES_MAX for page in pages)
    (empty,) = paged([])
    assert not empty.bans
    assert not empty.more


@given(one=st.sampled_from(PATHS), other=st.sampled_from(PATHS))
def test_below_is_a_longer_path(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    expected = one[: len(other)] == other
    assert lies_below(place(*one).owner_chain, place(*other).owner_chain, ROOT) == expected
