"""Whose records are kept: who is proved a member stays known as long as its records, if there is room."""

from __future__ import annotations

import pytest
from potluck.overlay.dht import publishers
from potluck.overlay.dht.publishers import Publishers
from potluck.simulations.store import VirtualDisk, VirtualStore

from ...strategies.identities import key, member

ME = member(1)


def known(used: set[bytes], disk: VirtualDisk | None = None) -> tuple[Publishers, VirtualStore]:
    store = VirtualStore(disk or VirtualDisk(), lambda: 0.0)
    return Publishers(ME, store, used.__contains__), store


def test_a_chain_proves_its_own_key_and_no_other() -> None:
    book, _ = known(set())
    other = member(2)
    assert not book.prove(key(3).public, other.chain)
    assert not book.prove(key(2).public, member(2, secret=2).chain), "another mesh"
    assert not book.prove(key(2).public, [])
    assert not book.prove(key(2).public, [b"junk"])
    assert book.owner_of(key(2).public) is None
    assert book.prove(key(2).public, other.chain)
    assert book.owner_of(key(2).public) == other.owner_id
    assert book.chain_of(key(2).public) == tuple(other.chain)


def test_the_nodes_of_an_owner_are_counted_together() -> None:
    book, _ = known(set())
    for number in (2, 3):
        assert book.prove(key(number).public, member(number).chain)
    assert book.prove(key(4).public, member(4, owner=2).chain)
    assert book.of_owner(ME.owner_id) == {key(number).public for number in (1, 2, 3)}
    assert book.of_owner(member(4, owner=2).owner_id) == {key(4).public}


@pytest.mark.parametrize("garbled", [False, True])
def test_after_a_restart_those_are_known_whose_records_are_here(garbled: bool) -> None:
    book, store = known(set())
    for number in (2, 3):
        assert book.prove(key(number).public, member(number).chain)
        book.keep(key(number).public)
    if garbled:
        entries = store._tables["publishers"]
        entries[key(2).public] = entries[key(2).public][:-1] + b"?"
    again = Publishers(ME, store, {key(2).public}.__contains__)
    again.load()
    assert (again.owner_of(key(2).public) is None) == garbled
    assert again.owner_of(key(3).public) is None
    assert len(list(store.scan("publishers"))) == (not garbled)


def test_a_node_is_known_by_the_chain_of_this_life_also_where_its_last_one_had_another() -> None:
    book, store = known({ME.key.public})
    book.keep(ME.key.public)
    again = Publishers(member(1, owner=7), store, {ME.key.public}.__contains__)
    again.load()
    assert again.chain_of(ME.key.public) == tuple(member(1, owner=7).chain) != tuple(ME.chain)


def test_when_there_is_no_more_room_those_without_records_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishers, "PUBLISHERS_MAX", 3)
    book, store = known({key(2).public})
    for number in (2, 3):
        assert book.prove(key(number).public, member(number).chain)
        book.keep(key(number).public)
    assert book.prove(key(4).public, member(4).chain)
    assert [book.owner_of(key(number).public) is not None for number in (1, 2, 3, 4)] == [True, True, False, True]
    assert len(list(store.scan("publishers"))) == 1
