"""The session's table. Everything that can change a link's state stands here; what does not stand here is illegal.

The direction is the view of the one who holds the table: `SENT` by me, `RECEIVED` from the peer.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from typing import Final

from ..wire import audit, bans, gossip, joblog, opening, peer, processes, questions, records, registers, work
from ..wire.codec import Message


class Role(Enum):
    INITIATOR = auto()
    RESPONDER = auto()


class State(Enum):
    OPENING = auto()
    """TLS stands, nothing has been said."""
    CONNECTING = auto()
    ACCEPTED = auto()
    INTRODUCING = auto()
    TELLING_BANS = auto()
    """The two have different sets of bans; I say mine before anything else."""
    HEARING_BANS = auto()
    """… and the peer says its own."""
    READY = auto()
    BULK = auto()
    """Ready, on a connection that carries objects only."""
    LEAVING = auto()
    """We asked to disconnect and still take in what was under way."""
    BOTH_LEAVING = auto()
    """Both asked at the same moment: we owe an acknowledgement and are owed one."""
    ACKNOWLEDGED = auto()
    """Both asked; we have acknowledged and wait for the peer to do so."""
    LEFT_BY_PEER = auto()
    """The peer asked to disconnect; we owe the acknowledgement."""
    REFUSED = auto()
    """By the responder: with a reason, or after the initiator's introduction with the ban that shuts it out."""
    CLOSED = auto()


class Direction(IntEnum):  # whose hash, unlike Enum's, is no call: it is taken for every message
    SENT = auto()
    RECEIVED = auto()


Move = tuple[Direction, type[Message]]
SENT: Final = Direction.SENT
RECEIVED: Final = Direction.RECEIVED

_FREELY: Final = (
    *(*peer.GOSSIP, *peer.WORK, *peer.STREAMS, *peer.CUSTODY, *peer.AUDIT, *peer.PROCESSES),
    *(*peer.RECORDS, *peer.REGISTERS, *peer.EXCLUSION),
)

_READY_MOVES: Final[dict[Move, State]] = {
    **{(direction, message): State.READY for direction in Direction for message in _FREELY},
    (SENT, opening.DisconnectRequest): State.LEAVING,
    (RECEIVED, opening.DisconnectRequest): State.LEFT_BY_PEER,
}
_ENDING: Final[dict[State, dict[Move, State]]] = {
    State.LEAVING: {
        **{(RECEIVED, message): State.LEAVING for message in _FREELY},
        (RECEIVED, opening.DisconnectAck): State.CLOSED,
        (RECEIVED, opening.DisconnectRequest): State.BOTH_LEAVING,
    },
    State.BOTH_LEAVING: {
        (SENT, opening.DisconnectAck): State.ACKNOWLEDGED,
        (RECEIVED, opening.DisconnectAck): State.LEFT_BY_PEER,
    },
    State.ACKNOWLEDGED: {(RECEIVED, opening.DisconnectAck): State.CLOSED},
    State.LEFT_BY_PEER: {(SENT, opening.DisconnectAck): State.CLOSED},
    State.REFUSED: {},
    State.CLOSED: {},
}

TRANSITIONS: Final[dict[Role, dict[State, dict[Move, State]]]] = {
    Role.INITIATOR: {
        State.OPENING: {(SENT, opening.ConnectRequest): State.CONNECTING},
        State.CONNECTING: {(RECEIVED, opening.ConnectAck): State.ACCEPTED},
        State.ACCEPTED: {(SENT, opening.Handshake): State.INTRODUCING},
        State.INTRODUCING: {
            (RECEIVED, opening.HandshakeResponse): State.READY,
            (RECEIVED, bans.Bans): State.REFUSED,
        },
        State.TELLING_BANS: {(SENT, bans.Bans): State.HEARING_BANS},
        State.HEARING_BANS: {(RECEIVED, bans.Bans): State.READY},
        State.READY: _READY_MOVES,
        State.BULK: {
            (SENT, work.ObjectWant): State.BULK,
            (RECEIVED, work.ObjectComes): State.BULK,
            (RECEIVED, work.ObjectMissing): State.BULK,
        },
        **_ENDING,
    },
    Role.RESPONDER: {
        State.OPENING: {(RECEIVED, opening.ConnectRequest): State.CONNECTING},
        State.CONNECTING: {(SENT, opening.ConnectAck): State.ACCEPTED},
        State.ACCEPTED: {(RECEIVED, opening.Handshake): State.INTRODUCING},
        State.INTRODUCING: {
            (SENT, opening.HandshakeResponse): State.READY,
            (SENT, bans.Bans): State.REFUSED,
        },
        State.HEARING_BANS: {(RECEIVED, bans.Bans): State.TELLING_BANS},
        State.TELLING_BANS: {(SENT, bans.Bans): State.READY},
        State.READY: _READY_MOVES,
        State.BULK: {
            (RECEIVED, work.ObjectWant): State.BULK,
            (SENT, work.ObjectComes): State.BULK,
            (SENT, work.ObjectMissing): State.BULK,
        },
        **_ENDING,
    },
}

ANSWERS: Final[dict[type[Message], type[Message] | tuple[type[Message], ...]]] = {
    gossip.Probe: gossip.ProbeAck,
    gossip.IndirectProbe: gossip.IndirectAck,
    records.FindNode: records.Nodes,
    records.FindValue: records.Value,
    records.Store: records.Stored,
    records.StoreMany: records.StoredMany,
    records.Fetch: records.Fetched,
    records.ListRange: records.Range,
    records.FindChain: records.Chain,
    registers.Prepare: registers.Promise,
    registers.Accept: registers.Accepted,
    joblog.JobLog: joblog.JobLogged,
    questions.AskJob: questions.JobSaid,
    audit.AskHeads: audit.Heads,
    audit.AskEntries: audit.Entries,
    processes.AskProcesses: processes.Processes,
    processes.ActOnProcesses: processes.Acted,
    processes.MayMove: processes.MoveJudged,
    work.TasksSought: work.TasksHeld,
    work.ObjectWant: (work.ObjectComes, work.ObjectMissing),
}
"""Which message answers which request; the two share a `request` number."""
