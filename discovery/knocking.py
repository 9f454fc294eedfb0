"""Shell of the joining side: finds whoever has the invite, and proves to know the code."""

from __future__ import annotations

from typing import Final

import msgspec
import trio

from ..overlay.config import Discovery, Links
from ..overlay.errors import (
    DeadlineExceeded,
    LinkLost,
    NotAllowed,
    NotFound,
    PotluckError,
    RemoteProtocolError,
    Unavailable,
)
from ..overlay.identity.joining import mesh_of
from ..overlay.identity.keys import KeyPair
from ..overlay.identity.mesh import Mesh
from ..overlay.ports import Address, Entropy
from ..overlay.transport.interfaces import choose
from ..overlay.transport.multicast import MulticastGroup
from ..overlay.transport.tcp import dial_door
from ..overlay.transport.tls import TlsStream
from .codes import Code
from .pairing import EXCHANGE_S, Joiner
from .seeking import RESPONDERS_MAX, Search

OTHERS_S: Final = 1.0
"""After somebody has refused: another may have an invite of the same number."""
_PAUSE_S: Final = 0.5
_BUSY_PAUSE_S: Final = 0.3


class Where(msgspec.Struct, frozen=True):
    """To look for the inviter: at `peer`, else on the multicast group."""

    peer: Address | None = None
    interface: str | None = None
    links: Links = msgspec.field(default_factory=Links)
    discovery: Discovery = msgspec.field(default_factory=Discovery)
    seek_s: float = 5.0
    """How long to wait for the first who answers."""


class Joined(msgspec.Struct, frozen=True):
    mesh: Mesh
    inviter: str
    address: Address


Outcome = Joined | PotluckError


async def join(code: Code, owner: KeyPair, where: Where, entropy: Entropy) -> Joined:
    """Raises NotAllowed (a wrong code, or refused), NotFound (nobody has it), Unavailable, ConfigError."""
    joining = _Joining(code, owner, where, entropy)
    if where.peer is not None:
        return await joining.knock(where.peer)
    return await joining.seek()


class _Joining:
    def __init__(self, code: Code, owner: KeyPair, where: Where, entropy: Entropy) -> None:
        self._code = code
        self._owner = owner
        self._where = where
        self._entropy = entropy
        self._under_way = 0

    async def seek(self) -> Joined:
        """Tries everyone who answers, at most three and all at once: a false one may be slow."""
        group = MulticastGroup(self._where.discovery.group, self._where.discovery.port, choose(self._where.interface))
        search = Search(self._code.number, self._entropy.token(8))
        outcomes_in, outcomes = trio.open_memory_channel[Outcome](RESPONDERS_MAX)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._call, group, search)
                nursery.start_soon(self._listen, group, search, nursery, outcomes_in)
                outcome = await self._first_success(outcomes)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await group.aclose()
        if isinstance(outcome, PotluckError):
            raise outcome
        return outcome

    async def _first_success(self, outcomes: trio.MemoryReceiveChannel[Outcome]) -> Outcome:
        failures: list[PotluckError] = []
        deadline_s = trio.current_time() + self._where.seek_s
        while len(failures) < RESPONDERS_MAX and (self._under_way or trio.current_time() < deadline_s):
            outcome = None
            with trio.move_on_at(trio.current_time() + EXCHANGE_S if self._under_way else deadline_s):
                outcome = await outcomes.receive()
            if isinstance(outcome, Joined):
                return outcome
            if outcome is not None:
                failures.append(outcome)
                deadline_s = min(deadline_s, trio.current_time() + OTHERS_S)
        return self._why_not(failures)

    def _why_not(self, failures: list[PotluckError]) -> PotluckError:
        """The refusal that says most: a wrong code before a broken connection."""
        failures.sort(key=lambda error: not isinstance(error, NotAllowed))
        return next(
            iter(failures),
            NotFound(
                f"no invite {self._code.number} was found on this network: is it still open, after no more than two"
                " wrong tries? Give --interface where several networks are, --peer HOST:PORT where multicast is blocked"
            ),
        )

    async def _call(self, group: MulticastGroup, search: Search) -> None:
        while True:
            await group.send(search.call())
            await trio.sleep(_PAUSE_S)

    async def _listen(
        self,
        group: MulticastGroup,
        search: Search,
        nursery: trio.Nursery,
        outcomes: trio.MemorySendChannel[Outcome],
    ) -> None:
        while True:
            data, host = await group.receive()
            if address := search.received(data, host):
                self._under_way += 1
                nursery.start_soon(self._try, address, outcomes)

    async def _try(self, address: Address, outcomes: trio.MemorySendChannel[Outcome]) -> None:
        try:
            outcome: Outcome = await self.knock(address)
        except PotluckError as error:
            outcome = error
        self._under_way -= 1
        await outcomes.send(outcome)

    async def knock(self, address: Address) -> Joined:
        """One responder. While others are joining there, waits for its turn."""
        give_up_s = trio.current_time() + EXCHANGE_S
        while True:
            stream = await dial_door(address, self._where.links)
            try:
                with trio.fail_after(EXCHANGE_S):
                    return await self._exchange(stream, address)
            except trio.TooSlowError:
                raise DeadlineExceeded(f"{address} did not finish the exchange") from None
            except RemoteProtocolError as error:
                raise NotAllowed(f"{address} speaks another language: {error}") from error
            except LinkLost:
                raise LinkLost(f"{address} closed its door: is the invite still open?") from None
            except Unavailable:
                if trio.current_time() > give_up_s:
                    raise
            finally:
                with trio.CancelScope(shield=True):
                    await stream.aclose()
            await trio.sleep(_BUSY_PAUSE_S)

    async def _exchange(self, stream: TlsStream, address: Address) -> Joined:
        joiner = Joiner(self._code, self._entropy.token, stream.leaf_der, self._owner.public)
        answer = joiner.start()
        while joiner.admission is None:
            if answer:
                await stream.send_all(answer)
            chunk = await stream.receive_some()
            if not chunk:
                raise LinkLost(f"{address} closed the connection")
            answer = joiner.receive(chunk)
        return Joined(mesh_of(joiner.admission, self._owner), joiner.admission.inviter, address)
