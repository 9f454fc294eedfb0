"""How the first acceptors of all are agreed, and what every node knows of them.

The founding waits until a node has looked around, and needs everyone it then knows, the dead included who have not
left: two founders who know a node in common cannot miss each other there. Afterwards everybody is told, at every new
link and whenever the root's acceptors change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from ..errors import LinkLost, RemoteProtocolError, Unavailable
from ..links.link import Link
from ..links.links import Links
from ..membership.service import Membership
from ..ports import Entropy, Store
from ..wire import registers as wire
from ..wire.codec import Message
from ..wire.gossip import Status
from ..wire.registers import Configuration, State
from .changes import ROOT, Found, Settle, founding_id, root_content, unchanged
from .proposer import Register
from .quorums import FOUNDERS, FOUNDING, is_changing

if TYPE_CHECKING:
    from .service import Registers

logger = logging.getLogger("potluck.registers")

_TABLE: Final = "founding"
_KEY: Final = b"root"
LOOK_AROUND_S: Final = 2.0
"""A node that has just started does not believe that it is alone. Discovery takes a tenth of this on a LAN."""
_ACCEPTORS: Final = 5

_decoder: Final = msgspec.msgpack.Decoder(wire.Founded)


class Founding:
    def __init__(
        self, registers: Registers, links: Links, membership: Membership, store: Store, entropy: Entropy
    ) -> None:
        self._registers = registers
        self._links = links
        self._membership = membership
        self._store = store
        self._entropy = entropy
        self._known: wire.Founded | None = None
        self._founding = trio.Lock()
        self._began_s = 0.0
        self.look_around_s = LOOK_AROUND_S
        self.given_up: list[Callable[[bytes, bytes], None]] = []
        """Called with name and content of every register held here whose founding gives way."""
        links.up.append(self._link_up)
        links.on(wire.Founded, self._told)

    def load(self) -> None:
        self._began_s = trio.current_time()
        packed = self._store.get(_TABLE, _KEY)
        self._known = None if packed is None else _decoder.decode(packed)

    @property
    def known(self) -> bytes | None:
        """The id of the founding; None while there is none."""
        return None if self._known is None else self._known.founding

    @property
    def root(self) -> Configuration:
        """The root's acceptors as far as they are known; while there is no founding, everybody."""
        return self._everyone() if self._known is None else self._known.configuration

    async def settled(self) -> bytes:
        """Which founding this node's registers belong to, carried out if there is none."""
        if self._known is None:
            async with self._founding:
                if self._known is None:
                    await self._found()
        known: wire.Founded | None = self._known
        assert known is not None
        return known.founding

    def lacking(self) -> Unavailable | None:
        """Why there is no founding yet."""
        if self._known is not None:
            return None
        absent = [one.name for one in self._membership.members if one.status is not Status.LEFT and not one.present]
        needs = "the mesh's first agreed value needs every machine that is known here"
        if not absent:
            return Unavailable(f"{needs}, and not all of them answer")
        return Unavailable(
            f"{needs}, and {', '.join(sorted(absent)[:5])} died: start it again with `potluck up`, then end it with"
            " `potluck down` if it is to stay away; what never comes back is forgotten after six hours"
        )

    async def _found(self) -> None:
        await trio.sleep_until(self._began_s + self.look_around_s)
        if self._known is not None:
            return
        everyone = self._everyone()
        acceptors = self._registers.nearest(ROOT, _ACCEPTORS)
        founding = founding_id(len(everyone.acceptors), self._entropy.token(wire.FOUNDING_BYTES - 1))
        register = Register(b"", ROOT)
        state, _ = await self._registers.operate_from(register, everyone, Found(founding, acceptors))
        if state.configuration.number == FOUNDING:
            state, _ = await self._registers.operate_from(register, state.configuration, unchanged, confirm=True)
            if is_changing(state.configuration):
                step = Settle(state.configuration)
                await self._registers.operate_from(register, state.configuration, step)

    def _everyone(self) -> Configuration:
        others: list[bytes] = sorted(one.node_id for one in self._membership.members if one.status is not Status.LEFT)
        return Configuration(FOUNDERS, [self._registers.own_id, *others][: wire.FOUNDERS_MAX])

    # What is known of it

    def learned(self, state: State) -> None:
        """The root as it was agreed."""
        self._heard(wire.Founded(root_content(state).founding, state.configuration))

    def is_apart(self, register: Register) -> None:
        logger.warning("registers were founded apart: a node refuses %s of ours", register.founding.hex())

    def _heard(self, news: wire.Founded) -> None:
        known = self._known
        if known is not None:
            same = news.founding == known.founding
            if news.founding > known.founding or (same and news.configuration.number <= known.configuration.number):
                return
            if not same:
                logger.error(
                    "agreed values were founded twice, by parts of the mesh that did not know of each other;"
                    " those of founding %s are not served any more",
                    known.founding.hex(),
                )
                self._registers.put(self._registers.acceptor.give_up_root())
        self._known = news
        if known is not None and known.founding != news.founding:
            self._give_up(known.founding)
        self._store.put(_TABLE, _KEY, msgspec.msgpack.encode(news))
        self._registers.start(self._commit)
        for link in self._links:
            self._tell(link)

    async def _commit(self) -> None:
        try:
            await self._store.commit()
        except Unavailable as error:
            logger.warning("the founding is not on disk yet: %s", error)  # it is with the next commit that succeeds

    def _give_up(self, founding: bytes) -> None:
        for key, state in self._registers.acceptor:
            if key.startswith(founding) and state.content is not None:
                for observer in self.given_up:
                    observer(key[len(founding) :], state.content)

    def _link_up(self, link: Link) -> None:
        self._tell(link)

    def _tell(self, link: Link) -> None:
        if self._known is not None:
            try:
                link.post(self._known)
            except LinkLost:
                pass  # told at its next link

    def _told(self, link: Link, message: Message) -> None:
        assert isinstance(message, wire.Founded)
        if len(message.founding) != wire.FOUNDING_BYTES or not message.configuration.acceptors:
            link.lose(RemoteProtocolError(f"{link.peer.name} told of a founding that is none"))
            return
        self._heard(message)
