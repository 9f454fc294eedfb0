"""A crowd of the stock `kademlia` package: k = 20, α = 3, datagrams, nothing signed."""

from __future__ import annotations

import asyncio
import logging

from commands import Crowd, Work, lane, serve
from kademlia.network import Server


class StockCrowd(Crowd):
    def __init__(self) -> None:
        super().__init__()
        self._servers: list[Server] = []

    async def start(self, count: int, contact: str | None) -> list[str]:
        addresses = []
        for _ in range(count):
            server = Server()
            await server.listen(0, interface="127.0.0.1")
            self._count(server)
            host, port = server.transport.get_extra_info("sockname")
            if contact is None:
                contact = f"{host}:{port}"
            else:
                await server.bootstrap([(contact.rpartition(":")[0], int(contact.rpartition(":")[2]))])
            self._servers.append(server)
            self.size += 1
            addresses.append(f"{host}:{port}")
        return addresses

    def _count(self, server: Server) -> None:
        send = server.transport.sendto

        def sendto(data: bytes, address: tuple[str, int] | None = None) -> None:
            self.requests += data[:1] == b"\x00"  # rpcudp: 0 asks, 1 answers
            self.bytes += len(data)
            send(data, address)

        server.protocol.transport = _Counted(server.transport, sendto)

    async def settled(self, total: int) -> bool:
        """As far as it gets by itself; one more search for its own place once everybody is there."""
        for server in self._servers:
            await server.bootstrap(server.bootstrappable_neighbors())
        return True

    async def set(self, number: int, key: str, value: bytes) -> bool:
        return bool(await self._servers[number].set(key, value))

    async def get(self, number: int, key: str) -> bytes | None:
        found: bytes | None = await self._servers[number].get(key)
        return found

    async def together(self, works: list[Work], at_once: int) -> None:
        waiting = iter(works)
        await asyncio.gather(*(lane(waiting) for _ in range(at_once)))


class _Counted:
    """The transport, with a `sendto` of our own."""

    def __init__(self, transport: asyncio.DatagramTransport, sendto: object) -> None:
        self._transport = transport
        self.sendto = sendto

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


async def main() -> None:
    await serve(StockCrowd(), asyncio.to_thread)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main())
