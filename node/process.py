"""A node as a process of this machine: the real ports, the control socket, zeroconf, and signals."""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio

from ..overlay import signals
from ..overlay.config import Config
from ..overlay.descriptors import is_lacking, words_of
from ..overlay.dht.handover import GIVE_S
from ..overlay.errors import reason
from ..overlay.identity.certificates import to_pem
from ..overlay.identity.mesh import Identity, check_provisioned, open_identity, open_mesh
from ..overlay.identity.privacy import write_private
from ..overlay.identity.rotation import rotations_to
from ..overlay.places import control_socket_path, machine_id, node_dir
from ..overlay.ports import Sandbox, Store, WallClock
from ..overlay.transport.tcp import TcpNetwork, TlsFiles
from . import heap
from .control.listening import listen, serve_programs
from .daemon import BOOTS, Event, Node, Ports
from .house import House
from .lending.desk import Desk
from .resources.gpus import find_gpus, lent
from .store import SqliteStore
from .system import SystemEntropy, SystemHost, SystemWallClock, allow_descriptors
from .tenancy import held

logger = logging.getLogger("potluck.node")

_STATE: Final = "state.db"
_GOODBYE_S: Final = GIVE_S + 1.5
"""A graceful end takes no longer; what is not said by then is not said."""


def serve(config: Config, announce: Callable[[Event], None], sandboxes: Callable[[], Sequence[Sandbox]]) -> None:
    """Runs a node until a signal that ends it or its own ShutDown; calls `announce` with every event. `sandboxes` finds
    those of this machine, for each node that runs here after the other.

    Raises NameInUse, ConfigError, SandboxUnavailable for a node that cannot start, OSError for one that may open too
    few files.
    """
    allow_descriptors()
    try:
        trio.run(_serve, config, announce, sandboxes, restrict_keyboard_interrupt_to_checkpoints=True)
    except BaseExceptionGroup as group:
        raise _first_lack(group) or reason(group) from None


def _first_lack(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Where nothing else is wrong than that no more files can be opened, that is all there is to tell."""
    lacks, others = group.split(is_lacking)
    found: BaseException | None = lacks if others is None else None
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def _serve(config: Config, announce: Callable[[Event], None], sandboxes: Callable[[], Sequence[Sandbox]]) -> None:
    """One node after the other: a machine that joins another mesh begins again in it, in the same process."""
    socket_path = control_socket_path(config.runtime_dir, config.data_dir, config.name)
    folder = node_dir(config.data_dir, _machine(), config.name)
    with held(folder, config.name), trio.open_signal_receiver(*signals.ending()) as asked:
        following: Config | None = config
        while following is not None:
            listener = await listen(socket_path, config.name)
            try:
                following = await _run(following, announce, sandboxes(), (listener, socket_path), asked)
            finally:
                socket_path.unlink(missing_ok=True)


def begin_anew_without_state(folder: Path, store: Store) -> None:
    """A node whose state is gone is a new one, with another key: it does not know what it had promised as the old."""
    if store.get(*BOOTS) is None and (folder / "key").exists():
        logger.warning("%s is gone or empty: the node begins anew", folder / _STATE)
        (folder / "key").unlink()


async def _run(
    config: Config,
    announce: Callable[[Event], None],
    sandboxes: Sequence[Sandbox],
    control_socket: tuple[trio.SocketListener, Path],
    asked: AsyncIterator[int],
) -> Config | None:
    """The life of one node. Returns the settings of the one to follow it, if any."""
    entropy = SystemEntropy()
    found = open_mesh(config.data_dir, entropy, config.mesh_secret_file)
    mesh = msgspec.structs.replace(found, rotations=rotations_to(config.data_dir, found.root_der))
    if config.mesh_secret_file:
        check_provisioned(config.data_dir, mesh, config.mesh_secret_file)
    folder = node_dir(config.data_dir, _machine(), config.name)
    store = SqliteStore(folder / _STATE)
    begin_anew_without_state(folder, store)
    identity = open_identity(mesh, folder, config.name, entropy)
    network = _network(config, identity, folder)
    wall_clock = SystemWallClock()
    ports = Ports(
        network=lambda who: network,
        wall_clock=wall_clock,
        entropy=entropy,
        host=SystemHost(config.data_dir, lent(find_gpus().gpus, config.gpus), Desk(config.lending.devices)),
        store=store,
        sandboxes=sandboxes,
    )
    node = Node(config, identity, ports, lambda event: announce({**event, **_process_id(event)}))
    house = House(config, node, network, entropy)
    async with trio.open_nursery() as nursery:
        await nursery.start(house.new_root.run)
        nursery.start_soon(_leave_on_signal, node, house, asked, nursery.cancel_scope)
        if config.private:
            nursery.start_soon(_leave_with_program, node)
        nursery.start_soon(_live, node, nursery.cancel_scope)
        await node.started.wait()
        nursery.start_soon(serve_programs, node, house, *control_socket)
        nursery.start_soon(house.door.run, node.address.port)
        nursery.start_soon(heap.keep_tidy)
        if config.discovery.zeroconf and not config.private:
            nursery.start_soon(_be_found, node, network, entropy.token(8), (mesh.tag_key, wall_clock))
    with trio.CancelScope(shield=True):
        await store.aclose()
    return None if house.following is None else msgspec.structs.replace(house.following, former_port=node.address.port)


async def _be_found(node: Node, network: TcpNetwork, nonce: bytes, ours: tuple[bytes, WallClock]) -> None:
    """By zeroconf, until the node begins to leave: withdrawing what was announced goes beside the other goodbyes. In
    another place it begins anew, because it keeps to the interfaces that it began with."""
    try:
        from ..discovery import mdns  # a private node starts sooner without zeroconf
    except OSError as error:
        node.heard.zeroconf_fault = words_of(error)
        logger.warning("zeroconf does not work here: %s", node.heard.zeroconf_fault)
        return
    sinks = (node.put_sighting, node.heard)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until_leaving, node, nursery.cancel_scope)
        addresses = network.addresses
        while True:
            async with trio.open_nursery() as place:
                place.start_soon(mdns.run, addresses, node.address.port, nonce, ours, sinks)
                addresses = await network.moved(addresses)
                place.cancel_scope.cancel()


async def _until_leaving(node: Node, scope: trio.CancelScope) -> None:
    await node.until_leaving()
    scope.cancel()


async def _live(node: Node, scope: trio.CancelScope) -> None:
    await node.run()
    scope.cancel()


async def _leave_on_signal(node: Node, house: House, asked: AsyncIterator[int], scope: trio.CancelScope) -> None:
    """The first signal asks for a graceful end, the second for one at once, unless it is a terminal's that goes: one
    sends it more than once. A node that has not started yet has promised nothing to anybody."""
    async for number in asked:
        house.following = None
        if (node.leaving and number != signal.SIGHUP) or not node.started.is_set():
            scope.cancel()
        node.leave()
        scope.deadline = trio.current_time() + _GOODBYE_S


async def _leave_with_program(node: Node) -> None:
    """A private node ends when the program that started it closes the pipe on its standard input, or dies."""
    stdin = sys.stdin.fileno()
    while True:
        await trio.lowlevel.wait_readable(stdin)
        if not os.read(stdin, 4096):
            node.leave()
            return


def _network(config: Config, identity: Identity, folder: Path) -> TcpNetwork:
    chain_path = folder / "chain.pem"
    write_private(chain_path, to_pem(identity.chain))
    return TcpNetwork(config, TlsFiles(identity.mesh.root_der, chain_path, folder / "key"))


def _machine() -> str:
    try:
        text = Path("/etc/machine-id").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    return machine_id(platform.node(), text)


def _process_id(event: Event) -> Event:
    return {"pid": os.getpid()} if event["event"] == "ready" else {}
