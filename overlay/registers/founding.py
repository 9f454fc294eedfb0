"""How the first acceptors of all are agreed, and what every node knows of them.

The founding waits until a node has looked around, and needs everyone it then knows, the dead included who have not
left: two founders who know a node in common cannot miss each other there. With its agreement each signs that it agrees;
the signatures of those who weigh most become part of the root. Afterwards everybody is told, at every new link and
whenever the root's acceptors change. What a node makes of what it is told: `beliefs`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from ..errors import RemoteProtocolError, Unavailable
from ..identity.mesh import Identity
from ..links.link import Link
from ..links.links import Links
from ..membership.detector import Changed
from ..membership.members import Member
from ..membership.service import Membership
from ..ports import Entropy, Store
from ..sealing import opened, sealed
from ..wire import registers as wire
from ..wire.codec import Message
from ..wire.gossip import Status
from ..wire.registers import Configuration, State, Witness
from .beliefs import Beliefs, Held
from .changes import ROOT, Found, SettleFounding, founding_id, root_content, unchanged
from .choosing import ACCEPTORS
from .proposer import Register
from .quorums import FOUNDERS, FOUNDING, is_changing
from .witnesses import Witnesses, path_of, stand_for

if TYPE_CHECKING:
    from .service import Registers

logger = logging.getLogger("potluck.registers")

_TABLE: Final = "founding"
_KEY: Final = b"root"
LOOK_AROUND_S: Final = 2.0
"""A node that has just started does not believe that it is alone. Discovery takes a tenth of this on a LAN."""
LOOK_FOR_OTHERS_S: Final = 5.0
"""Nor does one so soon that has been let in, or has let others in: they may find it only when they try its old address
again, as where its clock is wrong."""

_decoder: Final = msgspec.msgpack.Decoder(Held | None)


class Founding:
    def __init__(
        self,
        registers: Registers,
        identity: Identity,
        links: Links,
        membership: Membership,
        store: Store,
        entropy: Entropy,
    ) -> None:
        self._registers = registers
        self._identity = identity
        self._links = links
        self._membership = membership
        self._store = store
        self._entropy = entropy
        self._root_der = identity.mesh.root_der
        self._witnesses = Witnesses(self._root_der, links.bans.is_banned)
        self._beliefs = Beliefs(path_of(identity.chain, self._root_der), self._witnesses)
        self._gathered: list[Witness] = []
        """To the founding that this node is carrying out."""
        self._founding = trio.Lock()
        self._began_s = 0.0
        self.look_around_s = LOOK_AROUND_S
        self.given_up: list[Callable[[bytes, bytes], None]] = []
        """Called with name and content of every register held here whose founding gives way."""
        self._met = trio.lowlevel.ParkingLot()
        membership.observers.append(self._member_changed)
        links.up.append(self._tell)
        links.down.append(lambda link: self._beliefs.gone(link.peer.node_id))
        links.on(wire.Founded, self._told)
        links.bans.grown.append(lambda _: self._change(self._beliefs.reconsider))

    def load(self) -> None:
        self._began_s = trio.current_time()
        written = self._store.get(_TABLE, _KEY)
        packed = None if written is None else opened(written)
        if packed is not None:
            self._beliefs.held = _decoder.decode(packed)
            self._change(self._beliefs.reconsider)

    def _vouched(self, news: wire.Founded) -> wire.Founded:
        """Where nobody stands for it any more, because they are banned, or the mesh or its root is another, we do."""
        if self._witnesses.best(news.founding, news.witnesses):
            return news
        return msgspec.structs.replace(news, witnesses=[stand_for(self._identity, news.founding)])

    @property
    def _known(self) -> wire.Founded | None:
        return self._beliefs.known

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
        absent = [one.name for one in self._founders() if not one.present]
        needs = "the mesh's first agreed value needs every machine that is known here"
        if not absent:
            return Unavailable(f"{needs}, and not all of them answer")
        return Unavailable(
            f"{needs}, and {', '.join(sorted(absent)[:5])} died: start it again with `potluck up`, then end it with"
            " `potluck down` if it is to stay away; what never comes back is forgotten after six hours"
        )

    async def _found(self) -> None:
        await self._look_around()
        if self._known is not None:
            return
        everyone = self._everyone()
        acceptors = self._registers.nearest(ROOT, ACCEPTORS)
        founding = founding_id(len(everyone.acceptors), self._entropy.token(wire.FOUNDING_BYTES - 1))
        register = Register(b"", ROOT)
        state, _ = await self._registers.operate_from(register, everyone, Found(founding, acceptors))
        if state.configuration.number == FOUNDING:
            self._gathered.clear()
            state, _ = await self._registers.operate_from(register, state.configuration, unchanged, confirm=True)
            if is_changing(state.configuration):
                step = SettleFounding(state, self._witnesses.best(root_content(state).founding, self._gathered))
                await self._registers.operate_from(register, state.configuration, step)

    def _member_changed(self, _change: Changed) -> None:
        self._met.unpark_all()

    async def _look_around(self) -> None:
        await trio.sleep_until(self._began_s + self.look_around_s)
        if self.look_around_s and not self._identity.mesh.alone:
            with trio.move_on_at(self._began_s + LOOK_FOR_OTHERS_S):
                while not self._founders():
                    await self._met.park()
            await trio.lowlevel.checkpoint()

    def _everyone(self) -> Configuration:
        others: list[bytes] = sorted(one.node_id for one in self._founders())
        return Configuration(FOUNDERS, [self._registers.own_id, *others][: wire.FOUNDERS_MAX])

    def _founders(self) -> list[Member]:
        """Everybody else who has to agree: who is here or may come back."""
        banned = self._links.bans.nodes
        members = self._membership.members
        return [one for one in members if one.status is not Status.LEFT and one.node_id not in banned]

    def witness_of(self, state: State) -> Witness | None:
        """What goes with this node's acceptance of a root: its signature, where that is the founding."""
        if state.configuration.number != FOUNDING:
            return None
        return stand_for(self._identity, root_content(state).founding)

    def gather(self, witness: Witness) -> None:
        if self._founding.locked() and len(self._gathered) < 2 * wire.FOUNDERS_MAX:
            self._gathered.append(witness)

    # What is known of it

    def learned(self, state: State) -> None:
        """The root as it was agreed; a founding that is under way is none yet."""
        if state.configuration.number > FOUNDING:
            content = root_content(state)
            news = self._vouched(wire.Founded(content.founding, state.configuration, content.witnesses))
            self._change(lambda: self._beliefs.learned(news))

    def is_apart(self, register: Register) -> None:
        logger.warning("registers were founded apart: a node refuses %s of ours", register.founding.hex())

    def _change(self, happen: Callable[[], None]) -> None:
        """Something happens to what is believed, and what follows from it here."""
        before = self._beliefs.held
        happen()
        held = self._beliefs.held
        if held is not None and held.in_use:
            self._beliefs.held = held = msgspec.structs.replace(held, news=self._vouched(held.news))
        if held is not None or before is not None:
            self._hold_to(b"" if held is None else held.news.founding, before)
        if held == before:
            return
        self._store.put(_TABLE, _KEY, sealed(msgspec.msgpack.encode(held)))
        self._registers.start(self._commit)
        for link in self._links:
            self._tell(link)

    def _hold_to(self, founding: bytes, before: Held | None) -> None:
        for write in self._registers.acceptor.hold_to(founding):
            self._registers.put(write)
        if before is not None and before.news.founding != founding:
            logger.error(
                "agreed values were founded %s; those of founding %s are not served any more",
                "twice, by parts of the mesh that did not know of each other" if founding else "by who is banned",
                before.news.founding.hex(),
            )
            self._give_up(before.news.founding)

    async def _commit(self) -> None:
        try:
            await self._store.commit()
        except Unavailable as error:
            logger.warning("the founding is not on disk yet: %s", error)  # it is with the next commit that succeeds

    def _give_up(self, founding: bytes) -> None:
        for key, state in self._registers.acceptor:
            if key.startswith(founding) and key != founding and state.content is not None:
                for observer in self.given_up:
                    observer(key[len(founding) :], state.content)

    def _tell(self, link: Link) -> None:
        if self._known is not None:
            link.tell(self._known)

    def _told(self, link: Link, message: Message) -> None:
        assert isinstance(message, wire.Founded)
        if len(message.founding) != wire.FOUNDING_BYTES or not message.configuration.acceptors:
            link.lose(RemoteProtocolError(f"{link.peer.name} told of a founding that is none"))
            return
        path = path_of(link.peer.chain, self._root_der)
        self._change(lambda: self._beliefs.told(link.peer.node_id, path, message))
