"""Two sessions against each other, and each of them against everything that could be said to it."""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from potluck.overlay.errors import LocalProtocolError, RemoteProtocolError
from potluck.overlay.session.session import NEED_BYTES, Session
from potluck.overlay.session.states import ANSWERS, TRANSITIONS, Direction, Role, State
from potluck.overlay.wire.bans import Bans
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.framing import CONTROL_FRAME_BYTES_MAX, OPENING_FRAME_BYTES_MAX, WIRE_VERSION, encode_frame
from potluck.overlay.wire.opening import ConnectAck, ConnectRequest, Handshake, HandshakeResponse
from potluck.overlay.wire.peer import CLOSING, PEER, PEER_MESSAGES

from ...strategies.messages import of_type, simplest

OTHER = {Role.INITIATOR: Role.RESPONDER, Role.RESPONDER: Role.INITIATOR}
SAMPLES: dict[type[Message], list[Message]] = {message: [simplest(message)] for message in PEER_MESSAGES}
SAMPLES[ConnectRequest] = [ConnectRequest(bytes(20), "a", 1, "control"), ConnectRequest(bytes(20), "a", 1, "bulk")]
SAMPLES[ConnectAck] = [ConnectAck(accepted, bytes(20), "a", 1) for accepted in (True, False)]
ANSWER = simplest(HandshakeResponse)
SAMPLES[HandshakeResponse] = [ANSWER, msgspec.structs.replace(ANSWER, ban_digest=b"\1" * 32)]
SAMPLES[Bans] = [Bans([]), Bans([], more=True)]

Move = tuple[Direction, Message]


def after(role: Role, path: list[Move]) -> Session:
    session = Session(role)
    for direction, message in path:
        if direction is Direction.SENT:
            session.send(message)
        else:
            session.receive_bytes(PEER.encode(message))
            assert session.next_event() == message
    return session


@cache
def paths(role: Role) -> dict[State, list[Move]]:
    """The shortest way into every state that can be reached at all."""
    found: dict[State, list[Move]] = {State.OPENING: []}
    seen: set[tuple[State, bool]] = set()
    waiting: deque[list[Move]] = deque([[]])
    while waiting:
        path = waiting.popleft()
        for direction, message_type in TRANSITIONS[role][after(role, path).state]:
            for message in SAMPLES[message_type]:
                longer = [*path, (direction, message)]
                state, bulk = after(role, longer).state, longer[0][1] == SAMPLES[ConnectRequest][1]
                found.setdefault(state, longer)
                if (state, bulk) not in seen:
                    seen.add((state, bulk))
                    waiting.append(longer)
    return found


every_role = pytest.mark.parametrize("role", Role, ids=lambda role: role.name.lower())
every_state = pytest.mark.parametrize("state", State, ids=lambda state: state.name.lower())


@every_role
def test_every_state_has_its_row_and_can_be_reached(role: Role) -> None:
    assert set(TRANSITIONS[role]) == set(State) == set(paths(role))


@every_role
@every_state
def test_what_the_table_does_not_allow_is_not_sent_and_changes_nothing(role: Role, state: State) -> None:
    path = paths(role)[state]
    for message_type, samples in SAMPLES.items():
        session = after(role, path)
        if (Direction.SENT, message_type) in TRANSITIONS[role][state]:
            assert session.send(samples[0]) == PEER.encode(samples[0])
            continue
        with pytest.raises(LocalProtocolError, match=f"{message_type.__name__} may not be sent in state {state.name}"):
            session.send(samples[0])
        assert session.state is state
        assert session.next_event() is NEED_BYTES


@every_role
@every_state
def test_what_the_table_does_not_allow_ends_the_session_for_ever(role: Role, state: State) -> None:
    path = paths(role)[state]
    for message_type, samples in SAMPLES.items():
        session = after(role, path)
        session.receive_bytes(PEER.encode(samples[0]))
        if (Direction.RECEIVED, message_type) in TRANSITIONS[role][state]:
            assert session.next_event() == samples[0]
            continue
        for _ in range(3):
            with pytest.raises(RemoteProtocolError):
                session.next_event()
            assert session.state is state
            session.receive_bytes(PEER.encode(samples[0]))


@every_role
@every_state
@given(junk=st.binary(max_size=200), step=st.integers(1, 50))
def test_bytes_are_messages_or_the_one_error(role: Role, state: State, junk: bytes, step: int) -> None:
    session = after(role, paths(role)[state])
    for stream in (junk, encode_frame(junk)):
        for start in range(0, len(stream), step):
            session.receive_bytes(stream[start : start + step])
            try:
                while session.next_event() is not NEED_BYTES:
                    pass
            except RemoteProtocolError:
                with pytest.raises(RemoteProtocolError):
                    session.next_event()
                return


@every_role
def test_before_a_link_is_ready_a_long_frame_is_refused_by_its_header(role: Role) -> None:
    comparing = {State.TELLING_BANS, State.HEARING_BANS}
    opening = {State.OPENING, State.CONNECTING, State.ACCEPTED, State.INTRODUCING, State.REFUSED, *comparing}
    for state, path in paths(role).items():
        for length in (OPENING_FRAME_BYTES_MAX + 1, CONTROL_FRAME_BYTES_MAX + 1):
            session = after(role, path)
            session.receive_bytes(length.to_bytes(4, "big") + bytes([WIRE_VERSION]))
            if state not in opening and length <= CONTROL_FRAME_BYTES_MAX:
                assert session.next_event() is NEED_BYTES
                continue
            with pytest.raises(RemoteProtocolError, match="exceeds the limit"):
                session.next_event()


def test_every_request_may_be_answered_where_it_may_be_asked() -> None:
    for role, rows in TRANSITIONS.items():
        for state, moves in rows.items():
            for request, answers in ANSWERS.items():
                if moves.get((Direction.SENT, request)) is state:
                    for answer in answers if isinstance(answers, tuple) else (answers,):
                        assert (Direction.RECEIVED, answer) in moves, f"{role} in {state} cannot be answered {answer}"


class Pair(RuleBasedStateMachine):
    """Two honest sides, each sending whatever its table allows at any moment, with bytes under way both ways.

    Whatever one side may legally send the other may legally receive, however the two streams interleave.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sessions = {role: Session(role) for role in Role}
        self.expected = dict.fromkeys(Role, State.OPENING)
        self.under_way: dict[Role, bytearray] = {role: bytearray() for role in Role}
        self.sent: dict[Role, list[Message]] = {role: [] for role in Role}
        self.received: dict[Role, list[Message]] = {role: [] for role in Role}
        self.bulk = False
        self.ban_digests: dict[type[Message], bytes] = {}

    def legal(self, role: Role) -> list[type[Message]]:
        moves = TRANSITIONS[role][self.expected[role]]
        return [message for direction, message in moves if direction is Direction.SENT]

    def moved(self, role: Role, direction: Direction, message: Message) -> None:
        """The naive reading of the table."""
        following = TRANSITIONS[role][self.expected[role]][direction, type(message)]
        if isinstance(message, ConnectRequest):
            self.bulk = message.purpose == "bulk"
        if isinstance(message, ConnectAck) and not message.accepted:
            following = State.REFUSED
        if isinstance(message, Handshake | HandshakeResponse):
            self.ban_digests[type(message)] = message.ban_digest
        if isinstance(message, HandshakeResponse) and len(set(self.ban_digests.values())) == 2:
            following = State.TELLING_BANS if role is Role.INITIATOR else State.HEARING_BANS
        if isinstance(message, Bans) and message.more:
            following = self.expected[role]
        if following is State.READY and self.expected[role] is not State.READY and self.bulk:
            following = State.BULK
        self.expected[role] = following

    @initialize(opened=st.integers(0, 4), bulk=st.booleans(), differ=st.booleans())
    def part_of_the_opening_is_over(self, opened: int, bulk: bool, differ: bool) -> None:
        request, ack = SAMPLES[ConnectRequest][bulk], SAMPLES[ConnectAck][0]
        messages = [request, ack, SAMPLES[Handshake][0], SAMPLES[HandshakeResponse][differ]][:opened]
        for role, message in zip([Role.INITIATOR, Role.RESPONDER] * 2, messages, strict=False):
            self._send(role, message)
            self.everything_arrives(OTHER[role])

    @precondition(lambda self: any(self.legal(role) for role in Role))
    @rule(data=st.data())
    def send_something_legal(self, data: st.DataObject) -> None:
        role = data.draw(st.sampled_from([role for role in Role if self.legal(role)]))
        legal = self.legal(role)
        ending = [message for message in legal if message in CLOSING]
        message = data.draw(of_type(data.draw(st.sampled_from(legal) | st.sampled_from(ending or legal))))
        self._send(role, message)

    def _send(self, role: Role, message: Message) -> None:
        self.under_way[OTHER[role]] += self.sessions[role].send(message)
        self.sent[role].append(message)
        self.moved(role, Direction.SENT, message)

    @rule(role=st.sampled_from(Role))
    def everything_arrives(self, role: Role) -> None:
        self.bytes_arrive(role, len(self.under_way[role]) + 1)

    @rule(role=st.sampled_from(Role), message_type=st.sampled_from(PEER_MESSAGES))
    def send_something_illegal(self, role: Role, message_type: Any) -> None:
        if message_type not in self.legal(role):
            with pytest.raises(LocalProtocolError):
                self.sessions[role].send(SAMPLES[message_type][0])

    @rule(role=st.sampled_from(Role), size=st.integers(1, 2000))
    def bytes_arrive(self, role: Role, size: int) -> None:
        session, stream = self.sessions[role], self.under_way[role]
        session.receive_bytes(bytes(stream[:size]))
        del stream[:size]
        while (message := session.next_event()) is not NEED_BYTES:
            self.received[role].append(message)
            self.moved(role, Direction.RECEIVED, message)

    @invariant()
    def the_table_is_followed(self) -> None:
        for role, session in self.sessions.items():
            assert session.state is self.expected[role]
            received = self.received[role]
            assert received == self.sent[OTHER[role]][: len(received)]

    def teardown(self) -> None:
        for role in Role:
            self.everything_arrives(role)
            assert self.received[role] == self.sent[OTHER[role]]


TestPair = Pair.TestCase
