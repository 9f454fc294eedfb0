"""What was printed lately is kept in order, once, and within its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from potluck.node.custody.live import Live
from potluck.overlay.ids import NodeId
from potluck.overlay.wire.questions import PrintedPiece
from potluck.overlay.wire.streams import TaskOutput

NODES = [NodeId(bytes([n]) * 20) for n in range(2)]
JOBS = ["a", "b"]
TASK = 0


def printed(pieces: list[PrintedPiece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


class Readers(RuleBasedStateMachine):
    """Against everything that was ever printed; a reader for each job reads on now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.live = Live(job_bytes_max=2000, bytes_max=3000)
        self.said = {(job, node): b"" for job in JOBS for node in NODES}
        self.begun = dict.fromkeys(NODES, 0)
        self.all = dict.fromkeys(JOBS, b"")
        self.position = dict.fromkeys(JOBS, 0)

    @rule(job=st.sampled_from(JOBS), node=st.sampled_from(NODES), data=st.binary(min_size=1, max_size=400))
    def prints(self, job: str, node: NodeId, data: bytes) -> None:
        self.live.take(node, "n", TaskOutput(job, len(self.said[job, node]), TASK, 0, 1, data, self.begun[node]))
        self.said[job, node] += data
        self.all[job] += data

    @rule(job=st.sampled_from(JOBS), node=st.sampled_from(NODES), back=st.integers(0, 500))
    def says_it_again(self, job: str, node: NodeId, back: int) -> None:
        position = max(0, len(self.said[job, node]) - back)
        if data := self.said[job, node][position:]:
            self.live.take(node, "n", TaskOutput(job, position, TASK, 0, 1, data, self.begun[node]))

    @rule(node=st.sampled_from(NODES))
    def begins_anew(self, node: NodeId) -> None:
        self.begun[node] += 1
        for job in JOBS:
            self.said[job, node] = b""

    @rule(job=st.sampled_from(JOBS))
    def reads_on(self, job: str) -> None:
        first = self.position[job]
        pieces, self.position[job], missed_bytes = self.live.read(job, first)
        assert self.position[job] == len(self.all[job])
        assert printed(pieces) == self.all[job][first + missed_bytes :]

    @invariant()
    def bounded(self) -> None:
        self.live.check()


TestReaders = Readers.TestCase


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=30))
def test_what_fits_is_all_kept(parts: list[bytes]) -> None:
    live, position = Live(), 0
    for part in parts:
        live.take(NODES[0], "n", TaskOutput("a", position, TASK, 0, 1, part))
        position += len(part)
    assert printed(live.read("a", 0).pieces) == b"".join(parts)


def test_the_job_that_was_silent_longest_gives_way_first() -> None:
    live = Live(job_bytes_max=1000, bytes_max=1500)
    for job in ("old", "new"):
        live.take(NODES[0], "n", TaskOutput(job, 0, TASK, 0, 1, b"x" * 700))
    assert live.read("old", 0).missed_bytes == 700
    assert live.read("new", 0).missed_bytes == 0


def test_of_a_job_that_has_printed_nothing_there_is_nothing() -> None:
    assert Live().read("a", 0) == ([], 0, 0)
