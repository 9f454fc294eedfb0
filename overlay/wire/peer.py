"""All messages between two nodes over a link, and their codec."""

from __future__ import annotations

from typing import Final

from . import audit, bans, gossip, joblog, opening, processes, questions, records, registers, rotation, streams, work
from .codec import Codec, Message

OPENING: Final = (opening.ConnectRequest, opening.ConnectAck, opening.Handshake, opening.HandshakeResponse)
CLOSING: Final = (opening.DisconnectRequest, opening.DisconnectAck)
GOSSIP: Final = (gossip.PeerExchange, gossip.Probe, gossip.ProbeAck, gossip.IndirectProbe, gossip.IndirectAck)
WORK: Final = (
    work.InstructionAssignment,
    work.ExecutionConfirmation,
    work.TaskComplete,
    work.CancelInstructions,
    work.TasksSought,
    work.TasksHeld,
    work.JobOrphaned,
    work.ObjectRelease,
)
CUSTODY: Final = (joblog.JobLog, joblog.JobLogged, questions.AskJob, questions.JobSaid)
RECORDS: Final = (
    *(records.FindNode, records.Nodes),
    *(records.FindValue, records.Value, records.Fetch, records.Fetched),
    *(records.Store, records.Stored, records.StoreMany, records.StoredMany),
    *(records.ListRange, records.Range, records.FindChain, records.Chain),
)
REGISTERS: Final = (
    registers.Prepare,
    registers.Promise,
    registers.Accept,
    registers.Accepted,
    registers.Founded,
)
EXCLUSION: Final = (bans.Bans, rotation.Rotated)
STREAMS: Final = (streams.TaskOutput, streams.OutputTaken, streams.InputWanted, streams.InputPart)
PROCESSES: Final = (
    *(processes.AskProcesses, processes.Processes),
    *(processes.ActOnProcesses, processes.Acted),
    *(processes.MayMove, processes.MoveJudged),
)
AUDIT: Final = (audit.AuditHead, audit.AskHeads, audit.Heads, audit.AskEntries, audit.Entries)
BULK: Final = (work.ObjectWant, work.ObjectComes, work.ObjectMissing)

PEER_MESSAGES: Final[tuple[type[Message], ...]] = (
    *(*OPENING, *CLOSING, *GOSSIP, *WORK, *STREAMS, *CUSTODY, *AUDIT, *PROCESSES),
    *(*RECORDS, *REGISTERS, *EXCLUSION, *BULK),
)
PEER: Final[Codec[Message]] = Codec(PEER_MESSAGES)
