"""Shell of the inviting side. The door is open, to the network and to the multicast group, only while an invite is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

import trio

from ..overlay.bell import Bell
from ..overlay.errors import ConfigError, LinkLost, NotAllowed, RemoteProtocolError
from ..overlay.identity.bans import BanSet
from ..overlay.identity.joining import Admission, admit, admit_own, check_may_invite
from ..overlay.identity.mesh import Identity
from ..overlay.ports import Datagrams, Entropy, Stream, StreamHandler
from .pairing import EXCHANGE_S, Invite, Inviter, Invites
from .seeking import Offers

logger = logging.getLogger("potluck.pairing")

EXCHANGES_AT_ONCE: Final = 8


class DoorNetwork(Protocol):
    """What a network offers beyond `ports.Network` where strangers can be let in."""

    def admit_strangers(self, handler: StreamHandler | None) -> None: ...

    async def open_multicast(self) -> Datagrams: ...


class Door:
    """`admitted` is called when somebody is let in, before they are told."""

    def __init__(
        self,
        identity: Identity,
        bans: BanSet,
        network: DoorNetwork,
        entropy: Entropy,
        *,
        admitted: Callable[[], None],
    ) -> None:
        self._identity = identity
        self._bans = bans
        self._network = network
        self._entropy = entropy
        self._admitted = admitted
        self._invites = Invites()
        self._changed = Bell()
        self._exchanges = 0

    def invite(self, *, count: int, life_s: float, mine: bool, invites: bool) -> Invite:
        """Opens an invite. Raises NotAllowed, LimitExceeded."""
        check_may_invite(self._identity.mesh, mine=mine)
        self._check_not_banned()
        expires_s = trio.current_time() + life_s
        self._invites.tidy(trio.current_time())
        made = self._invites.open(
            self._entropy.token,
            lambda code: Invite(code, expires_s, uses_left=count, mine=mine, invites=invites),
        )
        self._changed.ring()
        return made

    async def run(self, port: int) -> None:
        while True:
            if self._next_end_s() is None:
                await self._changed.heard()
                continue
            self._network.admit_strangers(self._receive)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._offer, port)
                    await self._last_end()
                    nursery.cancel_scope.cancel()
            finally:
                self._network.admit_strangers(None)

    def _next_end_s(self) -> float | None:
        self._invites.tidy(trio.current_time())
        return self._invites.next_end_s()

    async def _last_end(self) -> None:
        while (end_s := self._next_end_s()) is not None:
            with trio.move_on_at(end_s):
                await self._changed.heard()

    async def _offer(self, port: int) -> None:
        datagrams = await self._network.open_multicast()
        offers = Offers(self._invites, self._entropy.token(8), port)
        try:
            while True:
                data, _host = await datagrams.receive()
                if offer := offers.received(trio.current_time(), data):
                    await datagrams.send(offer)
        finally:
            with trio.CancelScope(shield=True):
                await datagrams.aclose()

    async def _receive(self, stream: Stream) -> None:
        """Runs as the task of one stranger."""
        self._exchanges += 1
        try:
            if self._exchanges <= EXCHANGES_AT_ONCE:
                with trio.move_on_after(EXCHANGE_S):
                    await self._exchange(stream)
        except (LinkLost, RemoteProtocolError, ConfigError, OSError) as error:  # of `admitted`, too: then nobody is
            logger.debug("an exchange with %s ended: %s", stream.remote, error)
        finally:
            self._exchanges -= 1
            self._changed.ring()
            with trio.CancelScope(shield=True):
                await stream.aclose()

    async def _exchange(self, stream: Stream) -> None:
        inviter = Inviter(self._invites, self._entropy.token, self._identity.chain[0], self._admission)
        try:
            while not inviter.done and (chunk := await stream.receive_some()):
                answer = inviter.receive(trio.current_time(), chunk)
                if inviter.admitted is not None:
                    self._admitted()
                await stream.send_all(answer)
            if inviter.admitted is not None:
                logger.info("Node %s let in a machine from %s", self._identity.name, stream.remote.host)
        finally:
            if (invite := inviter.end()) is not None:
                left = f"{invite.guesses_left} left" if invite.guesses_left else "that was the last: it has ended"
                logger.warning("invite %d: a wrong try from %s; %s", invite.code.number, stream.remote.host, left)

    def _admission(self, invite: Invite, owner_public_key: bytes) -> Admission:
        mesh, name = self._identity.mesh, self._identity.name
        self._check_not_banned()
        if owner_public_key == mesh.owner.public:
            raise NotAllowed("that is an invite of this machine itself, or of another one of yours that is in its mesh")
        if invite.mine:
            return admit_own(mesh, name)
        admission = admit(mesh, name, owner_public_key, invites=invite.invites)
        if self._bans.is_owner_banned(admission.owner_chain):
            raise NotAllowed(
                "this owner is banned from the mesh, and a new one is not: `potluck join CODE --anew` comes as one"
            )
        return admission

    def _check_not_banned(self) -> None:
        """Whom it lets in would be banned with it."""
        if self._bans.against_this_node is not None:
            raise NotAllowed("this machine is banned from its mesh, and so would be whoever it lets in")
