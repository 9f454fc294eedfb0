"""Invite codes: a public number, by which the inviter is found, and two secret words. `7-copper-lantern`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Final

import msgspec

from ..overlay.errors import UsageError
from .words import WORDS

NUMBERS: Final = range(1, 100)
_KNOWN: Final = frozenset(WORDS)


class Code(msgspec.Struct, frozen=True):
    number: int
    words: tuple[str, str]

    def __str__(self) -> str:
        return "-".join((str(self.number), *self.words))

    @property
    def password(self) -> bytes:
        return str(self).encode()


def draw(token: Callable[[int], bytes], taken: frozenset[int]) -> Code:
    """A fresh code whose number is not among `taken`; `token(n)` gives n unpredictable bytes."""
    free = [number for number in NUMBERS if number not in taken]

    def below(limit: int) -> int:
        return int.from_bytes(token(16), "big") % limit  # the remainder's bias is below 2**-117

    return Code(free[below(len(free))], (WORDS[below(len(WORDS))], WORDS[below(len(WORDS))]))


def parse(text: str) -> Code:
    """However it is typed: in any case, with spaces, dashes or underscores. Raises UsageError; that spends no guess."""
    parts = [part for part in re.split(r"[\s_\-]+", text.strip().lower()) if part]
    if len(parts) != 3 or not (parts[0].isascii() and parts[0].isdecimal() and len(parts[0]) <= 3):
        raise UsageError(f"{text!r} is no invite code: it is a number and two words, like 7-copper-lantern")
    number = int(parts[0])
    if number not in NUMBERS:
        raise UsageError(f"{text!r} is no invite code: its number is from 1 to 99")
    for word in parts[1:]:
        if word not in _KNOWN:
            near = difflib.get_close_matches(word, WORDS, n=1)
            hint = f": is it {near[0]!r}?" if near else ""
            raise UsageError(f"{word!r} is in no invite code{hint}")
    return Code(number, (parts[1], parts[2]))
