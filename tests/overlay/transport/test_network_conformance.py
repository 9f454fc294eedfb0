"""The real network and the virtual one keep to the same rules."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.overlay.config import Config, Discovery, Links
from potluck.overlay.errors import ConfigError
from potluck.overlay.identity.certificates import to_pem
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.identity.mesh import Identity, found, make_identity
from potluck.overlay.ports import Address, Stream
from potluck.overlay.transport.tcp import TcpNetwork, TlsFiles
from potluck.simulations import determinism
from potluck.simulations.entropy import SeededEntropy
from potluck.simulations.ether import Ether
from potluck.simulations.network import VirtualNetwork

from . import network_suite as suite
from .network_suite import Party, Rig, Run, Scenario

_LINKS = Links(handshake_timeout_s=0.4, dial_timeout_s=0.4)


def _identities() -> list[Identity]:
    """Alice and Bob of one mesh, and a stranger of another."""
    entropy = SeededEntropy(1, "identities")
    one, other = (found(bytes([n]) * 32, KeyPair.from_seed(entropy.token(32))) for n in (1, 2))
    meshes = {"alice": one, "bob": one, "stranger": other}
    return [make_identity(mesh, name, KeyPair.from_seed(entropy.token(32)), entropy) for name, mesh in meshes.items()]


def _config(folder: Path, name: str, interface: str | None) -> Config:
    # A port of this process's own, so that test runs beside each other do not hear each other's datagrams.
    discovery = Discovery(port=20_000 + os.getpid() % 20_000)
    return Config(name, folder, folder, interface, links=_LINKS, discovery=discovery)


def _tcp_party(folder: Path, identity: Identity) -> Party:
    home = folder / identity.name
    home.mkdir()
    (home / "chain.pem").write_bytes(to_pem(identity.chain))
    (home / "key").write_bytes(identity.key.to_pem())
    files = TlsFiles(identity.mesh.root_der, home / "chain.pem", home / "key")
    return Party(TcpNetwork(_config(home, identity.name, "127.0.0.1"), files), identity.chain[0])


def _on_tcp(scenario: Scenario) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as mute, socket.socket() as unused:
        for one in (mute, unused):
            one.bind(("127.0.0.1", 0))
        mute.listen()  # the system completes the connection, and nobody speaks TLS
        parties = [_tcp_party(Path(folder), identity) for identity in _identities()]
        nowhere, silent = Address(*unused.getsockname()), Address(*mute.getsockname())
        trio.run(scenario, Rig(*parties, nowhere, silent))


def _on_the_ether(scenario: Scenario) -> None:
    ether = Ether(seed=1)
    parties = [
        Party(
            VirtualNetwork(ether, f"10.0.0.{n}", _config(Path("nowhere"), identity.name, None), identity),
            identity.chain[0],
        )
        for n, identity in enumerate(_identities(), 1)
    ]
    ether.host("10.0.0.9")
    ether.unplug("10.0.0.8")
    rig = Rig(*parties, Address("10.0.0.9", 9000), Address("10.0.0.8", 9000))

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            await scenario(rig)
            nursery.cancel_scope.cancel()

    determinism.run(play, seed=1)


RUNS = pytest.mark.parametrize("run", [_on_tcp, _on_the_ether], ids=["tcp", "virtual"])


@RUNS
@pytest.mark.parametrize("behaviour", suite.BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
def test_networks_agree_that(behaviour: Callable[[Run], None], run: Run) -> None:
    behaviour(run)


@RUNS
@settings(max_examples=15, deadline=None)
@given(sizes_bytes=st.lists(st.one_of(st.integers(0, 300), st.integers(0, 400_000)), max_size=12))
def test_any_chunks_arrive_in_order(run: Run, sizes_bytes: list[int]) -> None:
    suite.chunks_arrive_in_order(run, sizes_bytes)


def test_a_port_that_was_asked_for_is_used_or_refused() -> None:
    identity = _identities()[0]
    config = msgspec.structs.replace(_config(Path("nowhere"), "alice", None), port=9123)
    network = VirtualNetwork(Ether(seed=1), "10.0.0.1", config, identity)

    async def close(stream: Stream) -> None:
        await stream.aclose()

    async def serve_twice() -> None:
        async with trio.open_nursery() as nursery:
            assert (await nursery.start(network.serve, close)).port == 9123
            with pytest.raises(ConfigError, match="9123"):
                await network.serve(close)
            nursery.cancel_scope.cancel()

    determinism.run(serve_twice, seed=1)
