"""Engines of pairing: the invites a node has open, and the two sides of one exchange. Bytes in, bytes out.

The code is weak, so it may be tried a few times only: an exchange begins by taking one of its invite's three guesses,
and only a right confirmation gives it back. The joiner confirms first, so that whoever does not know the code learns
nothing but that. SPAKE2's identities hold the joiner's key and the certificate of the channel as each side sees it:
who sits in the middle has another certificate, and the two sides derive different keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from hmac import compare_digest
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ..overlay.errors import LimitExceeded, NotAllowed, RemoteProtocolError, Unavailable, from_wire
from ..overlay.identity.joining import Admission
from ..overlay.identity.keys import derive
from ..overlay.wire.codec import Message
from ..overlay.wire.pairing import ADMISSION, TO_INVITER, TO_JOINER, AdmissionBody, Admit, Ask, Confirm, Refusal, Reply
from .codes import Code, draw

GUESSES: Final = 3
OPEN_MAX: Final = 16
EXCHANGE_S: Final = 10.0
"""No exchange takes longer, on either side."""
_ONCE: Final = bytes(12)
"""Nonce of a key that seals one message."""

Token = Callable[[int], bytes]


class Invite(msgspec.Struct):
    code: Code
    expires_s: float
    uses_left: int = 1
    mine: bool = False
    invites: bool = False
    """Whoever joins may let others in."""
    guesses_left: int = GUESSES
    under_way: int = 0
    """Guesses taken by exchanges that may yet give them back."""

    @property
    def is_spent(self) -> bool:
        return self.uses_left <= 0 or self.guesses_left + self.under_way <= 0


class Invites:
    """Those that are open on this node."""

    def __init__(self) -> None:
        self._open: dict[int, Invite] = {}

    def open(self, token: Token, invite: Callable[[Code], Invite]) -> Invite:
        """Draws a code for a new invite. Raises LimitExceeded."""
        if len(self._open) >= OPEN_MAX:
            raise LimitExceeded(f"{OPEN_MAX} invites are open already")
        made = invite(draw(token, frozenset(self._open)))
        self._open[made.code.number] = made
        return made

    def get(self, now_s: float, number: int) -> Invite | None:
        self.tidy(now_s)
        return self._open.get(number)

    def tidy(self, now_s: float) -> None:
        """Forgets what has expired, has been used up, or was guessed at too often."""
        for number, invite in list(self._open.items()):
            if now_s >= invite.expires_s or invite.is_spent:
                del self._open[number]

    def next_end_s(self) -> float | None:
        """When the first of them expires; None without any."""
        return min((invite.expires_s for invite in self._open.values()), default=None)


class _Keys(msgspec.Struct, frozen=True):
    """What both sides derive from the same code, and nobody else."""

    joiner_proof: bytes
    inviter_proof: bytes
    seal: bytes


def _keys(key: bytes) -> _Keys:
    return _Keys(*(derive(key, f"pairing: {purpose}") for purpose in ("joiner", "inviter", "seal")))


def _identities(owner_public_key: bytes, channel_der: bytes) -> tuple[bytes, bytes]:
    return (
        b"potluck joiner\0" + owner_public_key,
        b"potluck inviter\0" + hashlib.sha256(channel_der).digest(),
    )


class Inviter:
    """One exchange as the inviter sees it. `channel_der`: the certificate that it has shown to whoever wants in.
    `admission(invite, owner_public_key)` makes what a joiner is given, once the joiner has proved itself, or raises
    NotAllowed.

    `receive` raises RemoteProtocolError for what is no part of the dialogue. `end` must follow, however it ended.
    """

    def __init__(
        self, invites: Invites, token: Token, channel_der: bytes, admission: Callable[[Invite, bytes], Admission]
    ) -> None:
        self._invites = invites
        self._token = token
        self._channel_der = channel_der
        self._admission = admission
        self._frames = TO_INVITER.frames()
        self._invite: Invite | None = None
        self._keys: _Keys | None = None
        self._owner_public_key = b""
        self.done = False
        self.admitted: Admission | None = None

    def receive(self, now_s: float, chunk: bytes) -> bytes:
        """What to send. Nothing more is taken once `done`."""
        self._frames.feed(chunk)
        answer = b""
        while not self.done and (body := self._frames.next_body()) is not None:
            answer += TO_JOINER.encode(self._take(now_s, TO_INVITER.decode(body)))
        return answer

    def _take(self, now_s: float, message: Message) -> Reply | Admit | Refusal:
        if isinstance(message, Ask) and self._invite is None:
            return self._asked(now_s, message)
        if isinstance(message, Confirm) and self._invite is not None and self._keys is not None:
            return self._confirmed(now_s, message, self._invite, self._keys)
        raise RemoteProtocolError(f"{type(message).__name__} has no place here")

    def _asked(self, now_s: float, ask: Ask) -> Reply | Refusal:
        invite = self._invites.get(now_s, ask.number)
        if invite is None:
            return self._refuse(NotAllowed(f"no invite {ask.number} is open here"))
        if not invite.guesses_left:
            return self._refuse(Unavailable("others are joining at this moment"))
        invite.guesses_left -= 1
        invite.under_way += 1
        self._invite = invite
        self._owner_public_key = ask.owner_public_key
        from . import spake  # takes a while to load, and hardly any start of a node needs it

        identities = _identities(ask.owner_public_key, self._channel_der)
        side = spake.inviter(invite.code.password, identities, self._token)
        reply = Reply(side.start())
        self._keys = _keys(spake.finish(side, ask.element))
        return reply

    def _confirmed(self, now_s: float, confirm: Confirm, invite: Invite, keys: _Keys) -> Admit | Refusal:
        if not compare_digest(confirm.proof, keys.joiner_proof):
            return self._refuse(NotAllowed("that is not the code"))
        if now_s >= invite.expires_s or invite.uses_left <= 0:
            return self._refuse(NotAllowed("the invite has been used up"))
        try:
            admission = self._admission(invite, self._owner_public_key)
        except ValueError as error:
            raise RemoteProtocolError(f"no public key: {error}") from error
        except NotAllowed as error:
            return self._refuse(error)
        invite.uses_left -= 1
        self.done = True
        self.admitted = admission
        return Admit(keys.inviter_proof, _sealed(keys, admission))

    def _refuse(self, error: NotAllowed | Unavailable) -> Refusal:
        self.done = True
        return Refusal(error.wire_code, str(error))

    def end(self) -> Invite | None:
        """The exchange is over. Without a right confirmation it was a wrong guess: at this invite."""
        self.done = True
        invite, self._invite = self._invite, None
        if invite is None:
            return None
        invite.under_way -= 1
        invite.guesses_left += self.admitted is not None
        return invite if self.admitted is None else None


class Joiner:
    """One exchange as the joiner sees it. `channel_der`: the certificate that whoever answered has shown.

    `receive` raises NotAllowed (the code is not theirs, or they refused), Unavailable (try again), RemoteProtocolError.
    """

    def __init__(self, code: Code, token: Token, channel_der: bytes, owner_public_key: bytes) -> None:
        from . import spake  # as above

        identities = _identities(owner_public_key, channel_der)
        self._side = spake.joiner(code.password, identities, token)
        self._finish = spake.finish
        self._ask = Ask(code.number, self._side.start(), owner_public_key)
        self._frames = TO_JOINER.frames()
        self._keys: _Keys | None = None
        self.admission: Admission | None = None

    def start(self) -> bytes:
        return TO_INVITER.encode(self._ask)

    def receive(self, chunk: bytes) -> bytes:
        """What to send. Over once `admission` is there."""
        self._frames.feed(chunk)
        answer = b""
        while self.admission is None and (body := self._frames.next_body()) is not None:
            answer += self._take(TO_JOINER.decode(body))
        return answer

    def _take(self, message: Message) -> bytes:
        match message:
            case Refusal(code, reason):
                error = from_wire(code, _plain(reason))
                raise error if isinstance(error, NotAllowed | Unavailable) else NotAllowed(str(error))
            case Reply(element) if self._keys is None:
                self._keys = _keys(self._finish(self._side, element))
                return TO_INVITER.encode(Confirm(self._keys.joiner_proof))
            case Admit(proof, sealed) if self._keys is not None:
                if not compare_digest(proof, self._keys.inviter_proof):
                    raise NotAllowed("whoever answered does not know the code")
                self.admission = _unsealed(self._keys, sealed)
                return b""
        raise RemoteProtocolError(f"{type(message).__name__} has no place here")


def _plain(reason: str) -> str:
    """Whoever answered is not proved yet, and what they say is shown on a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in reason)


def _sealed(keys: _Keys, admission: Admission) -> bytes:
    body = AdmissionBody(
        admission.root_der,
        admission.tag_key,
        list(admission.owner_chain),
        admission.inviter,
        admission.owner_key_pem,
    )
    return ChaCha20Poly1305(keys.seal).encrypt(_ONCE, ADMISSION.encode(body), None)


def _unsealed(keys: _Keys, sealed: bytes) -> Admission:
    frames = ADMISSION.frames()
    try:
        frames.feed(ChaCha20Poly1305(keys.seal).decrypt(_ONCE, sealed, None))
    except (InvalidTag, ValueError) as error:
        raise RemoteProtocolError("the admission cannot be opened") from error
    frame = frames.next_body()
    if frame is None:
        raise RemoteProtocolError("the admission is cut off")
    body = ADMISSION.decode(frame)
    return Admission(body.root, body.tag_key, tuple(body.owner_chain), body.inviter, body.owner_key_pem)
