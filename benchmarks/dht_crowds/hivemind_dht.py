"""A crowd of `hivemind` DHT nodes, each over a libp2p daemon of its own; runs in an environment that has hivemind."""

from __future__ import annotations

import asyncio
import logging

from commands import Crowd, Work, lane, serve
from hivemind.dht.node import DHTNode
from hivemind.utils.timed_storage import get_dht_time

_LIVES_S = 3600.0


class HivemindCrowd(Crowd):
    def __init__(self) -> None:
        super().__init__()
        self._nodes: list[DHTNode] = []

    async def start(self, count: int, contact: str | None) -> list[str]:
        addresses = []
        for _ in range(count):
            node = await DHTNode.create(
                initial_peers=[contact] if contact else [],
                host_maddrs=["/ip4/127.0.0.1/tcp/0"],
                use_relay=False,
                use_auto_relay=False,
                auto_nat=False,
                cache_locally=False,
                cache_nearest=0,
            )
            self._count(node)
            address = str((await node.get_visible_maddrs())[0])
            contact = contact or address
            self._nodes.append(node)
            self.size += 1
            addresses.append(address)
        return addresses

    def _count(self, node: DHTNode) -> None:
        """Requests only: its bytes pass through daemons."""
        for name in ("call_ping", "call_store", "call_find"):
            call = getattr(node.protocol, name)

            async def counted(*arguments: object, _call: object = call, **more: object) -> object:
                self.requests += 1
                return await _call(*arguments, **more)  # type: ignore[operator]

            setattr(node.protocol, name, counted)

    async def settled(self, total: int) -> bool:
        return True

    async def set(self, number: int, key: str, value: bytes) -> bool:
        return bool(await self._nodes[number].store(key, value, expiration_time=get_dht_time() + _LIVES_S))

    async def get(self, number: int, key: str) -> bytes | None:
        found = await self._nodes[number].get(key)
        return None if found is None else found.value

    async def together(self, works: list[Work], at_once: int) -> None:
        waiting = iter(works)
        await asyncio.gather(*(lane(waiting) for _ in range(at_once)))


async def main() -> None:
    await serve(HivemindCrowd(), asyncio.to_thread)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main())
