"""A crowd of whole potluck nodes: TLS over TCP on loopback, records signed, every write fsynced before its answer."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import trio
from commands import Crowd, Work, lane, serve
from potluck.node.daemon import Node, Ports
from potluck.node.store import SqliteStore
from potluck.node.system import SystemEntropy, SystemHost, SystemWallClock
from potluck.overlay.config import Config, Discovery
from potluck.overlay.errors import PotluckError
from potluck.overlay.identity.certificates import to_pem
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.identity.mesh import found, make_identity
from potluck.overlay.links.link import Link
from potluck.overlay.ports import Address, Stream
from potluck.overlay.transport.tcp import TcpNetwork, TlsFiles

SECRET = bytes(32)
"""All processes of one run are of one mesh."""


class CountedNetwork(TcpNetwork):
    def __init__(self, crowd: WholeNodes, config: Config, files: TlsFiles) -> None:
        super().__init__(config, files)
        self._crowd = crowd

    async def dial(self, address: Address) -> Stream:
        return self._counted(await super().dial(address))

    async def serve(self, handler, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        async def counted(stream: Stream) -> None:
            await handler(self._counted(stream))

        await super().serve(counted, task_status=task_status)

    def _counted(self, stream: Stream) -> Stream:
        send_now = stream.send_now

        def counted(data: bytes | bytearray | memoryview) -> bool:
            self._crowd.bytes += len(data)
            return send_now(data)

        stream.send_now = counted
        return stream


class WholeNodes(Crowd):
    def __init__(self, nursery: trio.Nursery, folder: Path) -> None:
        super().__init__()
        self._nursery = nursery
        self._folder = folder
        self._nodes: list[Node] = []
        self._entropy = SystemEntropy()
        self._count_requests()

    def _count_requests(self) -> None:
        ask = Link.ask

        def counted(link: Link, *arguments: object) -> int:
            self.requests += 1
            return ask(link, *arguments)

        Link.ask = counted

    async def start(self, count: int, contact: str | None) -> list[str]:
        addresses = []
        for number in range(count):
            node = self._make(number, contact)
            await self._nursery.start(node.run)
            contact = contact or str(node.address)
            self._nodes.append(node)
            self.size += 1
            addresses.append(str(node.address))
        return addresses

    def _make(self, number: int, contact: str | None) -> Node:
        name = f"n{os.getpid()}-{number}"
        folder = self._folder / name
        folder.mkdir()
        key = KeyPair.from_seed(self._entropy.token(32))
        identity = make_identity(found(SECRET, KeyPair.from_seed(self._entropy.token(32))), name, key, self._entropy)
        (folder / "chain.pem").write_bytes(to_pem(identity.chain))
        (folder / "key").write_bytes(key.to_pem())
        config = Config(
            name,
            folder,
            folder,
            interface="127.0.0.1",
            peers=(contact,) if contact else (),
            slots=0,
            discovery=Discovery(multicast=False, zeroconf=False),
        )
        files = TlsFiles(identity.mesh.root_der, folder / "chain.pem", folder / "key")
        ports = Ports(
            network=lambda _: CountedNetwork(self, config, files),
            wall_clock=SystemWallClock(),
            entropy=self._entropy,
            host=SystemHost(folder),
            store=SqliteStore(folder / "state.db"),
            sandboxes=[],
        )
        return Node(config, identity, ports, lambda _: None)

    async def settled(self, total: int) -> bool:
        with trio.move_on_after(60):
            while not all(self._is_settled(node, total) for node in self._nodes):  # noqa: ASYNC110
                await trio.sleep(0.1)
            return True
        return False

    def _is_settled(self, node: Node, total: int) -> bool:
        wanted = min(total - 1, node.config.links.neighbours_full)
        everyone = len(node.membership.present()) == total - 1 and len(list(node.links)) >= wanted
        return everyone and not node.dht.share.syncing.due

    async def set(self, number: int, key: str, value: bytes) -> bool:
        try:
            await self._nodes[number].replication.put("mem", key.encode(), value)
        except PotluckError:
            return False
        return True

    async def get(self, number: int, key: str) -> bytes | None:
        try:
            record = await self._nodes[number].replication.get("mem", key.encode())
        except PotluckError:
            return None
        return None if record is None else record.value

    async def together(self, works: list[Work], at_once: int) -> None:
        waiting = iter(works)
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(lane, waiting)


async def main() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        async with trio.open_nursery() as nursery:
            await serve(WholeNodes(nursery, folder), partial(trio.to_thread.run_sync, abandon_on_cancel=True))
            nursery.cancel_scope.cancel()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    trio.run(main)
