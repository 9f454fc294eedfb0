"""`potluck.memory`: the mesh's memory, from a program or from inside a task."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, Final

from ..overlay.errors import Conflict, DeadlineExceeded, LimitExceeded, LinkLost, NoNode, NotFound, UsageError
from ..overlay.wire import control, inside, values
from ..overlay.wire.framing import VALUE_BYTES_MAX
from .connection import Connection
from .dialling import Link, dial, greet
from .forking import forgets_parent
from .options import span_s
from .private import OF_PROGRAM
from .redialling import Redialler
from .surroundings import Surroundings, here

KEY_BYTES_MAX: Final = 256

ANSWER_TIMEOUT_S: Final = 30.0
"""The node itself gives up after ten."""


class Memory:
    """A mapping from text to plain data, shared by all nodes of the mesh; of two writers the newer wins.

    Supports `memory[key]`, `memory[key] = value`, `del memory[key]`, `key in memory`, `get`, and `set` with a time
    to live. The first `compare_and_set` or `increment` makes a key agreed for ever: from then on nothing done to it
    is lost or done twice, and without a majority of those who keep it `Unavailable` is raised. It cannot be iterated.
    Needs a running node, to which it connects at the first use: the user's, or where the user runs none the private
    one of this program's executors, which forgets everything when the last of them is shut down.
    """

    def __init__(self, surroundings: Surroundings | None = None) -> None:
        self._surroundings = surroundings
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    __iter__ = None
    """Else Python would count through the keys 0, 1, 2, …"""

    def __getitem__(self, key: str) -> Any:
        """Raises KeyError when nothing is stored under `key`."""
        try:
            return self._read(key)
        except NotFound:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: object) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        """Raises KeyError when nothing is stored under `key`."""
        checked_key(key)
        try:
            if inside.current() is not None:
                inside.call("mem_del", [key])
            else:
                self._ask(control.MemoryDelete, key)
        except NotFound:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key, _ABSENT) is not _ABSENT

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self._read(key)
        except NotFound:
            return default

    def set(self, key: str, value: object, ttl: float | None = None) -> None:
        """Returns when the value is on disk at a majority of those who keep it. `ttl`: seconds until it is gone."""
        checked_key(key)
        ttl_s = None if ttl is None else span_s("ttl", ttl)
        if inside.current() is not None:
            inside.call("mem_set", [key, encoded(value), ttl_s])
        else:
            self._ask(control.MemorySet, key, encoded(value), ttl_s)

    def compare_and_set(self, key: str, expected: object, new: object) -> bool:
        """Stores `new` if the key holds `expected` at that moment; `None` also stands for a key without a value.

        False: it holds something else. Raises Unavailable when no majority answers in time; then it may have been
        stored all the same, or still be.
        """
        data = encoded(new)
        while True:
            present, version = self._read_version(key)
            if not _same(present, expected):
                return False
            try:
                if inside.current() is not None:
                    inside.call("mem_set_if", [key, data, version])
                else:
                    self._ask(control.MemorySet, key, data, None, version)
            except Conflict:
                continue  # somebody else was first; what is there now decides
            return True

    def increment(self, key: str, n: int = 1) -> int:
        """Adds `n` to the integer under `key`, which counts as 0 where there is none, and returns the sum.

        Raises Unavailable as `compare_and_set` does, and Refused when the key holds no integer.
        """
        checked_key(key)
        checked_amount(n)
        if inside.current() is not None:
            total = inside.call("mem_incr", [key, n])
        else:
            total = json.loads(self._ask(control.MemoryIncrement, key, n).json)["value"]
        assert isinstance(total, int)
        return total

    def close(self) -> None:
        """Ends the connection; the next use opens another."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _read(self, key: str) -> Any:
        checked_key(key)
        if inside.current() is not None:
            answered = inside.call("mem_get", [key])
            assert isinstance(answered, bytes)
            return values.decode_bytes(answered)
        answer = self._ask(control.MemoryGet, key)
        return values.decode_bytes(answer.value)

    def _read_version(self, key: str) -> tuple[Any, int]:
        checked_key(key)
        try:
            if inside.current() is not None:
                answered = inside.call("mem_get_version", [key])
                assert isinstance(answered, list)
                return values.decode_bytes(answered[0]), answered[1]
            answer = self._ask(control.MemoryGet, key)
        except NotFound:
            return None, 0
        return values.decode_bytes(answer.value), answer.version

    def _ask(self, message: Any, key: str, *arguments: object) -> Any:
        """Again, of another node, if the first is lost before it has heard of this, or was only to read."""
        for _ in range(_NODES_ASKED_MAX):
            connection = self._connected()
            try:
                return connection.ask(message, key, *arguments).result(ANSWER_TIMEOUT_S)
            except TimeoutError:
                raise DeadlineExceeded(f"the node did not answer within {ANSWER_TIMEOUT_S:g} s") from None
            except LinkLost as error:
                lost = error
                if connection.was_greeted and message is not control.MemoryGet:
                    raise
            self._follow(connection, lost)
        raise lost

    def _connected(self) -> Connection:
        with self._lock:
            if self._connection is None or self._connection.error is not None:
                forgets_parent(self)
                self._connection = Connection(self._way())
                self._connection.start()
            return self._connection

    def _follow(self, connection: Connection, lost: LinkLost) -> None:
        """Has a connection to another node in place of a lost one; who comes later finds it there."""
        with self._lock:
            if self._connection is connection and (link := Redialler(lambda: self._way()()).again(lost)) is not None:
                self._connection = Connection(lambda: link)
                self._connection.start()

    def _way(self) -> Callable[[], Link]:
        """To the user's node, else to the private one that an executor of this program has. Raises NoNode."""
        inside.check_no_child()
        try:
            link = dial(self._surroundings or here())
        except NoNode:
            if self._surroundings is None and OF_PROGRAM.is_wanted:
                return OF_PROGRAM.dial
            raise
        return lambda: greet(link)

    def __reduce__(self) -> tuple[type[Memory], tuple[()]]:
        """A task that is given one has the memory of the mesh it runs in."""
        return Memory, ()

    def forget_parent(self) -> None:
        """In a forked child: the next use connects anew."""
        self._lock = threading.Lock()
        self._connection = None


_ABSENT: Final = object()
_NODES_ASKED_MAX: Final = 5
_AMOUNT_MAX: Final = 1 << 63


def checked_key(key: object) -> str:
    """Raises TypeError for what is not text, UsageError for what the wire does not carry as a key."""
    if not isinstance(key, str):
        raise TypeError(f"a key is text, not {type(key).__name__}")
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        raise UsageError(f"key {key!r} is not valid text") from None
    if not 0 < size_bytes <= KEY_BYTES_MAX:
        raise UsageError(f"a key has 1 to {KEY_BYTES_MAX} bytes, not {size_bytes}")
    return key


def checked_amount(amount: int) -> int:
    """Raises UsageError for an amount that no key can grow by at once."""
    if type(amount) is not int or not -_AMOUNT_MAX <= amount < _AMOUNT_MAX:
        raise UsageError(f"a key grows by an integer of at most 63 bits, not by {amount!r}")
    return amount


def _same(one: object, other: object) -> bool:
    """As data: also what does not compare to a plain truth, as arrays do."""
    return (one == other) is True or values.encode_bytes(one) == values.encode_bytes(other)


def encoded(value: object) -> bytes:
    """Raises ResultNotEncodable for what is no plain data, LimitExceeded for what is too long."""
    data = values.encode_bytes(value)
    if len(data) > VALUE_BYTES_MAX:
        raise LimitExceeded(
            f"the value takes {len(data)} bytes, and {VALUE_BYTES_MAX} are the most that a key can hold"
        )
    return data
