"""The process's side of a new root: giving the mesh one, moving the data directory to it, coming back to it late."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import trio

from ..discovery.returning import Keeper, ReturnDoor, ReturnNetwork, ask_for_new_root
from ..overlay.background import Background
from ..overlay.config import Config
from ..overlay.errors import NotAllowed, PotluckError, UsageError
from ..overlay.identity.certificates import issue, public_keys_of
from ..overlay.identity.mesh import SECRET_BYTES, mesh_id_of, root_key
from ..overlay.identity.rotation import (
    Succession,
    adopt,
    conflicts_in,
    former_chain,
    make_rotation,
    new_secret,
    note_conflict,
)
from ..overlay.ports import Address, Entropy
from ..overlay.wire.rotation import Rotation
from .daemon import Node

logger = logging.getLogger("potluck.node")

_PEERS_MAX: Final = 16


class NewRoot:
    """`begin_again` ends this node and starts its next life, with addresses of others to look for."""

    def __init__(
        self,
        config: Config,
        node: Node,
        network: ReturnNetwork,
        entropy: Entropy,
        begin_again: Callable[[Sequence[str]], None],
    ) -> None:
        self._data_dir = config.data_dir
        self._node = node
        self._network = network
        self._entropy = entropy
        self._begin_again = begin_again
        self._background = Background()
        self._knocking_at: set[Address] = set()
        self._told_at: Address | None = None
        node.rotating.adopt = self._adopt
        node.rotating.adopted = self._adopted
        node.rotating.contradicted = self._contradicted
        node.turned_away = self._turned_away

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        ReturnDoor(Keeper(self._node.identity.mesh.rotations, self._node.links.bans), self._network)
        for conflict in conflicts_in(self._data_dir):
            self._warn_of(conflict)
        await self._background.run(task_status=task_status)

    async def rotate(self, without: Sequence[str]) -> dict[str, object]:
        """Raises NotAllowed for who is no founder, NotFound or UsageError for names."""
        node, mesh = self._node, self._node.identity.mesh
        root = root_key(self._data_dir, mesh)
        if root is None:
            raise NotAllowed("only a founder, who holds the secret of the mesh, can give it a new root")
        await node.members()  # looks up whom it has not met
        entries = node.roster.entries()
        secret = new_secret(mesh, self._entropy.token(SECRET_BYTES))
        left = {self._founder(name) for name in without}
        rotation = make_rotation(mesh, secret, root, [one.chain[1:] for _, one in entries], node.links.bans, left)
        succession = Succession(rotation, mesh.root_der)
        out = sorted(entry.name for _, entry in entries if succession.place_of(entry.chain[1:]) is None)
        node.rotating.take(rotation, secret)
        return {"root": mesh_id_of(rotation.root), "left_out": out}

    def _founder(self, name: str) -> bytes:
        """The key of an owner that the root has let in, by the name of a node of theirs."""
        chain = self._node.roster.owner_chain(name)
        (key,) = public_keys_of(chain[:1])
        if key == self._node.identity.mesh.owner.public:
            raise NotAllowed(f"{name} is a machine of yours")
        if len(chain) > 1:
            raise UsageError(f"{name} is no founder's: `potluck mesh ban {name}` shuts it out")
        return key

    def _adopt(self, rotation: Rotation, secret: bytes | None) -> None:
        adopt(self._data_dir, rotation, secret)

    def _adopted(self, rotation: Rotation) -> None:
        logger.warning("the mesh goes on under a new root: %s", mesh_id_of(rotation.root))
        known = [self._told_at] if self._told_at else []
        known += [link.peer.address for link in self._node.links]
        self._begin_again([str(address) for address in known[:_PEERS_MAX]])

    def _contradicted(self, rotation: Rotation) -> None:
        if note_conflict(self._data_dir, rotation):
            self._warn_of(rotation)

    def _warn_of(self, conflict: Rotation) -> None:
        other = mesh_id_of(conflict.root)
        if other not in self._node.rotating.conflicts:
            self._node.rotating.conflicts.add(other)
            logger.error("a part of this mesh has gone another way: it lives under the root of %s", other)

    def _turned_away(self, address: Address) -> None:
        """Whoever listens there is not of this mesh as we know it: perhaps it has a new root by now, or has come to
        another one from a root that we have left."""
        if address not in self._knocking_at:
            self._knocking_at.add(address)
            self._background.start(self._knock, address)

    async def _knock(self, address: Address) -> None:
        try:
            rotation = await ask_for_new_root(self._network, address, self._node.identity.chain)
            self._told_at = address
            self._node.rotating.take(rotation)
        except PotluckError as error:
            level = logging.INFO if isinstance(error, NotAllowed) else logging.DEBUG  # with words for us, or without
            logger.log(level, "nothing of a new root is to be learned at %s: %s", address, error)
            await self._knock_as_before(address)
        finally:
            self._knocking_at.discard(address)

    async def _knock_as_before(self, address: Address) -> None:
        """With the chain that this node had below the root it left last."""
        identity = self._node.identity
        mesh = identity.mesh
        for left in mesh.rotations[:1]:
            try:
                leaf = issue(mesh.owner, identity.key.public, may_issue=False)
                chain = (leaf, *former_chain(self._data_dir, left, mesh.owner))
                self._contradicted(await ask_for_new_root(self._network, address, chain))
            except PotluckError as error:
                logger.debug("nothing of %s is to be learned at %s: %s", mesh_id_of(left.former_root), address, error)
