"""What a member does that no shipped node would: its messages are changed on their way out of its machine.

| misconduct  | what others hear from it                                                               |
|-------------|----------------------------------------------------------------------------------------|
| `boasts`    | that it is idle and has very many slots                                                |
| `refuses`   | that it does not keep what it is given to store                                        |
| `forges`    | records with another value or a later version than their publisher has signed          |
| `babbles`   | bytes that are no message, and messages that are not legal where they are said         |
| `repeats`   | everything twice that may be said twice                                                |

Its node is the shipped one and believes itself honest. The openings and the closings of a conversation, and the objects
of bulk connections, are left alone: there is one way to say them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import msgspec

from ..overlay.errors import NotAllowed
from ..overlay.wire import peer
from ..overlay.wire.codec import Message
from ..overlay.wire.framing import CONTROL_FRAME_BYTES_MAX, WIRE_VERSION, encode_frame
from ..overlay.wire.gossip import PeerExchange
from ..overlay.wire.opening import ConnectRequest
from ..overlay.wire.records import Record, Stored, Value

BABBLE_EVERY: Final = 8
"""One message in so many comes with something that is none."""
_BOAST_SLOTS: Final = 4096
_NOISE_BYTES_MAX: Final = 200
_FREE: Final = (*peer.GOSSIP, *peer.WORK, *peer.RECORDS, *peer.REGISTERS)
"""What may be said at any time on a link, in any order."""

Said = Message | bytes
"""What leaves the machine: a message, or bytes that are none."""
Twist = Callable[[Message, random.Random], list[Said]]


def _boasts(message: Message, _draws: random.Random) -> list[Said]:
    if not isinstance(message, PeerExchange):
        return [message]
    replace = msgspec.structs.replace
    loads = [replace(one, load=replace(one.load, slots=_BOAST_SLOTS, busy=0, queued=0)) for one in message.loads]
    return [replace(message, loads=loads)]


def _refuses(message: Message, _draws: random.Random) -> list[Said]:
    if isinstance(message, Stored) and message.accepted:
        return [Stored(message.request, False, NotAllowed.wire_code, "not here")]
    return [message]


def _forges(message: Message, draws: random.Random) -> list[Said]:
    if isinstance(message, Value) and message.records:
        forged = [_forged(record, draws) for record in message.records]
        message = msgspec.structs.replace(message, records=forged)
    elif isinstance(message, Stored) and message.newer is not None:
        message = msgspec.structs.replace(message, newer=_forged(message.newer, draws))
    return [message]


def _forged(record: Record, draws: random.Random) -> Record:
    version = record.version + draws.choice((0, 1, 1 << 16))
    return msgspec.structs.replace(record, value=b"forged " + record.value, version=version)


def _babbles(message: Message, draws: random.Random) -> list[Said]:
    return [message, _noise(draws)] if draws.randrange(BABBLE_EVERY) == 0 else [message]


def _noise(draws: random.Random) -> bytes:
    match draws.randrange(5):
        case 0:
            return draws.randbytes(draws.randint(1, _NOISE_BYTES_MAX))
        case 1:
            return encode_frame(draws.randbytes(draws.randint(0, _NOISE_BYTES_MAX)))
        case 2:
            return (CONTROL_FRAME_BYTES_MAX + 1).to_bytes(4, "big") + bytes([WIRE_VERSION])
        case 3:
            return peer.PEER.encode(ConnectRequest(draws.randbytes(20), "nobody", 1, "control"))
        case _:
            return bytes(4) + bytes([WIRE_VERSION + draws.randint(1, 100)])


def _repeats(message: Message, _draws: random.Random) -> list[Said]:
    return [message, message]


MISCONDUCT: Final[dict[str, Twist]] = {
    "boasts": _boasts,
    "refuses": _refuses,
    "forges": _forges,
    "babbles": _babbles,
    "repeats": _repeats,
}


class Mouth:
    """Everything that one machine says passes here. Each write of a node consists of whole frames."""

    def __init__(self, draws: random.Random, repeat: float = 0.0) -> None:
        self._draws = draws
        self._repeat = repeat
        self._ways: list[str] = []

    def begin(self, misconduct: str) -> None:
        self._ways.append(misconduct)

    def end(self, misconduct: str) -> None:
        self._ways.remove(misconduct)

    def __call__(self, data: bytes) -> bytes:
        if not (self._ways or self._repeat):
            return data
        frames, said = peer.PEER.frames(), []
        frames.feed(data)
        while (body := frames.next_body()) is not None:
            message = peer.PEER.decode(body)
            said += self._spoken(message) if isinstance(message, _FREE) else [encode_frame(body)]
        return b"".join(said)

    def _spoken(self, message: Message) -> list[bytes]:
        said: list[Said] = [message]
        for way in self._ways_now():
            said = [after for before in said for after in self._twisted(before, MISCONDUCT[way])]
        return [one if isinstance(one, bytes) else peer.PEER.encode(one) for one in said]

    def _ways_now(self) -> list[str]:
        repeats = self._repeat and self._draws.random() < self._repeat
        return [*self._ways, "repeats"] if repeats else self._ways

    def _twisted(self, said: Said, twist: Twist) -> list[Said]:
        return [said] if isinstance(said, bytes) else twist(said, self._draws)
