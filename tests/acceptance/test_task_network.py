"""Tasks use the network where they ask for it and the machine's owner allows it, and nowhere else."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .harness import Pool

ASKS = """
import socket

def main(port):
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        return connection.recv(5).decode()
"""


@contextmanager
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            try:
                while True:
                    with server.accept()[0] as connection:
                        connection.sendall(b"hello")
            except OSError:
                pass  # it was closed

        greeter = threading.Thread(target=greet)
        greeter.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            greeter.join()


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_a_task_reaches_the_network_if_it_asks_and_the_owner_allows_it(nodes: Pool) -> None:
    nodes.up("open", "--task-network=own").await_ready()
    nodes.up("shut").await_ready()
    nodes.await_members("open", "shut")
    with listener() as port:
        asks = ("run", "-c", ASKS, "--function", "main", "--args", f"[{port}]", "--json")
        (task,) = nodes.call(*asks, "--network", node="shut").value["tasks"]
        assert (task["value"], task["node"], task["guarantees"]["network"]) == ("hello", "open", False)
        (task,) = nodes.call(*asks, "--on", "open", node="open").value["tasks"]
        assert task["state"] == "failed" and task["guarantees"]["network"]
    refused = nodes.call("run", "-c", "1", "--network", "--on", "shut", node="open")
    assert refused.code == 1 and "shut: its owner does not let the task use the network" in refused.err
