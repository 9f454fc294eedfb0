"""A store that forgets: of a confidential job nothing is written down."""

from __future__ import annotations

from collections.abc import Iterable


class Volatile:
    """`ports.Store` in memory."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[bytes, bytes]] = {}

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._tables.setdefault(table, {})[key] = value

    def delete(self, table: str, key: bytes) -> None:
        self._tables.get(table, {}).pop(key, None)

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._tables.get(table, {}).get(key)

    def scan(self, table: str, prefix: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        return sorted(item for item in self._tables.get(table, {}).items() if item[0].startswith(prefix))

    async def commit(self) -> None:
        """There is nothing to wait for."""

    async def aclose(self) -> None:
        self._tables.clear()
