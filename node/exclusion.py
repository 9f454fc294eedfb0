"""Whom a ban would take down, who may say it, and saying it."""

from __future__ import annotations

import msgspec

from ..overlay.errors import NotAllowed
from ..overlay.identity.bans import lies_below, make_ban
from ..overlay.identity.certificates import public_keys_of
from ..overlay.identity.keys import KeyPair
from ..overlay.identity.mesh import Identity
from ..overlay.links.banning import Banning
from ..overlay.wire.bans import Ban
from .roster import Entry, Roster


class Verdict(msgspec.Struct, frozen=True):
    ban: Ban
    falls: list[str]
    """Names of the nodes that this takes down, as far as they are known."""


class Exclusion:
    def __init__(self, identity: Identity, roster: Roster, banning: Banning) -> None:
        self._identity = identity
        self._roster = roster
        self._banning = banning

    def judge(self, name: str, root: KeyPair | None) -> Verdict:
        """What banning the owner of this node would be; `root` is the root's key where a founder asks.

        Raises NotFound, UsageError (several of that name), NotAllowed.
        """
        mesh = self._identity.mesh
        owner_chain = self._roster.owner_chain(name)
        if owner_chain[0] == mesh.owner_chain[0]:
            raise NotAllowed(
                f"{name} is a machine of yours: who let you in, or a founder, can ban you, and nobody else"
            )
        if lies_below(mesh.owner_chain, owner_chain, mesh.root_der):
            raise NotAllowed(f"{name} belongs to the one who let you in: that would ban you, too")
        try:
            ban = make_ban(owner_chain, root or mesh.owner, mesh.root_der)
        except NotAllowed as error:
            raise NotAllowed(f"{name}: {error}{self._who_may(owner_chain)}") from None
        below = [entry.name for _, entry in self._roster.entries() if self._falls(entry, owner_chain)]
        return Verdict(ban, sorted(below))

    def _falls(self, entry: Entry, owner_chain: list[bytes]) -> bool:
        return lies_below(entry.chain[1:], owner_chain, self._identity.mesh.root_der)

    async def carry_out(self, verdict: Verdict) -> None:
        """For ever. Raises Unavailable when it could not be written to disk."""
        await self._banning.proclaim(verdict.ban)

    def _who_may(self, owner_chain: list[bytes]) -> str:
        """By the names of their nodes."""
        above = set(public_keys_of(owner_chain)[1:])
        entries = self._roster.entries()
        names = sorted({entry.name for _, entry in entries if public_keys_of(entry.chain[1:2])[0] in above})
        return f": ask {' or '.join(names)}" if names else ""
