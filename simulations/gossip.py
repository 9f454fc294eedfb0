"""Scenario `gossip`: what membership costs. Engines of membership alone, on links that are well.

Every message is encoded as it is for the wire; TLS and TCP add to it what they add to all. First everybody idles, then
every node's load changes as often as it is told.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Final

import msgspec

from ..overlay.config import Membership as MembershipConfig
from ..overlay.membership.detector import Changed
from ..overlay.wire.capabilities import LoadReport
from .checks import Check, check
from .detectors import Mesh, Peer

SETTLED_S: Final = 15.0
IDLE_S: Final = 20.0
BUSY_S: Final = 4.0
IDLE_BYTES_MAX: Final = 1024
"""Per node and second, however large the mesh."""
_MESSAGES_MAX: Final = 12


def play(nodes: int, seed: int) -> tuple[list[Check], dict[str, object], float, str]:
    happened: list[str] = []

    def note(now_s: float, peer: Peer, change: Changed) -> None:
        if now_s > 0:
            happened.append(f"{peer.own.name} said at {now_s:.2f} s: {change.event} {change.member.name}")

    config = MembershipConfig()
    mesh = Mesh(nodes, seed, config, note)
    mesh.run(SETTLED_S)
    mesh.metering = True
    mesh.run(SETTLED_S + IDLE_S)
    idle = _rates(mesh, IDLE_S)
    for peer in mesh.peers:
        _work(mesh, peer, config.exchange_load_min_s, LoadReport(1, 8, 4, 17, 3 << 30, 50 << 30, 42.0, 0.0213))
    mesh.run(SETTLED_S + IDLE_S + BUSY_S)
    busy = _rates(mesh, BUSY_S)
    figures: dict[str, object] = {"links_per_node": round(sum(len(one.connections) for one in mesh.peers) / nodes, 1)}
    for name, rates in (("idle", idle), ("busy", busy)):
        figures |= {f"{name}_{what}_per_node_and_s": round(rate, 2) for what, rate in rates.items()}
    high = [f"{idle['bytes']:.0f} bytes"] if idle["bytes"] > IDLE_BYTES_MAX else []
    many = [f"{idle['messages']:.1f} messages"] if idle["messages"] > _MESSAGES_MAX else []
    checks = [
        check("an idle node sends little, however many there are", high + many, f"{idle['bytes']:.0f} bytes/s"),
        check("nobody is suspected", happened, f"{nodes} nodes"),
    ]
    digest = hashlib.sha256(repr((checks, figures)).encode()).hexdigest()
    return checks, figures, mesh.now_s, digest


def _work(mesh: Mesh, peer: Peer, every_s: float, load: LoadReport) -> None:
    """Its load is another one every time."""
    mesh.load_is(peer, load)
    later = msgspec.structs.replace(load, sequence=load.sequence + 1, busy=load.sequence % (load.slots + 1))
    mesh.at(mesh.now_s + every_s, peer, partial(_work, mesh, peer, every_s, later))


def _rates(mesh: Mesh, over_s: float) -> dict[str, float]:
    """Per node and second since the last time."""
    divisor = len(mesh.peers) * over_s
    rates = {"messages": mesh.sent.total() / divisor, "bytes": mesh.sent_bytes.total() / divisor}
    mesh.sent.clear()
    mesh.sent_bytes.clear()
    return rates
