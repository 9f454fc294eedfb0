"""What the process around a node offers to its user: letting machines in, shutting them out, moving into another
mesh, and what is wrong here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..discovery.door import Door, DoorNetwork
from ..discovery.returning import ReturnNetwork
from ..overlay.config import Config
from ..overlay.errors import ConfigError
from ..overlay.identity.joining import no_longer_alone
from ..overlay.identity.mesh import root_key
from ..overlay.links.link import Link
from ..overlay.ports import Address, Entropy
from ..overlay.wire import control
from .daemon import Node
from .doctor.asking import examine
from .exclusion import Exclusion
from .new_root import NewRoot

logger = logging.getLogger("potluck.node")


class HouseNetwork(DoorNetwork, ReturnNetwork, Protocol):
    """With doors for who is let in, and for who was away."""


class House:
    """A `control.House`."""

    def __init__(self, config: Config, node: Node, network: HouseNetwork, entropy: Entropy) -> None:
        self._config = config
        self._node = node
        self._network = network
        data_dir = config.data_dir
        self.door = Door(node.identity, node.links.bans, network, entropy, admitted=lambda: no_longer_alone(data_dir))
        self.new_root = NewRoot(config, node, network, entropy, self.reload)
        self.following: Config | None = None
        """Settings of the node that takes this one's place, once it has left."""
        node.links.up.append(self._link_up)
        node.heard.first_stranger = self._other_mesh_seen

    def invite(self, wanted: control.Invite) -> dict[str, object]:
        life_s = wanted.life_ms / 1000
        invite = self.door.invite(count=wanted.count, life_s=life_s, mine=wanted.mine, invites=wanted.may_invite)
        return {"code": str(invite.code), "expires_s": life_s}

    async def ban(self, wanted: control.Ban) -> dict[str, object]:
        node = self._node
        await node.members()  # looks up whom it has not met
        exclusion = Exclusion(node.identity, node.roster, node.banning)
        verdict = exclusion.judge(wanted.name, root_key(self._config.data_dir, node.identity.mesh))
        if not wanted.asking:
            await exclusion.carry_out(verdict)
        return {"banned": verdict.falls}

    async def rotate(self, wanted: control.Rotate) -> dict[str, object]:
        return await self.new_root.rotate(wanted.without)

    def reload(self, peers: Sequence[str]) -> None:
        known = dict.fromkeys((*self._config.peers, *peers))
        # It is moved: the secret that it may have begun with is of the mesh that it leaves.
        self.following = msgspec.structs.replace(self._config, peers=tuple(known), mesh_secret_file=None)
        self._node.leave()

    async def examine(self) -> list[dict[str, object]]:
        return [finding.as_dict() for finding in await examine(self._node)]

    def _other_mesh_seen(self, address: Address) -> None:
        """Whoever has just founded a mesh beside another one most likely meant to join that."""
        if self._node.identity.mesh.alone:
            logger.warning(
                "a node of another mesh is at %s: to join it, `potluck invite` there and `potluck join CODE` here",
                address,
            )

    def _link_up(self, link: Link) -> None:
        """Whoever has met another owner belongs with them: `join` does not move the machine any more."""
        identity = self._node.identity
        if identity.mesh.alone and link.peer.owner_id != identity.owner_id:
            try:
                no_longer_alone(self._config.data_dir)
            except (ConfigError, OSError) as error:
                logger.warning("the data directory cannot be written: %s", error)
