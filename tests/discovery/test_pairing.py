"""Who knows the code gets in, however the bytes are cut; nobody else does, and three wrong guesses end an invite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.discovery.codes import Code
from potluck.discovery.pairing import GUESSES, Invite, Inviter, Invites, Joiner
from potluck.discovery.seeking import OFFERS_PER_S, RESPONDERS_MAX, Offers, Search
from potluck.overlay.errors import LimitExceeded, NotAllowed, RemoteProtocolError, Unavailable
from potluck.overlay.identity.joining import Admission, admit, admit_own, mesh_of
from potluck.overlay.wire.beacon import SEEKING, Offer, Seek
from potluck.overlay.wire.pairing import TO_INVITER, TO_JOINER, Admit, Confirm, Refusal, Reply
from potluck.simulations.entropy import SeededEntropy

from ..strategies.identities import key, mesh
from ..strategies.messages import messages_of

CODE = Code(7, ("copper", "lantern"))
WRONG = Code(7, ("copper", "lamp"))
CHANNEL = b"the inviter's certificate"
GUEST = key(50)
few = settings(max_examples=12)  # an exchange takes SPAKE2 some milliseconds


def admission(invite: Invite, owner_public_key: bytes) -> Admission:
    return admit_own(mesh(), "north") if invite.mine else admit(mesh(), "north", owner_public_key, invites=False)


class Table:
    """One inviter with one open invite, and as many joiners as come."""

    def __init__(self, *, uses: int = 1, mine: bool = False, expires_s: float = 600.0) -> None:
        self.entropy = SeededEntropy(1, "pairing")
        self.invites = Invites()
        self.invite = self.invites.open(
            self.entropy.token, lambda _drawn: Invite(CODE, expires_s, uses_left=uses, mine=mine)
        )

    def inviter(self, channel: bytes = CHANNEL) -> Inviter:
        return Inviter(self.invites, self.entropy.token, channel, admission)

    def joiner(self, code: Code = CODE, channel: bytes = CHANNEL) -> Joiner:
        return Joiner(code, self.entropy.token, channel, GUEST.public)

    def play(self, joiner: Joiner, inviter: Inviter, now_s: float = 0.0) -> Admission | None:
        """A whole exchange. Raises what the joiner hears."""
        said = joiner.start()
        try:
            while said and joiner.admission is None:
                said = joiner.receive(inviter.receive(now_s, said))
        finally:
            inviter.end()
        return joiner.admission


def test_the_right_code_lets_in_and_the_place_is_a_valid_one() -> None:
    table = Table()
    admitted = table.play(table.joiner(), table.inviter())
    assert admitted is not None
    place = mesh_of(admitted, GUEST)
    assert place.mesh_id == mesh().mesh_id
    assert place.owner.public == GUEST.public
    assert not place.alone
    assert admitted.inviter == "north"
    assert not admitted.owner_key_pem


def test_another_machine_of_the_same_owner_is_given_the_owners_key() -> None:
    table = Table(mine=True)
    admitted = table.play(table.joiner(), table.inviter())
    assert admitted is not None
    assert mesh_of(admitted, GUEST).owner.public == mesh().owner.public


def test_an_admission_for_somebody_else_is_no_place() -> None:
    with pytest.raises(NotAllowed):
        mesh_of(admit(mesh(), "north", key(51).public, invites=True), GUEST)


@few
@given(cuts=st.lists(st.integers(1, 300), max_size=30))
def test_how_the_bytes_are_cut_makes_no_difference(cuts: list[int]) -> None:
    table = Table()
    joiner, inviter = table.joiner(), table.inviter()

    def pieces(data: bytes) -> list[bytes]:
        found = []
        for size in cuts:
            found.append(data[:size])
            data = data[size:]
        return [piece for piece in [*found, data] if piece]

    said = joiner.start()
    while joiner.admission is None:
        answers = b"".join(inviter.receive(0.0, piece) for piece in pieces(said))
        said = b"".join(joiner.receive(piece) for piece in pieces(answers))
    inviter.end()
    assert inviter.admitted is not None


def test_one_invite_serves_as_many_machines_as_it_says() -> None:
    table = Table(uses=3)
    for _ in range(3):
        assert table.play(table.joiner(), table.inviter()) is not None
    with pytest.raises(NotAllowed, match="no invite 7"):
        table.play(table.joiner(), table.inviter())


def test_three_wrong_guesses_end_the_invite_and_the_right_code_comes_too_late() -> None:
    table = Table(uses=5)
    for _ in range(GUESSES):
        with pytest.raises(NotAllowed, match="not the code"):
            table.play(table.joiner(WRONG), table.inviter())
    with pytest.raises(NotAllowed, match="no invite 7"):
        table.play(table.joiner(), table.inviter())


def test_a_right_code_costs_no_guess() -> None:
    table = Table(uses=20)
    for _ in range(10):
        assert table.play(table.joiner(), table.inviter()) is not None
    assert table.invite.guesses_left == GUESSES


def test_an_exchange_that_is_broken_off_was_a_wrong_guess() -> None:
    table = Table()
    for _ in range(GUESSES):
        inviter = table.inviter()
        assert inviter.receive(0.0, table.joiner().start())
        inviter.end()
    assert table.invites.get(0.0, 7) is None


def test_guesses_at_the_same_time_are_no_more_than_guesses_in_turn() -> None:
    table = Table()
    inviters = [table.inviter() for _ in range(GUESSES)]
    for inviter in inviters:
        inviter.receive(0.0, table.joiner(WRONG).start())
    with pytest.raises(Unavailable, match="others are joining"):
        table.play(table.joiner(), table.inviter())
    for inviter in inviters[:2]:
        inviter.end()
    inviters[2].end()
    assert table.invites.get(0.0, 7) is None


def test_an_expired_invite_lets_nobody_in_however_far_the_exchange_was() -> None:
    table = Table(expires_s=10.0)
    with pytest.raises(NotAllowed, match="no invite"):
        table.play(table.joiner(), table.inviter(), now_s=10.0)
    table = Table(expires_s=10.0)
    joiner, inviter = table.joiner(), table.inviter()
    confirm = joiner.receive(inviter.receive(9.9, joiner.start()))
    with pytest.raises(NotAllowed, match="used up"):
        joiner.receive(inviter.receive(10.0, confirm))
    assert inviter.admitted is None


def test_of_two_who_come_for_one_place_one_is_let_in() -> None:
    table = Table(uses=1)
    pairs = [(table.joiner(), table.inviter()) for _ in range(2)]
    confirms = [joiner.receive(inviter.receive(0.0, joiner.start())) for joiner, inviter in pairs]
    (first, one), (second, other) = pairs
    first.receive(one.receive(0.0, confirms[0]))
    assert first.admission is not None
    with pytest.raises(NotAllowed, match="used up"):
        second.receive(other.receive(0.0, confirms[1]))


def test_a_recorded_exchange_played_again_lets_nobody_in() -> None:
    table = Table(uses=5)
    joiner, inviter = table.joiner(), table.inviter()
    said = [joiner.start()]
    said.append(joiner.receive(inviter.receive(0.0, said[0])))
    joiner.receive(inviter.receive(0.0, said[1]))
    inviter.end()
    assert joiner.admission is not None
    replayed = table.inviter()
    replayed.receive(0.0, said[0])
    answer = replayed.receive(0.0, said[1])
    replayed.end()
    assert isinstance(_only(answer), Refusal)
    assert replayed.admitted is None
    assert table.invite.guesses_left == GUESSES - 1


def _only(data: bytes) -> object:
    frames = TO_JOINER.frames()
    frames.feed(data)
    body = frames.next_body()
    assert body is not None
    return TO_JOINER.decode(body)


def test_who_sits_in_the_middle_learns_nothing_and_is_seen() -> None:
    """It relays every byte between two channels, each with a certificate of its own."""
    table = Table()
    with pytest.raises(NotAllowed, match="not the code"):
        table.play(table.joiner(channel=b"the middle's certificate"), table.inviter())
    assert table.invite.guesses_left == GUESSES - 1


def test_who_sits_in_the_middle_cannot_put_its_own_key_in() -> None:
    table = Table()
    joiner = table.joiner()
    ask = TO_INVITER.decode(joiner.start()[5:])
    forged = TO_INVITER.encode(type(ask)(ask.number, ask.element, key(60).public))  # type: ignore[union-attr]
    inviter = table.inviter()
    confirm = joiner.receive(inviter.receive(0.0, forged))
    with pytest.raises(NotAllowed):
        joiner.receive(inviter.receive(0.0, confirm))
    assert inviter.admitted is None


def test_a_false_inviter_gives_no_place_and_is_seen() -> None:
    """It knows the number, which is public, and not the words."""
    false = Table()
    false.invite.code = WRONG
    joiner, inviter = false.joiner(), false.inviter()
    assert joiner.receive(inviter.receive(0.0, joiner.start()))
    lie = TO_JOINER.encode(Admit(bytes(32), b"anything"))
    with pytest.raises(NotAllowed, match="does not know the code"):
        joiner.receive(lie)


def test_a_reflected_exchange_is_refused() -> None:
    joiner = Table().joiner()
    ask = TO_INVITER.decode(joiner.start()[5:])
    with pytest.raises(RemoteProtocolError):
        joiner.receive(TO_JOINER.encode(Reply(ask.element)))  # type: ignore[union-attr]


def test_messages_out_of_turn_end_the_exchange() -> None:
    table = Table()
    with pytest.raises(RemoteProtocolError):
        table.inviter().receive(0.0, TO_INVITER.encode(Confirm(bytes(32))))
    twice = table.inviter()
    start = table.joiner().start()
    with pytest.raises(RemoteProtocolError):
        twice.receive(0.0, start + start)
    with pytest.raises(RemoteProtocolError):
        table.joiner().receive(TO_JOINER.encode(Admit(bytes(32), b"")))


def test_what_a_stranger_says_does_nothing_to_a_terminal() -> None:
    with pytest.raises(NotAllowed) as caught:
        Table().joiner().receive(TO_JOINER.encode(Refusal(25, "\x1b[2Jgone\nand more")))
    assert str(caught.value).isprintable()


def only_these_errors(attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except (RemoteProtocolError, NotAllowed, Unavailable):
        pass  # the only outcomes but an answer


@few
@given(chunks=st.lists(st.binary(max_size=120), max_size=4), data=st.data())
def test_any_bytes_do_nothing_worse_than_ending_the_exchange(chunks: list[bytes], data: st.DataObject) -> None:
    legal = data.draw(st.lists(messages_of(TO_INVITER), max_size=3))
    inviter = Table().inviter()
    for chunk in [*map(TO_INVITER.encode, legal), *chunks]:
        only_these_errors(lambda chunk=chunk: inviter.receive(0.0, chunk))
    assert inviter.admitted is None
    inviter.end()
    answers = data.draw(st.lists(messages_of(TO_JOINER), max_size=3))
    joiner = Table().joiner()
    for chunk in [*map(TO_JOINER.encode, answers), *chunks]:
        only_these_errors(lambda chunk=chunk: joiner.receive(chunk))
    assert joiner.admission is None


def test_an_invite_has_a_number_of_its_own_and_there_are_not_too_many() -> None:
    entropy, invites = SeededEntropy(2, "many"), Invites()
    opened = []
    with pytest.raises(LimitExceeded):
        while True:
            opened.append(invites.open(entropy.token, lambda code: Invite(code, 600.0)))
    assert len({invite.code.number for invite in opened}) == len(opened)
    assert invites.next_end_s() == 600.0
    invites.tidy(600.0)
    assert invites.next_end_s() is None


# Finding each other


def test_only_an_inviter_with_that_number_answers_a_search_and_only_the_number_is_said() -> None:
    table = Table()
    offers, search = Offers(table.invites, b"inviter1", 9000), Search(7, b"seeker01")
    call = search.call()
    assert not any(word.encode() in call for word in CODE.words)
    offer = offers.received(0.0, call)
    assert offer is not None
    assert str(search.received(offer, "127.0.0.5")) == "127.0.0.5:9000"
    assert search.received(offer, "127.0.0.6") is None, "the same inviter by another address"
    assert offers.received(0.0, Search(8, b"seeker01").call()) is None
    assert offers.received(600.0, call) is None, "expired"


def test_a_joiner_tries_three_and_no_more() -> None:
    search = Search(7, b"seeker01")
    tried = [
        search.received(SEEKING.encode(Offer(7, b"seeker01", n.to_bytes(8, "big"), 9000)), "127.0.0.1")
        for n in range(10)
    ]
    assert len([address for address in tried if address]) == RESPONDERS_MAX
    others = Search(7, b"seeker01")
    for offer in (
        Offer(8, b"seeker01", bytes(8), 9000),
        Offer(7, b"seeker02", bytes(8), 9000),
        Offer(7, b"seeker01", bytes(8), 0),
    ):
        assert others.received(SEEKING.encode(offer), "127.0.0.1") is None


def test_a_flood_of_searches_is_not_answered_with_a_flood() -> None:
    offers = Offers(Table().invites, b"inviter1", 9000)
    call = SEEKING.encode(Seek(7, b"seeker01"))
    assert sum(offers.received(n / 1000, call) is not None for n in range(2000)) <= 3 * OFFERS_PER_S
    assert offers.received(10.0, call) is not None


@given(data=st.binary(max_size=80) | messages_of(SEEKING).map(SEEKING.encode))
def test_any_datagram_may_come(data: bytes) -> None:
    Offers(Table().invites, b"inviter1", 9000).received(0.0, data)
    Search(7, b"seeker01").received(data, "127.0.0.1")
