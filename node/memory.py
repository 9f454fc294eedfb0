"""Distributed memory as programs use it: plain keys, newest wins, on the DHT; agreed keys on registers.

The first compare-and-set or increment makes a key agreed for ever. A mark in the DHT, which no plain write replaces,
tells every reader and writer so. The register begins with the value that the key had as a plain one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import trio

from ..overlay.clock import MeshTime
from ..overlay.dht.replication import Replication
from ..overlay.dht.service import Dht
from ..overlay.errors import (
    Conflict,
    LimitExceeded,
    NotFound,
    PotluckError,
    Refused,
    Unavailable,
    UsageError,
)
from ..overlay.registers.changes import ContentStep
from ..overlay.registers.service import Registers
from ..overlay.wire import values
from ..overlay.wire.codec import decoded
from ..overlay.wire.framing import VALUE_BYTES_MAX
from ..overlay.wire.records import VERSION_MAX, Version

logger = logging.getLogger("potluck.memory")

NAMESPACE: Final = "mem"
KEY_BYTES_MAX: Final = 1024
_CELL_BYTES: Final = 64
"""What a value's version and expiry take beside it."""
_NUMBER_BYTES_MAX: Final = 1024
"""In decimal that is less than Python makes a text of, and whoever adds to it is told it so."""
_AMOUNT_MAX: Final = 1 << 63
_TTL_S_MAX: Final = 1 << 53
_AGREED_KNOWN_MAX: Final = 65_536
_PARTS_MAX: Final = 2
"""Of all that a change may have to do, so many parts may take as long as they may."""


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """Content of an agreed key's register."""

    version: Version = 0
    value: bytes | None = None
    """None: the key has no value now."""
    expires_at_s: float = math.inf


_cell: Final = msgspec.msgpack.Decoder(Cell)
Change = Callable[[Cell], Cell]


class SharedMemory:
    """Values are bytes to a node, but for the numbers it increments; what they mean is the programs' affair."""

    def __init__(self, replication: Replication, registers: Registers, dht: Dht) -> None:
        self._replication = replication
        self._registers = registers
        self._clock = dht.clock
        self._mesh_time: MeshTime = dht.mesh_time
        self._limit_s = _PARTS_MAX * dht.config.operation_timeout_s
        self._agreed: set[bytes] = set()
        """Keys whose register is known to have begun: no need to look for the mark."""
        registers.founding.given_up.append(self._given_up)

    async def set(
        self, key: str, value: bytes, ttl_s: float | None, if_version: int | None = None
    ) -> dict[str, object]:
        """Raises Conflict when the key has another version than `if_version`, 0 for no value."""
        if len(value) > VALUE_BYTES_MAX:
            raise LimitExceeded(f"a value of {len(value)} bytes: a key holds at most {VALUE_BYTES_MAX}")
        if ttl_s is not None and not 0 < ttl_s <= _TTL_S_MAX:
            raise UsageError(f"a time to live must be positive, and {_TTL_S_MAX} s at most")
        if if_version is not None and not 0 <= if_version <= VERSION_MAX:
            raise UsageError(f"a version is a number from 0 to {VERSION_MAX}")
        return await self._put(key, value, ttl_s, if_version)

    async def delete(self, key: str) -> dict[str, object]:
        return await self._put(key, None, None, None)

    async def remove(self, key: str) -> dict[str, object]:
        """`delete`, for whoever has to know that there was something. Raises NotFound."""
        await self.get(key)
        return await self.delete(key)

    async def _put(
        self, key: str, value: bytes | None, ttl_s: float | None, if_version: int | None
    ) -> dict[str, object]:
        with self._in_time(key):
            return await self._put_at(_encoded(key), key, value, ttl_s, if_version)

    async def _put_at(
        self, place: bytes, key: str, value: bytes | None, ttl_s: float | None, if_version: int | None
    ) -> dict[str, object]:
        if if_version is None and place not in self._agreed:
            plain = self._replication
            if value is None:
                put = await plain.delete(NAMESPACE, place)
            else:
                put = await plain.put(NAMESPACE, place, value, ttl_s)
            if not put.agreed:
                return {"key": key, "version": put.version, "replicas": put.replicas}
        expires_at_s = math.inf if ttl_s is None else self._mesh_time.now_s() + ttl_s

        def change(cell: Cell) -> Cell:
            if if_version is not None and if_version != (cell.version if cell.value is not None else 0):
                have = "no value" if cell.value is None else f"version {cell.version}"
                raise Conflict(f"{key!r} has {have} now, not version {if_version}")
            return Cell(self._version_after(key, cell), value, expires_at_s)

        cell, replicas = await self._change(place, change)
        return {"key": key, "version": cell.version, "replicas": replicas}

    async def get(self, key: str) -> tuple[bytes, int]:
        """The value and its version. Raises NotFound, Unavailable."""
        place = _encoded(key)
        begun = place in self._agreed
        record = None if begun else await self._replication.get(NAMESPACE, place)
        if record is not None and not record.agreed:
            return record.value, record.version
        if begun or record is not None:
            content = await self._registers.read(_register(place))
            self._note(place, content)
            cell = self._now(_opened(content or (record.value if record else None)))
            if cell.value is not None:
                return cell.value, cell.version
        raise NotFound(f"no key {key!r}")

    async def increment(self, key: str, amount: int) -> dict[str, object]:
        """Adds to the number under the key, 0 where there is none. Raises Refused where there is no integer, and
        LimitExceeded where it is too long."""
        place = _encoded(key)
        if not -_AMOUNT_MAX <= amount < _AMOUNT_MAX:
            raise UsageError("a key grows by an integer of at most 63 bits")

        def change(cell: Cell) -> Cell:
            total = values.encode_bytes(_number(key, cell.value) + amount)
            if len(total) > _NUMBER_BYTES_MAX:
                raise _too_long(key)
            return Cell(self._version_after(key, cell), total, cell.expires_at_s)

        with self._in_time(key):
            cell, replicas = await self._change(place, change)
        return {"key": key, "value": _number(key, cell.value), "version": cell.version, "replicas": replicas}

    @contextmanager
    def _in_time(self, key: str) -> Iterator[None]:
        """A key that is agreed for the first time is looked for, given acceptors, marked and changed: each has a limit
        of its own, and whoever waits has one. Raises Unavailable."""
        with trio.move_on_after(self._limit_s) as limit:
            yield
        if limit.cancelled_caught:
            raise Unavailable(f"the mesh does not agree on {key!r} in {self._limit_s:g} s")

    # Agreed keys

    async def _change(self, place: bytes, change: Change) -> tuple[Cell, int]:
        """The cell as it is afterwards, and how many nodes at least have it on disk."""
        begin = b"" if place in self._agreed else await self._beginning(place)

        def apply(content: bytes | None) -> tuple[bytes | None, Cell]:
            cell = change(self._now(_opened(content or begin)))
            return msgspec.msgpack.encode(cell), cell

        state, cell = await self._registers.operate(_register(place), ContentStep(self._registers.token(), apply))
        if isinstance(cell, Exception):
            raise cell
        self._note(place, state.content)
        assert isinstance(cell, Cell)
        return cell, len(state.configuration.acceptors) // 2 + 1

    async def _beginning(self, place: bytes) -> bytes:
        """What the key's register begins with, should it not have begun; the key is agreed when this returns.

        The mark comes after the register's acceptors are agreed, so that a part of the mesh that cannot agree does
        not mark what it cannot serve, and before the register is written, so that no plain write is acknowledged
        after an agreed one.
        """
        record = await self._replication.get(NAMESPACE, place)
        if record is not None and record.agreed:
            return record.value
        await self._registers.exists(_register(place))
        cell = Cell() if record is None else Cell(record.version, record.value, record.expires_at_s)
        begin = msgspec.msgpack.encode(cell)
        if len(begin) > VALUE_BYTES_MAX:
            raise LimitExceeded(f"a key that is to be agreed holds at most {VALUE_BYTES_MAX - _CELL_BYTES} bytes")
        await self._replication.make_agreed(NAMESPACE, place, begin)
        return begin

    def _given_up(self, name: bytes, content: bytes) -> None:
        """The register is not served any more: where nobody else has the key, it begins again with what it held."""
        namespace, _, place = name.partition(b"\0")
        if namespace == NAMESPACE.encode():
            self._agreed.discard(place)
            self._registers.start(self._begin_again, place, content)

    async def _begin_again(self, place: bytes, content: bytes) -> None:
        try:
            await self._replication.make_agreed(NAMESPACE, place, content)
        except PotluckError as error:
            logger.error("an agreed key of this machine was not taken along: %s", error)

    def _now(self, cell: Cell) -> Cell:
        if cell.expires_at_s <= self._mesh_time.now_s():
            return Cell(cell.version)
        return cell

    def _version_after(self, key: str, cell: Cell) -> int:
        version = max(cell.version + 1, self._clock.next_version())
        if version > VERSION_MAX:
            raise LimitExceeded(f"{key!r} has been given the last version that there is: use another key")
        return version

    def _note(self, place: bytes, content: bytes | None) -> None:
        if content is not None:
            if len(self._agreed) >= _AGREED_KNOWN_MAX:
                self._agreed.clear()
            self._agreed.add(place)


def _register(place: bytes) -> bytes:
    return NAMESPACE.encode() + b"\0" + place


def _opened(content: bytes | None) -> Cell:
    return decoded(_cell, content, "an agreed key") if content else Cell()


def _number(key: str, value: bytes | None) -> int:
    if value is None:
        return 0
    if len(value) > _NUMBER_BYTES_MAX:
        raise _too_long(key)
    held: Any = values.decode_bytes(value)
    if type(held) is not int:
        raise Refused(f"{key!r} holds no integer")
    return held


def _too_long(key: str) -> LimitExceeded:
    return LimitExceeded(f"{key!r} holds more than {_NUMBER_BYTES_MAX} bytes: no number that can be added to")


def _encoded(key: str) -> bytes:
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"key {key!r} is not valid text") from error
    if not 0 < len(encoded) <= KEY_BYTES_MAX:
        raise UsageError(f"a key has 1 to {KEY_BYTES_MAX} bytes")
    return encoded


async def ask_memory(memory: SharedMemory, operation: str, arguments: object) -> object:
    """What a running task may ask of its node: the memory that its owner's programs use too. Raises UsageError."""
    match operation, arguments:
        case "mem_get", [str(key)]:
            return (await memory.get(key))[0]
        case "mem_get_version", [str(key)]:
            return list(await memory.get(key))
        case "mem_set", [str(key), bytes(value), ttl_s] if ttl_s is None or isinstance(ttl_s, int | float):
            return await memory.set(key, value, ttl_s)
        case "mem_set_if", [str(key), bytes(value), int(version)]:
            return await memory.set(key, value, None, version)
        case "mem_incr", [str(key), int(amount)]:
            return (await memory.increment(key, amount))["value"]
        case "mem_del", [str(key)]:
            return await memory.remove(key)
    raise UsageError(f"a task cannot ask its node for {operation!r}")
