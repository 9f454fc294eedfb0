"""What TLS itself takes here: bytes from one process to another on loopback, with nothing else on the way.

    python benchmarks/plain_tls.py

The standard library's blocking sockets with the certificates and settings of a link; what they reach is the most that
a payload to another node could.
"""

from __future__ import annotations

import multiprocessing
import socket
import ssl
import statistics
import tempfile
import time
from pathlib import Path

BYTES = 64 << 20
PIECE_BYTES = 256 << 10
TRIES = 5


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server and of a client in one mesh."""
    from potluck.node.system import SystemEntropy
    from potluck.overlay.identity.certificates import to_pem
    from potluck.overlay.identity.keys import KeyPair
    from potluck.overlay.identity.mesh import found, make_identity
    from potluck.overlay.transport.tls import make_context

    entropy = SystemEntropy()
    key, owner = (KeyPair.from_seed(entropy.token(32)) for _ in range(2))
    identity = make_identity(found(bytes(32), owner), "n", key, entropy)
    with tempfile.TemporaryDirectory() as folder:
        chain, private = Path(folder) / "chain.pem", Path(folder) / "key.pem"
        chain.write_bytes(to_pem(identity.chain))
        private.write_bytes(key.to_pem())
        root_der = identity.mesh.root_der
        server, client = (
            make_context(server=s, root_der=root_der, chain_path=chain, key_path=private) for s in (True, False)
        )
    return server, client


def rate_mib_per_s() -> float:
    """The median of some tries over one connection."""
    server, client = contexts()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver = multiprocessing.get_context("fork").Process(target=_receive, args=(listener, server))
        receiver.start()
        with client.wrap_socket(socket.create_connection(listener.getsockname())) as stream:
            data = memoryview(bytes(BYTES))
            rates = []
            for _ in range(TRIES):
                began = time.perf_counter()
                for start in range(0, BYTES, PIECE_BYTES):
                    stream.sendall(data[start : start + PIECE_BYTES])
                stream.recv(1)
                rates.append((BYTES >> 20) / (time.perf_counter() - began))
        receiver.join()
    return statistics.median(rates)


def _receive(listener: socket.socket, context: ssl.SSLContext) -> None:
    piece = memoryview(bytearray(PIECE_BYTES))
    accepted, _address = listener.accept()
    with context.wrap_socket(accepted, server_side=True) as stream:
        for _ in range(TRIES):
            left_bytes = BYTES
            while left_bytes:
                left_bytes -= stream.recv_into(piece[: min(left_bytes, PIECE_BYTES)])
            stream.sendall(b".")


if __name__ == "__main__":
    print(f"{rate_mib_per_s():,.0f} MiB/s")
