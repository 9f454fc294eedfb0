"""However a log is changed, it is found, and where."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.audit.chain import Broken, Chain, Checker
from potluck.overlay.wire.audit import START, Head, Run, digest_of, encode, entry_in

OWNER, MASTER, PROGRAM = b"o" * 20, b"m" * 20, b"p" * 32


def log(length: int, *, job: str = "j", chain: Chain | None = None) -> list[bytes]:
    grown = chain or Chain()
    return [
        grown.grow(100.0 + n, OWNER, MASTER, f"{job}{n}", PROGRAM, [Run(n, 0, 1.0, 2.0, 0, digest_of(b"value"))])
        for n in range(length)
    ]


def head_at(entries: list[bytes], number: int) -> Head:
    return Head(b"k" * 32, number, digest_of(entries[number - 1]) if number else START, 1.0, bytes(64))


def checked(entries: Iterable[bytes], heads: Iterable[Head], first: int = 1, previous: bytes = START) -> Broken | None:
    checker = Checker(heads)
    checker.begin(first, previous)
    for entry in entries:
        checker.take(entry)
    checker.end()
    return checker.broken


LENGTHS = st.integers(1, 12)


@given(LENGTHS, st.data())
def test_a_log_as_it_was_holds_whatever_heads_are_kept(length: int, data: st.DataObject) -> None:
    entries = log(length)
    numbers = data.draw(st.lists(st.integers(0, length)))
    assert checked(entries, [head_at(entries, number) for number in numbers]) is None
    let_go = data.draw(st.integers(0, length - 1))
    previous = digest_of(entries[let_go - 1]) if let_go else START
    heads = [head_at(entries, number) for number in numbers]
    assert checked(entries[let_go:], heads, let_go + 1, previous) is None


@given(LENGTHS, st.data())
def test_any_edit_removal_exchange_or_cut_is_found_and_named(length: int, data: st.DataObject) -> None:
    entries = log(length)
    heads = [head_at(entries, length)]
    at = data.draw(st.integers(0, length - 1))
    changed = list(entries)
    match data.draw(st.sampled_from(["edit", "remove", "exchange", "cut", "garble"])):
        case "edit":
            entry = entry_in(entries[at])
            changed[at] = encode(msgspec.structs.replace(entry, job="another"))
        case "remove":
            del changed[at]
        case "exchange":
            other = data.draw(st.integers(0, length - 1).filter(lambda one: one != at or length == 1))
            changed[at], changed[other] = changed[other], changed[at]
            at = min(at, other)
        case "cut":
            del changed[at:]
        case _:
            changed[at] = entries[at][:-1]
    broken = checked(changed, heads)
    if changed == entries:
        assert broken is None
    else:
        assert broken is not None
        assert broken.first <= at + 1 <= broken.last


@given(LENGTHS, st.data())
def test_a_log_written_anew_is_found_by_what_others_keep(length: int, data: st.DataObject) -> None:
    """Every digest in it is right."""
    entries = log(length)
    numbers = sorted(data.draw(st.sets(st.integers(1, length))) | {length})
    at = data.draw(st.integers(0, length - 1))
    chain = Chain(at, digest_of(entries[at - 1]) if at else START)
    changed = entries[:at] + log(data.draw(st.integers(0, length)), job="other", chain=chain)
    broken = checked(changed, [head_at(entries, number) for number in numbers])
    assert broken is not None
    assert broken.first <= at + 1 <= broken.last
    assert broken.first == max([number for number in numbers if number <= at], default=0) + 1


def test_without_anybody_who_keeps_a_head_a_change_without_new_digests_is_found_all_the_same() -> None:
    entries = log(5)
    changed = list(entries)
    changed[2] = encode(msgspec.structs.replace(entry_in(entries[2]), job="another"))
    assert checked(changed, []) == Broken(3, 3, "the next one was written after another")
