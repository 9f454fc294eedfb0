"""A worker process is the user's code: what it may do to its node through the pipe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio
from potluck.node.execution import events
from potluck.node.execution.feeding import Feeder
from potluck.node.execution.lines import LINES_MAX, UNREAD_BYTES_MAX, TaskLine
from potluck.node.execution.listening import Listener
from potluck.node.execution.overseeing import Attention, Overseer
from potluck.node.execution.tasks import Job, ProgramState, Task
from potluck.node.execution.workers import WorkerLife
from potluck.node.processes.process import Origin, Process
from potluck.node.scheduling.times import Times
from potluck.overlay import boundary
from potluck.overlay.config import Execution
from potluck.overlay.errors import InternalError, LimitExceeded
from potluck.overlay.wire import values
from potluck.overlay.wire.capabilities import Guarantees
from potluck.overlay.wire.framing import CONTROL_FRAME_BYTES_MAX
from potluck.overlay.wire.limits import Limits
from potluck.overlay.wire.work import Inline, Payload, Program
from potluck.overlay.wire.worker import FROM_WORKER, TO_WORKER, LineSaid, NodeAnswer, NodeCall, TaskWaits
from potluck.simulations import determinism

TURNS_MAX = 1_000
LENT_BYTES = 8 << 20


class Hostile:
    """Says what it wants, for ever or once, and reads or does not."""

    guarantees = Guarantees()
    backend = "bare"

    def __init__(self, said: bytes, *, again: bool, reads: bool) -> None:
        self._said = said
        self._again = again
        self._reads = reads
        self._frames = TO_WORKER.frames()
        self._ended = trio.Event()
        self.turns = 0
        self.heard: list[NodeAnswer] = []

    async def start(self) -> Hostile:
        return self

    def send_now(self, data: bytes | bytearray | memoryview) -> bool:
        if not self._reads:
            return False
        self._frames.feed(data)
        while (body := self._frames.next_body()) is not None:
            message = TO_WORKER.decode(body)
            assert isinstance(message, NodeAnswer)
            self.heard.append(message)
        return True

    async def flush(self) -> None:
        await trio.sleep_forever()

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        self.turns += 1
        assert self.turns < TURNS_MAX
        if self.turns == 1 or self._again:
            return self._said
        await trio.sleep(1)
        return b""

    def receive_ready(self) -> bytes:
        return b""

    async def output_arrived(self, stream: int) -> bool:
        await self._ended.wait()
        return False

    def read_output(self, stream: int) -> bytes:
        return b""

    async def send_input(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    def end_input(self) -> None:
        pass

    def bind(self, cores: Sequence[int]) -> None:
        pass

    def limit(self, limits: Limits) -> None:
        pass

    def usage(self) -> None:
        return None

    async def wait(self) -> str:
        await self._ended.wait()
        return "killed"

    def begin_to_kill(self) -> None:
        pass

    async def kill(self) -> None:
        self._ended.set()


RUNNING = Task(
    5,
    Job(b"owner", "job", b"master", 1, 0),
    ProgramState(1, Program(b"p" * 32, "callable"), Inline(b"")),
    0,
    0,
    Inline(b""),
    0,
    None,
    True,
    Process(1, Times(0.0), Origin("job", "user", "owner")),
)


async def for_ever(line: TaskLine, task: Task) -> None:
    """Serves a line and reads nothing of it."""
    await trio.sleep_forever()


class Nothing:
    def keep_result(self, inline: Inline, job: str) -> Payload:
        raise LimitExceeded("nothing is kept here")

    def __init__(self) -> None:
        self.held_bytes = self.most_bytes = 0

    def hold(self, more_bytes: int) -> None:
        if self.held_bytes + more_bytes > LENT_BYTES:
            raise LimitExceeded("that is more than is lent")
        self.held_bytes += more_bytes
        self.most_bytes = max(self.most_bytes, self.held_bytes)


async def _nothing(job: str, operation: str, arguments: object) -> object:
    await trio.lowlevel.checkpoint()
    return None


def live(
    process: Hostile,
    node_call: Callable[[str, str, object], Awaitable[object]] = _nothing,
    tell: Callable[[events.Event], None] = lambda event: None,
    faults: list[Exception] | None = None,
    keeper: Nothing | None = None,
) -> events.WorkerGone | events.WorkerNotStarted:
    """The end of a node's worker that is this process."""

    async def story() -> None:
        with trio.fail_after(60):
            await life.run(process.start, trio.CapacityLimiter(1), tell)

    feeder = Feeder(lambda offset: None, lambda: None)
    listener = Listener(1, 1000, lambda number: None, lambda event: None)
    unlimited = Overseer(Attention(), lambda: None, listener.printed_bytes, lambda task, cpu_s, memory_bytes: None)
    ours = (Execution(), keeper or Nothing(), lambda number: RUNNING, for_ever, node_call)
    failed = boundary.log if faults is None else lambda what, fault: faults.append(fault)
    life = WorkerLife(1, *ours, listener, feeder, unlimited, failed)
    determinism.run(story, seed=1)
    return life.end()


def test_a_worker_that_asks_for_ever_and_reads_nothing_is_ended() -> None:
    question = FROM_WORKER.encode(NodeCall(1, "mem_get", values.encode_bytes(["k"])))
    ended = live(Hostile(question * 1000, again=True, reads=False))
    assert isinstance(ended, events.WorkerGone)
    assert "does not read the answers" in ended.how


def test_a_question_too_long_is_refused_unopened() -> None:
    question = FROM_WORKER.encode(NodeCall(7, "mem_get", bytes([0x91]) * (CONTROL_FRAME_BYTES_MAX + 1)))
    process = Hostile(question, again=False, reads=True)
    live(process)
    assert [(answer.request, answer.code) for answer in process.heard] == [(7, LimitExceeded.wire_code)]


def test_a_question_of_nonsense_is_refused_and_the_node_goes_on() -> None:
    """A path that is made of a number."""
    nonsense = bytes.fromhex("c7091093c2c404c43a5c6464")
    process = Hostile(FROM_WORKER.encode(NodeCall(7, "mem_get", nonsense)), again=False, reads=True)
    live(process)
    assert [answer.request for answer in process.heard] == [7]
    assert process.heard[0].code


def test_a_worker_that_says_more_than_is_read_is_ended() -> None:
    part = FROM_WORKER.encode(LineSaid(RUNNING.key, 1, bytes(UNREAD_BYTES_MAX // 64)))
    ended = live(Hostile(part, again=True, reads=True))
    assert isinstance(ended, events.WorkerGone)
    assert "more than can be read" in ended.how


def test_a_worker_with_too_many_conversations_is_ended() -> None:
    said = b"".join(FROM_WORKER.encode(LineSaid(RUNNING.key, line, b"x")) for line in range(LINES_MAX + 1))
    ended = live(Hostile(said, again=False, reads=True))
    assert isinstance(ended, events.WorkerGone)
    assert "too many conversations" in ended.how


def test_what_is_said_for_a_task_that_does_not_run_there_is_not_heard() -> None:
    stale = b"".join(FROM_WORKER.encode(LineSaid(RUNNING.key + 1, line, b"x")) for line in range(LINES_MAX + 1))
    process = Hostile(stale + FROM_WORKER.encode(NodeCall(7, "mem_get", b"\xc0")), again=False, reads=True)
    live(process)
    assert [answer.request for answer in process.heard] == [7]


def test_a_question_that_fails_by_a_fault_of_ours_is_answered_and_the_node_goes_on() -> None:
    async def node_call(job: str, operation: str, arguments: object) -> object:
        raise OverflowError("nobody has thought of that")

    faults: list[Exception] = []
    questions = FROM_WORKER.encode(NodeCall(7, "mem_get", b"\xc0")) + FROM_WORKER.encode(NodeCall(8, "x", b"\xc0"))
    process = Hostile(questions, again=False, reads=True)
    live(process, node_call, faults=faults)
    assert {answer.request: answer.code for answer in process.heard} == dict.fromkeys((7, 8), InternalError.wire_code)
    assert [type(fault) for fault in faults] == [OverflowError] * 2


def test_a_worker_whose_words_end_in_a_fault_of_ours_is_ended_alone() -> None:
    def tell(event: events.Event) -> None:
        assert not isinstance(event, events.Waits), "nobody has thought of that"

    faults: list[Exception] = []
    ended = live(Hostile(FROM_WORKER.encode(TaskWaits(5, 1)), again=False, reads=True), tell=tell, faults=faults)
    assert isinstance(ended, events.WorkerGone)
    assert "a fault of potluck's own" in ended.how
    assert [type(fault) for fault in faults] == [AssertionError]


def test_a_frame_longer_than_the_memory_that_is_lent_ends_its_worker() -> None:
    class Endless(Hostile):
        async def receive_some(self) -> bytes:
            said = await super().receive_some()
            return said if self.turns == 1 else bytes(1 << 20)

    keeper = Nothing()
    header = (1 << 29).to_bytes(4, "big") + b"\1"
    process = Endless(header, again=False, reads=True)
    ended = live(process, keeper=keeper)
    assert isinstance(ended, events.WorkerGone)
    assert "more than is lent" in ended.how
    assert process.turns < 12
    assert keeper.most_bytes <= LENT_BYTES
    assert keeper.held_bytes == 0, "and nothing of it stays"


def test_many_lines_together_wait_to_be_read_no_more_than_one() -> None:
    part = b"".join(
        FROM_WORKER.encode(LineSaid(RUNNING.key, line, bytes(UNREAD_BYTES_MAX // 64))) for line in range(LINES_MAX)
    )
    process = Hostile(part, again=True, reads=True)
    ended = live(process)
    assert isinstance(ended, events.WorkerGone)
    assert "more than can be read" in ended.how
    assert process.turns <= 3
