"""Engines of how a joiner finds its inviter on the multicast group: only the number of the code is ever said there."""

from __future__ import annotations

from typing import Final

from ..overlay.ports import Address
from ..overlay.wire.beacon import SEEKING, Offer, Seek
from .beacon import read_datagram
from .pairing import Invites

OFFERS_PER_S: Final = 20.0
"""A flood of forged searches is not amplified beyond this."""
RESPONDERS_MAX: Final = 3
"""Each of them may be false, and each false one gets to test one guess at the code."""


class Offers:
    """The inviter's side: answers a search for an open invite, at most so often."""

    def __init__(self, invites: Invites, nonce: bytes, port: int) -> None:
        self._invites = invites
        self._nonce = nonce
        self._port = port
        self._allowance = OFFERS_PER_S
        self._counted_s = float("-inf")

    def received(self, now_s: float, data: bytes) -> bytes | None:
        message = read_datagram(SEEKING, data)
        if not isinstance(message, Seek) or self._invites.get(now_s, message.number) is None:
            return None
        self._allowance = min(OFFERS_PER_S, self._allowance + (now_s - self._counted_s) * OFFERS_PER_S)
        self._counted_s = now_s
        if self._allowance < 1:
            return None
        self._allowance -= 1
        return SEEKING.encode(Offer(message.number, message.seeker, self._nonce, self._port))


class Search:
    """The joiner's side: whom to try."""

    def __init__(self, number: int, nonce: bytes) -> None:
        self._seek = Seek(number, nonce)
        self._inviters: set[bytes] = set()

    def call(self) -> bytes:
        return SEEKING.encode(self._seek)

    @property
    def is_full(self) -> bool:
        return len(self._inviters) >= RESPONDERS_MAX

    def received(self, data: bytes, host: str) -> Address | None:
        """Where to knock; None for what is no new answer to this search."""
        message = read_datagram(SEEKING, data)
        if not isinstance(message, Offer) or self.is_full or message.inviter in self._inviters or not message.port:
            return None
        if (message.number, message.seeker) != (self._seek.number, self._seek.seeker):
            return None
        self._inviters.add(message.inviter)
        return Address(host, message.port)
