"""A new root of the mesh, as running nodes hear of it: over links, or at the door of one that has moved already."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..overlay.errors import LinkLost, PotluckError, RemoteProtocolError
from ..overlay.identity.mesh import Identity
from ..overlay.identity.rotation import Succession
from ..overlay.links.link import Link
from ..overlay.links.links import Links
from ..overlay.wire.codec import Message
from ..overlay.wire.rotation import Rotated, Rotation

logger = logging.getLogger("potluck.node")


class Rotating:
    """Takes the first record and tells it on to whoever is kept. `adopt` writes it down before anybody is told;
    `adopted` is called after; `contradicted` hears of any other record for the same root."""

    def __init__(self, identity: Identity, links: Links) -> None:
        self._root_der = identity.mesh.root_der
        self._name = identity.name
        self._links = links
        self._taken: Rotation | None = None
        self.conflicts: set[str] = set()
        """Other meshes that ours has become elsewhere."""
        self.adopt: Callable[[Rotation, bytes | None], None] = lambda rotation, secret: None
        self.adopted: Callable[[Rotation], None] = lambda rotation: None
        self.contradicted: Callable[[Rotation], None] = lambda rotation: None
        links.on(Rotated, self._told)

    def _told(self, link: Link, message: Message) -> None:
        assert isinstance(message, Rotated)
        try:
            self.take(message.rotation)
        except RemoteProtocolError:
            raise
        except PotluckError as error:  # not kept, or the disk is full: the others go on all the same
            logger.error("Node %s stays under the old root of its mesh: %s", self._name, error)

    def take(self, rotation: Rotation, secret: bytes | None = None) -> None:
        """`secret` is given by whoever rotates. Raises RemoteProtocolError for a record that is none of this mesh,
        and what `adopt` raises."""
        succession = Succession(rotation, self._root_der)
        if self._taken is not None:
            if self._taken.root != rotation.root:
                self.contradicted(rotation)
            return
        self.adopt(rotation, secret)
        self._taken = rotation
        self._tell(succession)
        self.adopted(rotation)

    def _tell(self, succession: Succession) -> None:
        for link in self._links:
            if succession.place_of(link.peer.chain[1:]) is not None:
                try:
                    link.post(Rotated(succession.rotation))
                except LinkLost:
                    pass  # it comes back by the door
