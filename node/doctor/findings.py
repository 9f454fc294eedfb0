"""What a check says."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """`fix` says what to do where something is wrong. What does not matter is told, and fails nothing."""

    check: str
    ok: bool
    detail: str
    fix: str = ""
    matters: bool = True

    def as_dict(self) -> dict[str, object]:
        return {**msgspec.structs.asdict(self), "detail": _plain(self.detail)}


def _plain(text: str) -> str:
    """One line that does nothing to a terminal: some of it may be the words of other machines."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def well(check: str, detail: str) -> Finding:
    return Finding(check, True, detail)


def wrong(check: str, detail: str, fix: str) -> Finding:
    return Finding(check, False, detail, fix)


def worth_knowing(check: str, detail: str, fix: str) -> Finding:
    """Not as it could be, and nothing fails for it."""
    return Finding(check, False, detail, fix, matters=False)
