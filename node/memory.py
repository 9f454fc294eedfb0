"""Distributed memory as programs use it: plain keys, newest wins, on the DHT."""

from __future__ import annotations

from ..overlay.dht.replication import Put, Replication
from ..overlay.errors import LimitExceeded, NotFound, UsageError
from ..overlay.wire.framing import VALUE_BYTES_MAX

NAMESPACE = "mem"
KEY_BYTES_MAX = 1024


class SharedMemory:
    """Values are bytes to a node; what they mean is the programs' affair."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication

    async def set(self, key: str, value: bytes, ttl_s: float | None) -> dict[str, object]:
        if len(value) > VALUE_BYTES_MAX:
            raise LimitExceeded(f"a value of {len(value)} bytes: a key holds at most {VALUE_BYTES_MAX}")
        if ttl_s is not None and not ttl_s > 0:
            raise UsageError("a time to live must be positive")
        return _written(key, await self._replication.put(NAMESPACE, _encoded(key), value, ttl_s))

    async def get(self, key: str) -> tuple[bytes, int]:
        """The value and its version. Raises NotFound, Unavailable."""
        record = await self._replication.get(NAMESPACE, _encoded(key))
        if record is None:
            raise NotFound(f"no key {key!r}")
        return record.value, record.version

    async def delete(self, key: str) -> dict[str, object]:
        return _written(key, await self._replication.delete(NAMESPACE, _encoded(key)))


def _encoded(key: str) -> bytes:
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"key {key!r} is not valid text") from error
    if not 0 < len(encoded) <= KEY_BYTES_MAX:
        raise UsageError(f"a key has 1 to {KEY_BYTES_MAX} bytes")
    return encoded


def _written(key: str, put: Put) -> dict[str, object]:
    return {"key": key, "version": put.version, "replicas": put.replicas}
