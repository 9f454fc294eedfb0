"""A stranger on the multicast group: forged and replayed beacons by the thousand."""

from __future__ import annotations

import random
import socket

import psutil
import pytest
from potluck.overlay.config import Discovery
from potluck.overlay.errors import RemoteProtocolError
from potluck.overlay.wire.beacon import BEACON, Discover, Hello

from .harness import Pool, wait_until

pytestmark = pytest.mark.processes

GROUP = Discovery().group, Discovery().port
LOOPBACK = "127.0.0.1"
BEACONS = 10_000
GROWTH_BYTES_MAX = 24 << 20


def overheard(listener: socket.socket, ports: set[int]) -> bytes:
    """The tag that a member of the mesh with these ports shows to everybody on the group."""
    while True:
        frames = BEACON.frames()
        frames.feed(listener.recv(2048))
        body = frames.next_body()
        try:
            message = None if body is None else BEACON.decode(body)
        except RemoteProtocolError:
            continue  # other things are said on the group, too
        if message is not None and message.port in ports:
            return message.mesh_tag


def on_the_group() -> socket.socket:
    member = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    member.settimeout(15)
    member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    interface = socket.inet_aton(LOOPBACK)
    member.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP[0]) + interface)
    member.bind(GROUP)
    return member


def test_ten_thousand_forged_beacons_change_nothing(nodes: Pool) -> None:
    draws = random.Random(7)
    with on_the_group() as stranger:
        first, second = nodes.up_together("p1", "p2")
        ports = {first.ready["port"], second.ready["port"]}
        tag = overheard(stranger, ports)
        before = [psutil.Process(node.process.pid).memory_info().rss for node in (first, second)]
        for number in range(BEACONS):
            # A third has another mesh's tag, a third is noise, a third repeats a tag that was overheard.
            kind = draws.choice((Discover, Hello))
            shown = tag if number % 3 == 0 else draws.randbytes(16)
            forged = BEACON.encode(kind(shown, draws.randbytes(8), draws.randrange(20_000, 60_000)))
            stranger.sendto(draws.randbytes(60) if number % 3 == 1 else forged, GROUP)
            if number % 2500 == 0:
                asked = ("run", "--json", "--on", "p2", "-c", "def f(): return 7", "--function", "f")
                assert nodes.call(*asked, node="p1").value["tasks"][0]["value"] == 7, "members' work goes on"
    for node, before_bytes in zip((first, second), before, strict=True):
        assert psutil.Process(node.process.pid).memory_info().rss - before_bytes < GROWTH_BYTES_MAX
    assert "no link to 127.0.0.1:" in first.log_text(), "the repeated tags were heard, and led nowhere"
    peers = nodes.call("peers", "--json", node="p1").value
    assert {(row["name"], row["state"]) for row in peers} == {("p1", "alive"), ("p2", "alive")}
    third = nodes.up("p3")
    third.await_ready()
    wait_until(lambda: bool(first.event_times("joined", "p3")), "a member still finds in")
