"""From the queue into the pipes of workers, and back: the part of the execution engine that hands tasks out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...overlay.config import Execution
from ...overlay.parcels import Parcel
from ...overlay.wire.work import Attached, Fault, Inline
from ...overlay.wire.worker import LoadProgram, RunTask, WithdrawTasks
from ..processes.process import State
from ..resources.grants import Grants
from ..scheduling.policy import Policy
from .claims import Claims, hand_over
from .events import Effect, Feed, InstructionBegins, Send, Sent
from .pool import WorkerPool
from .standing import Standing
from .tasks import Numbers, Task, Worker, is_current
from .turns import Turns

WITHDRAW_AFTER_S: Final = 0.05
"""A task that runs this long while slots are free loses what waits behind it to them."""


class Dispatcher:
    """Short tasks are handed to a worker ahead, so that it need not wait for the next. Only the one at the head of a
    pipe counts as begun: the others can be taken back unharmed, and are when the head turns out to be long."""

    def __init__(
        self,
        config: Execution,
        policy: Policy[Task],
        pool: WorkerPool,
        numbers: Numbers,
        effects: list[Effect],
        grants: Grants,
    ) -> None:
        self.policy = policy
        self.claims = Claims(grants, self._ready)
        self.turns = Turns(policy, pool, effects)
        self._config = config
        self._pool = pool
        self._numbers = numbers
        self._effects = effects
        self._outgoing: dict[int, Send] = {}
        self.standing = Standing(pool)

    def dispatch(self, now_s: float) -> None:
        self.claims.admit(now_s)
        while True:
            if self.standing.wants_slots:
                self._resume(now_s)
            while not self.standing.wants_slots and (task := self.policy.peek(now_s)) is not None:
                worker = self._worker_for(now_s, task)
                if worker is None:
                    break
                self.policy.pick(now_s)
                self._hand(now_s, worker, task)
            if (worker := self.turns.due(now_s, wanted=self.standing.wants_slots)) is not None:
                self.withdraw(worker)
                self.turns.stop(now_s, worker)
            elif not self._withdraw_waiting(now_s):
                return

    def _resume(self, now_s: float) -> None:
        for worker, told in self.standing.resumed():
            self._add(worker, told)
            self.turns.begin(now_s, worker.pipe[0])

    def ready(self, now_s: float, task: Task) -> None:
        """Everything of it is here, and nobody has suspended it; it may have to wait for what it asks for."""
        self.claims.take_in(now_s, task)

    def _ready(self, now_s: float, task: Task) -> None:
        self.policy.add(now_s, task)
        task.process.move(now_s, State.READY)

    def begin(self, now_s: float, task: Task) -> None:
        """It is at the head of a ready worker's pipe."""
        task.begun_s = now_s
        self.turns.begin(now_s, task)
        if task.program.program.form == "kind" and isinstance(task.arguments, Inline):
            self._effects.append(InstructionBegins(task.arguments))

    def send(self, worker: Worker, task: Task) -> None:
        for state in (*task.program.libraries, task.program):
            if state.number not in worker.programs:
                worker.programs.add(state.number)
                assert state.body is not None
                program = state.program
                body = self._beside(worker, state.body)
                self._add(worker, LoadProgram(state.number, program.form, body, program.entry, program.file_name))
        assert task.arguments is not None
        if takes_input := task.job.takes_input:
            self._effects.append(Feed(worker.number))
        arguments = self._beside(worker, task.arguments)
        number = task.program.number
        self._add(worker, RunTask(task.key, number, arguments, task.may_pickle, takes_input, task.checkpoint))

    def _add(self, worker: Worker, message: Sent) -> None:
        self._send_to(worker).messages.append(message)

    def _beside(self, worker: Worker, payload: Inline | Parcel) -> Inline | Attached:
        """As the next message has it."""
        if isinstance(payload, Inline):
            return payload
        send = self._send_to(worker)
        send.parcels[len(send.messages)] = payload
        return Attached(payload.size_bytes)

    def _send_to(self, worker: Worker) -> Send:
        if (send := self._outgoing.get(worker.number)) is None:
            send = self._outgoing[worker.number] = Send(worker.number, [])
        return send

    def take_head(self, worker: Worker) -> Task:
        """Out of its pipe; its process goes on to nothing else."""
        self.turns.unready(worker)
        return worker.pipe.popleft()

    def withdraw(self, worker: Worker) -> None:
        """What lies behind the running task."""
        for task in reversed(list(worker.pipe)[1:]):
            self.detach(task)
            self.policy.put_back(task)

    def could_withdraw(self, worker: Worker) -> bool:
        return len(worker.pipe) > 1 and not self.policy and self._pool.slots.are_left

    def condemn(self, worker: Worker, fault: Fault | None) -> None:
        """Kills a worker for its running task, confirmed with `fault` when it is gone. The rest runs elsewhere."""
        if worker.dying:
            return
        if worker.pipe:
            task = self.take_head(worker)
            worker.condemned = (task, fault) if fault is not None else None
        self.empty(worker)
        self._pool.kill(worker)

    def empty(self, worker: Worker) -> None:
        """Nothing in the pipe has begun, or its end is known; it comes next again."""
        self.standing.ends(worker)
        for task in reversed(worker.pipe):
            task.worker, task.begun_s = None, None
            if is_current(task):
                worker.granted = None
                self.policy.put_back(task)
        worker.pipe.clear()

    def gone(self, worker: Worker) -> None:
        """Nothing of it is left, and nobody uses what its task was granted."""
        self.empty(worker)
        self._pool.remove(worker)
        if worker.granted is not None:
            self.claims.grants.release(worker.granted)

    def detach(self, task: Task) -> None:
        """Takes a task that has not begun out of the queue or out of its worker's pipe."""
        worker = task.worker
        if worker is None:
            self.policy.remove(task.key)
            return
        task.worker = worker.granted = None
        worker.pipe.remove(task)
        if worker.ready:
            worker.withdrawn.add(task.key)
            self._add(worker, WithdrawTasks([task.key]))
            # The same worker may be given it again, and skips what it knows as withdrawn.
            task.key = self._numbers.next()
        elif not worker.pipe:
            # Still starting: it goes on as an idle worker of its job.
            self._pool.vacate(worker)

    def collect(self) -> Iterator[Effect]:
        for number, send in self._outgoing.items():
            worker = self._pool.workers.get(number)
            if worker is not None and not worker.dying:
                yield send
        self._outgoing = {}

    def _worker_for(self, now_s: float, task: Task) -> Worker | None:
        has_room = self._pool.slots.fit(task.job.needs.cpus)
        if task.worker is not None:  # it was stopped there
            return task.worker if has_room and not task.worker.stopping else None
        if has_room:
            return self._pool.lease(now_s, task.job, self.claims.opened_for(task))
        best: Worker | None = None
        for worker in task.job.lease.workers.values():
            room = self._window(now_s, worker, task) if worker.goes and worker.active and not worker.worn else 0
            if len(worker.pipe) < room:
                best = worker if best is None or len(worker.pipe) < len(best.pipe) else best
        return best

    def _window(self, now_s: float, worker: Worker, task: Task) -> int:
        """How many tasks a worker may hold: the running one and as many as it does in the time of a round trip.

        The running one is expected to take at least as long again as it has taken so far.
        """
        running = worker.pipe[0]
        running_s, mean_s = running.program.mean_s, task.program.mean_s
        if running_s is None or mean_s is None or running.begun_s is None or task.job.takes_input:
            return 1
        if task.job.needs.reserves or running.job.needs.reserves or task.job.network != running.job.network:
            return 1
        ahead = self._config.pipe_window_s / max(running_s, mean_s, now_s - running.begun_s, 1e-9)
        return 1 + int(min(self._config.pipe_window_max - 1, ahead))

    def _hand(self, now_s: float, worker: Worker, task: Task) -> None:
        self._pool.occupy(worker, task.job.needs.cpus)
        if worker.stopped:
            self.turns.resume(now_s, worker)
            return
        task.worker = worker
        worker.pipe.append(task)
        hand_over(worker, task)
        if worker.ready:
            self._pool.put_in_place(worker)
            self.send(worker, task)
            if len(worker.pipe) == 1:
                self.begin(now_s, task)

    def _withdraw_waiting(self, now_s: float) -> bool:
        """Takes back what waits behind a long task, if there are free slots and nothing else for them."""
        for worker in self._pool.running():
            begun_s = worker.pipe[0].begun_s
            assert begun_s is not None
            if self.could_withdraw(worker) and now_s >= begun_s + WITHDRAW_AFTER_S:
                self.withdraw(worker)
                return True
        return False
