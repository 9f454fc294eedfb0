"""A member that says whatever it likes: the nodes it says it to go on, and still serve each other.

The input is a msgpack list of message bodies, so that mutations change a message and leave the others whole. All of it
runs in virtual time, on nodes as they are shipped; the same input gives the same run.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import trio
from potluck.overlay.clock import Said
from potluck.overlay.config import Config
from potluck.overlay.errors import LinkLost, LocalProtocolError, PotluckError, RemoteProtocolError
from potluck.overlay.identity.bans import BanSet
from potluck.overlay.identity.mesh import Identity, make_identity
from potluck.overlay.links.conversation import Conversation
from potluck.overlay.links.opening import Introduction, open_as_initiator
from potluck.overlay.ports import Address
from potluck.overlay.session.session import NEED_BYTES
from potluck.overlay.session.states import Role
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.framing import HEADER_BYTES
from potluck.overlay.wire.peer import AUDIT, CUSTODY, GOSSIP, PEER, RECORDS, REGISTERS, STREAMS, WORK
from potluck.simulations import determinism
from potluck.simulations.entropy import SeededEntropy
from potluck.simulations.network import VirtualNetwork
from potluck.simulations.world import World

from ..strategies.identities import key
from ..strategies.messages import fullest, simplest
from .target import Target

_SEED = 1
_HOST = "10.99.0.1"
_MESSAGES_MAX = 200
_NOWHERE = Path("/nonexistent/virtual")


def _feed(data: bytes) -> None:
    determinism.run(_story, _messages(data), seed=_SEED)


def _messages(data: bytes) -> list[Message]:
    """Those of the input's bodies that are messages at all."""
    try:
        bodies = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise RemoteProtocolError("no list of bodies") from error
    found: list[Message] = []
    for body in bodies[:_MESSAGES_MAX] if isinstance(bodies, list) else ():
        try:
            found.append(PEER.decode(msgspec.msgpack.encode(body)))
        except (RemoteProtocolError, ValueError, RecursionError):
            continue  # a decoder's own target sees to these
    return found


async def _story(said: list[Message]) -> None:
    async with trio.open_nursery() as nursery:
        world = World(_SEED, nursery)
        names = [world.add_machine().name for _ in range(2)]
        for name in names:
            await world.start(name)
        await trio.sleep(2)
        conversation = await _link(world, names[0])
        nursery.start_soon(_listen, conversation)
        await _say(conversation, said)
        await trio.sleep(2)
        await conversation.aclose()
        await trio.sleep(3)
        assert not world.failures, world.failures
        written = await world.node(names[0]).memory.set("after", b"\x01", None)
        assert written["replicas"] == 2
        assert (await world.node(names[1]).memory.get("after"))[0] == b"\x01"
        nursery.cancel_scope.cancel()


def _identity(world: World) -> Identity:
    return make_identity(next(iter(world.machines.values())).mesh, "liar", key(99), SeededEntropy(9, "liar"))


async def _link(world: World, name: str) -> Conversation:
    identity = _identity(world)
    network = VirtualNetwork(world.ether, _HOST, Config(identity.name, _NOWHERE, _NOWHERE), identity)
    stream = await network.dial(Address(world.machines[name].address, 9000))
    conversation = Conversation(stream, Role.INITIATOR)
    me = Introduction(
        identity, BanSet(identity.mesh.root_der), lambda: Said(0.0, 0.0), Capabilities, lambda: 1, lambda: 9000
    )
    await open_as_initiator(conversation, me, "control")
    return conversation


async def _say(conversation: Conversation, said: list[Message]) -> None:
    for message in said:
        try:
            await conversation.send(message)
        except LocalProtocolError:
            continue  # not even a liar gets this past its own session; the session's target tries it
        except LinkLost:
            return


async def _listen(conversation: Conversation) -> None:
    try:
        while True:
            while conversation.session.next_event() is not NEED_BYTES:
                pass
            await conversation.receive_bytes()
    except PotluckError:
        return  # it has been sent away, or has gone


@cache
def _seeds() -> list[bytes]:
    """Every message a ready link takes, about nobody and about the nodes that are there."""
    ids = determinism.run(_ids, seed=_SEED)
    kinds = (*GOSSIP, *WORK, *STREAMS, *CUSTODY, *AUDIT, *RECORDS, *REGISTERS)
    bodies = [
        msgspec.msgpack.decode(PEER.encode(example(kind))[HEADER_BYTES:])
        for kind in kinds
        for example in (simplest, fullest)
    ]
    about = [_with_ids(body, ids[number % len(ids)]) for number, body in enumerate(bodies)]
    single = [[body] for body in about]
    return [msgspec.msgpack.encode(one) for one in (*single, bodies, about, about * 2)]


async def _ids() -> list[bytes]:
    """Of the two nodes and of the liar itself."""
    async with trio.open_nursery() as nursery:
        world = World(_SEED, nursery)
        for _ in range(2):
            world.add_machine()
        for name in list(world.machines):
            await world.start(name)
        found = [bytes(world.node(name).node_id) for name in world.machines]
        found.append(bytes(_identity(world).node_id))
        nursery.cancel_scope.cancel()
    return found


def _with_ids(value: object, node_id: bytes) -> object:
    if isinstance(value, list):
        return [_with_ids(one, node_id) for one in value]
    return node_id if isinstance(value, bytes) and len(value) == len(node_id) else value


_SECONDS_MAX = 5.0
"""Two whole nodes live through seven seconds of their time for each input."""

TARGETS: dict[str, Target] = {
    "member": Target(_feed, (RemoteProtocolError,), _seeds, cost=2000, seconds_max=_SECONDS_MAX)
}
