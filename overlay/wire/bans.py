"""Bans: who is shut out for ever, and by whom. Told at the opening of a link that finds two sets different, and as
news over every link."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from .codec import Message

OWNERS_MAX: Final = 7
"""In a chain of at most eight certificates, of which one is a node's."""
_PAGE_BYTES: Final = 48 << 10
"""Fits into a frame of an opening."""


class Ban(msgspec.Struct, frozen=True, array_like=True):
    """What `identity.bans` makes and judges."""

    chain: Annotated[list[Annotated[bytes, Meta(min_length=1, max_length=1024)]], Meta(min_length=2, max_length=7)]
    """The banned owner's certificate first, the root left out."""
    writer: Annotated[int, Meta(ge=1, le=OWNERS_MAX)]
    """Whose signature it is: their place in the chain; the place after its last is the root's."""
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Bans(Message, frozen=True, tag=60):
    """Some of the sender's bans. At an opening first the initiator says all of its own, then the responder those that
    the initiator lacks; over a ready link, what is new. To a banned peer, and then nothing else: what shuts it out."""

    bans: Annotated[list[Ban], Meta(max_length=1024)]
    more: bool = False
    """At an opening: further pages follow."""


def paged(bans: Iterable[Ban]) -> Iterator[Bans]:
    """At least one page; the last says that no more follow."""
    page: list[Ban] = []
    size_bytes = 0
    for ban in bans:
        ban_bytes = 128 + sum(map(len, ban.chain))
        if page and size_bytes + ban_bytes > _PAGE_BYTES:
            yield Bans(page, more=True)
            page, size_bytes = [], 0
        page.append(ban)
        size_bytes += ban_bytes
    yield Bans(page)
