"""A code is found however it is typed, and a slip of the finger is noticed before it costs a guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.discovery.codes import NUMBERS, Code, draw, parse
from potluck.discovery.words import WORDS
from potluck.overlay.errors import UsageError
from potluck.simulations.entropy import SeededEntropy

codes = st.builds(Code, st.sampled_from(NUMBERS), st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)))
gaps = st.text(" -_\t", min_size=1, max_size=3)


def test_there_are_words_enough_for_twenty_bits_and_all_are_different() -> None:
    assert len({word.lower() for word in WORDS}) == len(WORDS) >= 1024
    assert all(word.isascii() and word.isalpha() and word.islower() and 3 <= len(word) <= 10 for word in WORDS)


@given(code=codes, data=st.data())
def test_a_code_is_the_same_in_any_case_and_with_any_gaps(code: Code, data: st.DataObject) -> None:
    cases = st.sampled_from([str.lower, str.upper, str.title, str.swapcase])
    words = [data.draw(cases)(word) for word in code.words]
    typed = data.draw(gaps).join(["", str(code.number)]) + data.draw(gaps) + data.draw(gaps).join([*words, ""])
    assert parse(typed) == parse(str(code)) == code
    assert parse(typed).password == code.password


@given(text=st.text(max_size=40))
def test_what_is_no_code_is_a_usage_error(text: str) -> None:
    try:
        assert parse(text).number in NUMBERS
    except UsageError as error:
        assert "\n" not in str(error).replace(text, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "7-copper",
        "0-copper-lantern",
        "100-copper-lantern",
        "copper-lantern-7",
        "٧-copper-lantern",
        "7-copper-lantern-lamp",
        "-7-copper",
    ],
)
def test_near_misses_are_no_codes(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_a_mistyped_word_is_named_with_the_one_it_was_to_be() -> None:
    with pytest.raises(UsageError, match="lantern"):
        parse("7-copper-lanten")


@given(seed=st.integers(0, 1000), taken=st.sets(st.sampled_from(NUMBERS), max_size=16))
def test_a_drawn_code_has_a_number_of_its_own(seed: int, taken: set[int]) -> None:
    code = draw(SeededEntropy(seed, "codes").token, frozenset(taken))
    assert code.number in NUMBERS
    assert code.number not in taken
    assert parse(str(code)) == code
