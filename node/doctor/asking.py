"""Gathers what a running node knows, for the judges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from ...overlay.errors import ConfigError, NotAllowed, Unavailable
from ...overlay.links.opening import PeerInfo
from ...overlay.transport.interfaces import choose
from ..daemon import Node
from . import judging, machine
from .findings import Finding, well
from .judging import Member

_ECHO_S: Final = 1.0
_COMPARE_S: Final = 2.0
_COMPARED_MAX: Final = 16


async def examine(node: Node) -> list[Finding]:
    """What only a running node can say. Takes about a second where multicast does not work."""
    there, wanted = node.links.network.addresses, _addresses_now(node.config.interface)
    kept = [address for address in there if address in wanted]
    now_s = trio.current_time()
    linked = [link.peer for link in node.links]
    found = [
        well("node", f"{node.name} runs at {node.address} in mesh {node.identity.mesh.mesh_id}"),
        judging.lending(node.lending.row()),
        machine.interfaces(node.config.interface),
        judging.listening(node.name, node.address, there, wanted),
        *await _at_its_addresses(node, kept, len(linked)),
        judging.zeroconf(node.heard, wanted=node.config.discovery.zeroconf and not node.config.private),
        judging.clock(node.timekeeping.error_s, len(linked)),
        judging.given_peers(now_s, node.heard, node.links.is_linked),
        judging.unreached(now_s, node.heard, node.links.is_linked),
        judging.strangers(now_s, node.heard, alone=node.identity.mesh.alone and not linked),
    ]
    held = node.links.bans
    banned_from = node.identity.mesh.mesh_id if held.against_this_node else None
    found.append(judging.bans(len(held), banned_from, await _compare_bans(node)))
    found.append(judging.root(node.identity.mesh.mesh_id, node.rotating.conflicts))
    abilities = [Member(peer.name, peer.capabilities.python, peer.capabilities.version) for peer in linked]
    own = node.capabilities
    return [*found, judging.versions(Member(node.name, own.python, own.version), abilities)]


def _addresses_now(interface: str | None) -> Sequence[str]:
    """Those on which the node would start now; none where the interface that it is to use is not there."""
    try:
        return choose(interface)
    except ConfigError:
        return ()


async def _at_its_addresses(node: Node, addresses: Sequence[str], linked: int) -> list[Finding]:
    """Whether it is heard and reached there. For addresses that are gone no firewall is to blame."""
    found = [await _multicast(node, addresses, linked)] if addresses else []
    if node.address.host in addresses:
        found.append(judging.port(node.address, await _dial_itself(node)))
    return found


async def _multicast(node: Node, addresses: Sequence[str], linked: int) -> Finding:
    if node.beacon is None:
        return well("multicast", "switched off")
    echoed = await node.beacon.echo(addresses, _ECHO_S)
    return judging.multicast(trio.current_time(), node.heard, addresses, echoed, linked)


async def _compare_bans(node: Node) -> dict[str, bool]:
    """Of some neighbours by name, whether they had the same bans as this node until just now."""
    same: dict[str, bool] = {}

    async def ask(peer: PeerInfo) -> None:
        try:
            same[peer.name] = await node.links.compare_bans(peer.node_id, peer.address)
        except (Unavailable, NotAllowed):
            pass  # gone meanwhile, which is nothing about bans

    with trio.move_on_after(_COMPARE_S):
        async with trio.open_nursery() as nursery:
            for link in list(node.links)[:_COMPARED_MAX]:
                nursery.start_soon(ask, link.peer)
    return same


async def _dial_itself(node: Node) -> str | None:
    """Why the node does not reach its own door, if it does not."""
    try:
        stream = await node.links.network.dial(node.address)
    except (Unavailable, NotAllowed) as error:
        return str(error)
    await stream.aclose()
    return None
