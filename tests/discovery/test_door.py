"""On real sockets: the door is there while an invite is open, and whoever knocks without the code stays out."""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import trio
from potluck.discovery import spake
from potluck.discovery.beacon import read_datagram
from potluck.discovery.codes import Code, parse
from potluck.discovery.door import EXCHANGES_AT_ONCE, Door
from potluck.discovery.knocking import Joined, Where, join
from potluck.discovery.pairing import GUESSES
from potluck.overlay.config import Config, Discovery
from potluck.overlay.errors import LinkLost, NotAllowed, NotFound, PotluckError, UsageError
from potluck.overlay.identity.bans import BanSet, make_ban
from potluck.overlay.identity.certificates import issue
from potluck.overlay.identity.mesh import Identity, make_identity
from potluck.overlay.ports import Address, Stream
from potluck.overlay.transport.multicast import MulticastGroup
from potluck.overlay.transport.tcp import TcpNetwork, dial_door
from potluck.overlay.wire.beacon import SEEKING, Offer, Seek
from potluck.overlay.wire.pairing import TO_INVITER, TO_JOINER, Admit, Ask, Reply
from potluck.simulations.entropy import SeededEntropy

from ..overlay.transport.members import LIMITS, a_folder, ends, running, tls_files
from ..strategies.identities import key, member, mesh, node_at, place, root

ENOUGH_S = 30.0
LOOPBACK = "127.0.0.1"
DISCOVERY = Discovery(port=40_000 + os.getpid() % 20_000)
GUEST = key(50)


class House:
    """A node's network and its door, on loopback."""

    def __init__(self, folder: Path, identity: Identity, number: int) -> None:
        files = tls_files(folder, identity.chain, identity.key, identity.mesh.root_der)
        config = Config(identity.name, folder, folder, LOOPBACK, links=LIMITS, discovery=DISCOVERY)
        self.network = TcpNetwork(config, files)
        self.admitted = 0
        self.members: list[Stream] = []
        self.bans = BanSet(identity.mesh.root_der, identity.mesh.owner_chain)
        self.door = Door(identity, self.bans, self.network, SeededEntropy(number, "door"), admitted=self._count)

    def _count(self) -> None:
        self.admitted += 1

    async def _serve(self, stream: Stream) -> None:
        self.members.append(stream)
        await stream.aclose()

    async def run(self, *, task_status: trio.TaskStatus[Address]) -> None:
        async with trio.open_nursery() as nursery:
            address: Address = await nursery.start(self.network.serve, self._serve)
            nursery.start_soon(self.door.run, address.port)
            task_status.started(address)

    def invite(self, **wanted: object) -> Code:
        asked = {"count": 1, "life_s": 60.0, "mine": False, "invites": False} | wanted
        return self.door.invite(**asked).code  # type: ignore[arg-type]


def at_the_door(play: Callable[[House, Address], Awaitable[None]], identity: Identity | None = None) -> House:
    houses: list[House] = []

    async def scenario() -> None:
        with a_folder() as folder, trio.fail_after(ENOUGH_S):
            async with trio.open_nursery() as nursery:
                house = House(folder, identity or member(1), 1)
                houses.append(house)
                address = await nursery.start(house.run)
                await play(house, address)
                nursery.cancel_scope.cancel()

    trio.run(scenario)
    return houses[0]


async def knock(code: Code, peer: Address | None = None) -> Joined:
    where = Where(peer, LOOPBACK, LIMITS, DISCOVERY, seek_s=1.5)
    return await join(code, GUEST, where, SeededEntropy(7, "joiner"))


async def come_and_go(house: House, address: Address) -> None:
    stream = await house.network.dial(address)
    await ends(stream)
    await stream.aclose()


def other_than(code: Code) -> Code:
    return parse(f"{code.number}-{'acorn' if code.words[0] != 'acorn' else 'acrobat'}-{code.words[1]}")


@pytest.mark.parametrize("by_multicast", [True, False], ids=["found by multicast", "by address"])
def test_who_knows_the_code_gets_in(by_multicast: bool) -> None:
    async def play(house: House, address: Address) -> None:
        joined = await knock(house.invite(), None if by_multicast else address)
        assert (joined.mesh.mesh_id, joined.inviter, joined.address) == (mesh().mesh_id, "n1", address)
        assert house.admitted == 1

    assert not at_the_door(play).members, "who has knocked is never taken for a member"


def test_a_banned_owner_is_told_that_it_needs_a_new_key() -> None:
    async def play(house: House, address: Address) -> None:
        place = (issue(mesh().owner, GUEST.public, may_issue=True), *mesh().owner_chain)
        house.bans.learn([make_ban(place, root(), mesh().root_der)])
        code = house.invite()
        with pytest.raises(NotAllowed, match=r"banned.*--anew"):
            await knock(code, address)
        assert house.admitted == 0

    at_the_door(play)


def test_who_is_banned_lets_nobody_in_nor_whom_it_has_invited_before() -> None:
    async def play(house: House, address: Address) -> None:
        code = house.invite()
        house.bans.learn([make_ban(place(1, 2).owner_chain, root(), mesh().root_der)])
        with pytest.raises(NotAllowed, match="banned"):
            house.invite()
        with pytest.raises(NotAllowed, match="banned"):
            await knock(code, address)
        assert house.admitted == 0

    at_the_door(play, node_at(1, 2))


@pytest.mark.parametrize("mine", [False, True])
def test_who_types_the_code_of_its_own_machine_is_told_so_and_spends_nothing(mine: bool) -> None:
    async def play(house: House, address: Address) -> None:
        code = house.invite(mine=mine)
        where = Where(address, LOOPBACK, LIMITS, DISCOVERY, seek_s=1.5)
        with pytest.raises(NotAllowed, match="invite of this machine itself"):
            await join(code, mesh().owner, where, SeededEntropy(8, "joiner"))
        assert house.admitted == 0
        assert (await knock(code, address)).inviter == "n1"

    at_the_door(play)


def test_what_is_no_node_is_told_as_what_it_is() -> None:
    """Something else on that port, a connection that is cut, and a name that nobody knows."""

    async def play(house: House, address: Address) -> None:
        code = house.invite()
        for answer, error, said in (
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", NotAllowed, "is no potluck node"),
            (b"", LinkLost, "closed the connection"),
        ):

            async def reply(stream: trio.SocketStream, answer: bytes = answer) -> None:
                await stream.receive_some()
                await stream.send_all(answer)
                await stream.aclose()

            async with trio.open_nursery() as nursery:
                (listener,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
                nursery.start_soon(trio.serve_listeners, reply, [listener])
                port = listener.socket.getsockname()[1]
                with pytest.raises(error, match=said):
                    await knock(code, Address(LOOPBACK, port))
                nursery.cancel_scope.cancel()
        with pytest.raises(LinkLost, match=r"cannot connect to nobody.invalid:9000: [A-Z][a-z]+ (?!error)"):
            await knock(code, Address("nobody.invalid", 9000))

    at_the_door(play)


def test_a_whole_class_comes_at_once() -> None:
    async def play(house: House, address: Address) -> None:
        code = house.invite(count=6)
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(knock, code, address)
        assert house.admitted == 6
        with pytest.raises(LinkLost):
            await knock(code, address)

    at_the_door(play)


def test_a_wrong_code_stays_out_and_after_three_the_door_is_shut() -> None:
    async def play(house: House, address: Address) -> None:
        code = house.invite()
        for _ in range(GUESSES):
            with pytest.raises(NotAllowed, match="not the code"):
                await knock(other_than(code), address)
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(LinkLost, match="closed its door"):
            await knock(code, address)

    assert at_the_door(play).admitted == 0


def test_without_an_open_invite_a_stranger_is_any_stranger() -> None:
    async def play(house: House, address: Address) -> None:
        with pytest.raises(LinkLost):
            await knock(parse("7-copper-lantern"), address)
        house.invite(life_s=0.05)
        await trio.sleep(0.1)
        with pytest.raises(LinkLost):
            await knock(parse("7-copper-lantern"), address)

    at_the_door(play)


def test_nobody_answers_a_search_for_an_invite_that_is_not_there() -> None:
    async def play(house: House, address: Address) -> None:
        code = house.invite()
        with pytest.raises(NotFound, match="--peer"):
            await knock(parse(f"{code.number % 99 + 1}-copper-lantern"))

    at_the_door(play)


def test_members_come_and_go_while_the_door_is_open() -> None:
    async def play(house: House, address: Address) -> None:
        house.invite()
        await trio.testing.wait_all_tasks_blocked(0.01)
        with a_folder() as folder:
            bob = House(folder, member(2), 2)
            stranger = House(folder, member(4, secret=2, owner=2), 3)
            await come_and_go(bob, address)
            try:
                await come_and_go(stranger, address)
            except NotAllowed:
                pass  # as TLS would have it, now or at the first read
        assert [stream.leaf_der for stream in house.members] == [member(2).chain[0]]

    at_the_door(play)


async def _lie(stream: Stream) -> None:
    """A false inviter: it knows the number, and says something that looks right."""
    frames = TO_INVITER.frames()
    while chunk := await stream.receive_some():
        frames.feed(chunk)
        while (body := frames.next_body()) is not None:
            message = TO_INVITER.decode(body)
            if isinstance(message, Ask):
                side = spake.inviter(b"a guess", (b"", b""), SeededEntropy(1, "liar").token)
                await stream.send_all(TO_JOINER.encode(Reply(side.start())))
            else:
                await stream.send_all(TO_JOINER.encode(Admit(bytes(32), bytes(600))))


async def false_inviter(folder: Path, number: int, *, task_status: trio.TaskStatus[None]) -> None:
    """Answers every search, first of all, and leads to itself."""
    house = House(folder, member(20 + number, secret=2, owner=2), number)
    house.network.admit_strangers(_lie)
    group = MulticastGroup(DISCOVERY.group, DISCOVERY.port, [LOOPBACK])
    try:
        async with trio.open_nursery() as nursery:
            address = await nursery.start(house.network.serve, house._serve)
            task_status.started()
            while True:
                message = read_datagram(SEEKING, (await group.receive())[0])
                if isinstance(message, Seek):
                    offer = Offer(message.number, message.seeker, number.to_bytes(8, "big"), address.port)
                    await group.send(SEEKING.encode(offer))
    finally:
        await group.aclose()


@pytest.mark.parametrize("liars", [1, 2])
def test_false_inviters_give_nothing_and_the_true_one_is_found_beside_them(liars: int) -> None:
    async def play(house: House, address: Address) -> None:
        with a_folder() as folder:
            async with trio.open_nursery() as nursery:
                for number in range(liars):
                    await nursery.start(false_inviter, folder, number)
                joined = await knock(house.invite())
                assert joined.address == address
                nursery.cancel_scope.cancel()

    at_the_door(play)


def test_where_all_who_answer_are_false_nobody_gets_in() -> None:
    async def scenario() -> None:
        with a_folder() as folder, trio.fail_after(ENOUGH_S):
            async with trio.open_nursery() as nursery:
                for number in range(3):
                    await nursery.start(false_inviter, folder, number)
                with pytest.raises(NotAllowed, match="does not know the code"):
                    await knock(parse("7-copper-lantern"))
                nursery.cancel_scope.cancel()

    trio.run(scenario)


def test_a_listener_on_the_group_hears_the_number_and_nothing_else_of_the_code() -> None:
    heard: list[bytes] = []

    async def listen(group: MulticastGroup) -> None:
        while True:
            heard.append((await group.receive())[0])

    async def play(house: House, address: Address) -> None:
        group = MulticastGroup(DISCOVERY.group, DISCOVERY.port, [LOOPBACK])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, group)
            code = house.invite()
            await knock(code)
            nursery.cancel_scope.cancel()
        await group.aclose()
        assert heard
        for secret in (*code.words, mesh().mesh_id, "n1"):
            assert not any(secret.encode() in data for data in heard)
        assert not any(mesh().tag_key in data or GUEST.public in data for data in heard)

    at_the_door(play)


def test_whoever_holds_the_door_without_a_word_shuts_nobody_out_of_the_mesh() -> None:
    async def play(house: House, address: Address) -> None:
        house.invite()
        async with AsyncExitStack() as stack:
            for _ in range(EXCHANGES_AT_ONCE):
                stack.push_async_callback((await dial_door(address, LIMITS)).aclose)
            one_more = await dial_door(address, LIMITS)
            await ends(one_more)
            await one_more.aclose()
            with a_folder() as folder:
                await come_and_go(House(folder, member(2), 2), address)
        assert len(house.members) == 1

    at_the_door(play)


def test_junk_at_the_door_ends_that_exchange_and_no_other() -> None:
    async def play(house: House, address: Address) -> None:
        code = house.invite()
        for junk in (b"\0" * 50, b"\xff" * 2000, b"GET / HTTP/1.1\r\n\r\n"):
            stream = await dial_door(address, LIMITS)
            await stream.send_all(junk)
            await ends(stream)
            await stream.aclose()
        await knock(code, address)

    at_the_door(play)


def guest_of(inviter: Identity, number: int, *, invites: bool) -> Identity:
    """A member whose owner was let in by the owner of `inviter`."""
    owner = key(4000 + number)
    certificate = issue(inviter.mesh.owner, owner.public, may_issue=True, may_invite=invites)
    place = msgspec.structs.replace(inviter.mesh, owner=owner, owner_chain=(certificate, *inviter.mesh.owner_chain))
    return make_identity(place, f"g{number}", key(5000 + number), SeededEntropy(number, "guest"))


@pytest.mark.parametrize("invites", [True, False], ids=["may invite", "may not"])
def test_whom_a_guest_lets_in_is_in_only_if_the_guest_may_invite(invites: bool) -> None:
    """Refused by TLS itself, on both sides: the chain never reaches HANDSHAKE."""
    guest = guest_of(member(1), 1, invites=invites)
    second = guest_of(guest, 2, invites=True)

    async def scenario() -> None:
        with a_folder() as folder, trio.fail_after(ENOUGH_S):
            async with running(folder, member(1), guest, second) as (host, first, other):
                await first.ping(host)
                if invites:
                    await other.ping(host)
                    await host.ping(other)
                    return
                for one, there in ((other, host), (host, other)):
                    with pytest.raises(PotluckError) as caught:
                        await one.ping(there)
                    assert isinstance(caught.value, NotAllowed | LinkLost)

    trio.run(scenario)


def test_a_guest_opens_the_door_to_its_own_machines_only() -> None:
    async def play(house: House, address: Address) -> None:
        with pytest.raises(NotAllowed, match="may not let others in"):
            house.invite()
        joined = await knock(house.invite(mine=True), address)
        assert joined.mesh.owner.public == key(4001).public

    at_the_door(play, guest_of(member(1), 1, invites=False))


def test_an_interface_this_machine_lacks_is_one_clear_line() -> None:
    with pytest.raises(PotluckError) as caught:
        trio.run(join, parse("7-copper-lantern"), GUEST, Where(interface="nonsuch0"), SeededEntropy(1, "x"))
    assert not isinstance(caught.value, UsageError | ssl.SSLError)
    assert "nonsuch0" in str(caught.value)
