"""SPAKE2 (Abdalla and Pointcheval, 2005) with fixed roles: the joiner is A, the inviter is B.

`finish` succeeds whatever the code was: that both have derived the same key is known only once each has proved it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError
from spake2.ed25519_basic import NotOnCurve

from ..overlay.errors import RemoteProtocolError

_NO_ELEMENT: Final = (SPAKEError, NotOnCurve, ValueError, AssertionError)
"""What the library raises for bytes that somebody made up."""


class Side(Protocol):
    def start(self) -> bytes: ...

    def finish(self, element: bytes) -> bytes: ...


def joiner(password: bytes, identities: tuple[bytes, bytes], token: Callable[[int], bytes]) -> Side:
    side: Side = SPAKE2_A(password, *identities, entropy_f=token)
    return side


def inviter(password: bytes, identities: tuple[bytes, bytes], token: Callable[[int], bytes]) -> Side:
    side: Side = SPAKE2_B(password, *identities, entropy_f=token)
    return side


def finish(side: Side, element: bytes) -> bytes:
    """The key. Raises RemoteProtocolError for what is no element of the other side's."""
    try:
        return side.finish(element)
    except _NO_ELEMENT as error:
        raise RemoteProtocolError(f"no element of SPAKE2: {error or type(error).__name__}") from error
