"""On real sockets: who was kept is told of the new root at the door; nobody else learns anything there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from potluck.discovery.returning import Keeper, ReturnDoor, ask_for_new_root
from potluck.overlay.config import Config
from potluck.overlay.errors import LinkLost, NotAllowed, PotluckError
from potluck.overlay.identity.bans import BanSet, make_ban
from potluck.overlay.identity.mesh import Identity, found, make_identity, root_of
from potluck.overlay.identity.rotation import Succession, make_rotation, new_secret
from potluck.overlay.ports import Address, Stream
from potluck.overlay.transport.tcp import TcpNetwork
from potluck.overlay.wire.pairing import Refusal
from potluck.overlay.wire.rotation import TO_NEW_ROOT, TO_RETURNING, Return, Rotation
from potluck.simulations.entropy import SeededEntropy

from ..overlay.transport.members import LIMITS, a_folder, ends, tls_files
from ..strategies.identities import key, member, mesh, node_at, place, root

ENOUGH_S = 30.0
LOOPBACK = "127.0.0.1"
ROOT = mesh().root_der
SECRET = new_secret(mesh(), b"n" * 32)
BANNED = make_ban(place(1, 4).owner_chain, root(), ROOT)
FIRST = make_rotation(
    mesh(), SECRET, root(), [place(5).owner_chain, place(7).owner_chain], [BANNED], {key(1007).public}
)
AFTER = found(SECRET, mesh().owner)
SECOND = make_rotation(AFTER, new_secret(AFTER, b"m" * 32), root_of(SECRET), [], [])
THIEF = make_identity(found(SeededEntropy(1, "secret").token(32), key(77)), "thief", key(78), SeededEntropy(9, "boot"))


def network_of(folder: Path, identity: Identity) -> TcpNetwork:
    files = tls_files(folder, identity.chain, identity.key, identity.mesh.root_der)
    return TcpNetwork(Config(identity.name, folder, folder, LOOPBACK, links=LIMITS), files)


Play = Callable[[Address, Path], Awaitable[None]]


def at_the_door(play: Play, rotations: list[Rotation], bans: BanSet | None = None) -> list[Stream]:
    """Of a node under the latest root. Returns the streams of members that it was given."""
    latest = rotations[0].root if rotations else ROOT
    mesh_now = AFTER if latest == FIRST.root else mesh()
    keeper_identity = make_identity(mesh_now, "keeper", key(60), SeededEntropy(4, "boot"))
    members: list[Stream] = []

    async def serve(stream: Stream) -> None:
        members.append(stream)
        await ends(stream)

    async def scenario() -> None:
        with a_folder() as folder, trio.fail_after(ENOUGH_S):
            network = network_of(folder, keeper_identity)
            ReturnDoor(Keeper(rotations, BanSet(latest) if bans is None else bans), network)
            async with trio.open_nursery() as nursery:
                address: Address = await nursery.start(network.serve, serve)
                await play(address, folder)
                nursery.cancel_scope.cancel()

    trio.run(scenario)
    return members


async def ask(address: Address, identity: Identity) -> Rotation:
    with a_folder() as folder:
        return await ask_for_new_root(network_of(folder, identity), address, identity.chain)


@pytest.mark.parametrize("path", [(1,), (1, 2), (1, 2, 3), (5,), (5, 6)], ids=str)
def test_whoever_was_kept_is_told(path: tuple[int, ...]) -> None:
    async def play(address: Address, _folder: Path) -> None:
        assert await ask(address, node_at(*path)) == FIRST

    assert not at_the_door(play, [FIRST]), "who comes by this door is never taken for a member"


@pytest.mark.parametrize(
    "who", [node_at(1, 4), node_at(1, 4, 3), node_at(7), THIEF], ids=["banned", "below", "left behind", "old secret"]
)
def test_whoever_was_not_kept_is_told_nothing(who: Identity) -> None:
    async def play(address: Address, _folder: Path) -> None:
        with pytest.raises(NotAllowed, match="not kept you"):
            await ask(address, who)

    at_the_door(play, [FIRST])


def test_whoever_was_banned_since_is_told_nothing() -> None:
    """By the new root, wherever that has put them."""
    bans = BanSet(FIRST.root)
    kept = Succession(FIRST, ROOT).place_of(place(5).owner_chain)
    assert kept is not None
    bans.learn([make_ban(kept, root_of(SECRET), FIRST.root)])

    async def play(address: Address, _folder: Path) -> None:
        for fallen in (node_at(5), node_at(5, 6)):
            with pytest.raises(NotAllowed):
                await ask(address, fallen)
        assert await ask(address, node_at(1, 2)) == FIRST

    at_the_door(play, [FIRST], bans)


def test_somebody_elses_chain_is_nobodys_way_in() -> None:
    async def play(address: Address, _folder: Path) -> None:
        keeper = Keeper([FIRST], BanSet(FIRST.root))
        for chain in (node_at(1, 2).chain, (THIEF.chain[0], *place(1, 2).owner_chain)):
            with pytest.raises(NotAllowed):
                keeper.answer(chain, THIEF.chain[0])
            with a_folder() as folder:
                stream = await network_of(folder, THIEF).dial_returning(address, THIEF.chain)
            await stream.send_all(TO_NEW_ROOT.encode(Return(list(chain))))
            frames = TO_RETURNING.frames()
            frames.feed(await stream.receive_some())
            body = frames.next_body()
            assert body is not None
            assert isinstance(TO_RETURNING.decode(body), Refusal)
            await stream.aclose()

    at_the_door(play, [FIRST])


@pytest.mark.parametrize("rotations", [[], [FIRST]], ids=["never rotated", "rotated"])
def test_a_stranger_gets_no_word_in(rotations: list[Rotation]) -> None:
    async def play(address: Address, _folder: Path) -> None:
        with pytest.raises(LinkLost):
            await ask(address, member(3, secret=2))

    assert not at_the_door(play, rotations)


def test_who_was_away_for_two_rotations_comes_back_in_two_steps() -> None:
    keeper = Keeper([SECOND, FIRST], BanSet(SECOND.root))
    who = node_at(1, 2)
    assert keeper.answer(who.chain, who.chain[0]) == FIRST
    half_way = Succession(FIRST, ROOT).place_of(who.chain[1:])
    assert half_way is not None
    assert keeper.answer((who.chain[0], *half_way), who.chain[0]) == SECOND
    gone = node_at(5)  # known to the second rotation as below the first rotator, whom it keeps
    assert keeper.answer(gone.chain, gone.chain[0]) == FIRST


def test_who_says_nothing_or_nonsense_is_not_listened_to_for_long() -> None:
    async def play(address: Address, _folder: Path) -> None:
        with a_folder() as folder:
            network = network_of(folder, node_at(1, 2))
            for said in (b"", b"\xff" * 100, TO_NEW_ROOT.encode(Return([b"x", b"y"]))[:-1] + b"\0\0\0"):
                stream = await network.dial_returning(address, node_at(1, 2).chain)
                await stream.send_all(said)
                with trio.fail_after(ENOUGH_S):
                    await _until_closed(stream)

    at_the_door(play, [FIRST])


async def _until_closed(stream: Stream) -> None:
    try:
        while await stream.receive_some():
            pass
    except PotluckError:
        pass
    finally:
        await stream.aclose()
