"""Tasks that say what they go on from, in real processes that really die."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import potluck
import pytest
from potluck.client.executor import Executor
from potluck.overlay.wire.work import CHECKPOINT_BYTES_MAX

from ..verbs.mesh import mesh

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    with mesh(tmp_path_factory.mktemp("alone"), []) as made:
        made.up("ant", "--sandbox=bare")  # in whatever sandbox; these begin soonest
        with Executor(surroundings=made.surroundings) as of:
            yield of


def called(steps: int) -> list[int]:
    done = potluck.checkpointed([])
    while len(done) < steps:
        done.append(len(done) + 1)
        potluck.checkpoint(done)
        os.kill(os.getpid(), signal.SIGKILL)
    return done


def yielded(steps: int) -> Iterator[list[int]]:
    done = potluck.checkpointed([])
    while len(done) < steps:
        done.append(len(done) + 1)
        yield done
        os.kill(os.getpid(), signal.SIGKILL)
    return done


@pytest.mark.parametrize(("task", "steps"), [(called, 10), (yielded, 4)])
def test_a_task_killed_after_each_step_has_the_effect_of_each_once(
    pool: Executor, task: Callable[[int], object], steps: int
) -> None:
    assert pool.submit(task, steps).result(timeout=110) == list(range(1, steps + 1))


def stepped_on(steps: int) -> tuple[list[int], int]:
    """What it has said, and where this run of it began."""
    said = potluck.checkpointed([])
    began = len(said)
    while len(said) < steps:
        said.append(len(said) + 1)
        potluck.checkpoint(said)
    return potluck.checkpointed([]), began


def test_calls_that_are_put_together_do_not_see_each_others_checkpoints(pool: Executor) -> None:
    steps = [2, 3, 0, 1, 4, 2]
    for chunksize in (0, 1, 3, 6):
        assert list(pool.map(stepped_on, steps, chunksize=chunksize)) == [([*range(1, n + 1)], 0) for n in steps]


def test_calls_that_are_put_together_go_on_where_they_were(pool: Executor) -> None:
    assert list(pool.map(called, [2, 3, 1], chunksize=3)) == [[1, 2], [1, 2, 3], [1]]


def says_too_much(size: int) -> object:
    """What it is told to go on from, once it has tried to say too much."""
    if not size:
        potluck.checkpoint("of the call before")
        return None
    with pytest.raises(potluck.LimitExceeded):
        potluck.checkpoint(bytes(size))
    return potluck.checkpointed("nothing")


def test_what_could_not_be_said_leaves_a_call_with_nothing_and_not_with_anothers(pool: Executor) -> None:
    assert list(pool.map(says_too_much, [0, CHECKPOINT_BYTES_MAX + 1], chunksize=2)) == [None, "nothing"]


def after_a_large_one(steps: int) -> str | list[int]:
    return "x" * CHECKPOINT_BYTES_MAX if not steps else called(steps)


def test_calls_before_the_interrupted_one_run_again_where_their_results_are_too_long(pool: Executor) -> None:
    large, small = pool.map(after_a_large_one, [0, 5], chunksize=2)
    assert (len(large), small) == (CHECKPOINT_BYTES_MAX, [1, 2, 3, 4, 5])


def large_before(steps: int) -> str | list[int]:
    return "x" * CHECKPOINT_BYTES_MAX if not steps else stepped_on(steps)[0]


def test_results_too_long_to_be_kept_only_cost_what_had_been_done(pool: Executor) -> None:
    large, small = pool.map(large_before, [0, 2], chunksize=2)
    assert (len(large), small) == (CHECKPOINT_BYTES_MAX, [1, 2])


def test_generator_functions_are_mapped_however_short_they_are(pool: Executor) -> None:
    def count(upto: int) -> Iterator[int]:
        number = potluck.checkpointed(0)
        while number < upto:
            number += 1
            yield number
        return 10 * number

    assert list(pool.map(count, [3] * 300)) == [30] * 300


@dataclass
class Tally:
    seen: set[int]


def of_a_class(upto: int) -> int:
    tally = potluck.checkpointed(Tally(set()))
    while len(tally.seen) < upto:
        tally.seen.add(len(tally.seen))
        potluck.checkpoint(tally)
        tally = potluck.checkpointed()
        if len(tally.seen) == 2:
            potluck.checkpoint(Tally({*tally.seen, 2}))
            os._exit(1)
    return len(tally.seen)


def test_a_state_may_be_of_the_programs_own_classes(pool: Executor) -> None:
    assert pool.submit(of_a_class, 4).result(timeout=60) == 4


def too_long(size_bytes: int) -> None:
    potluck.checkpoint(bytes(size_bytes))


def too_long_yielded(size_bytes: int) -> Iterator[bytes]:
    try:
        yield bytes(size_bytes)
    except potluck.LimitExceeded as error:
        return f"heard: {error}"


def test_what_is_too_long_is_refused_where_it_was_said(pool: Executor) -> None:
    said = f"a checkpoint of {CHECKPOINT_BYTES_MAX + 5} bytes; {CHECKPOINT_BYTES_MAX} may be"
    with pytest.raises(potluck.LimitExceeded, match=said):
        pool.submit(too_long, CHECKPOINT_BYTES_MAX).result(timeout=60)
    assert pool.submit(too_long_yielded, CHECKPOINT_BYTES_MAX).result(timeout=60) == f"heard: {said}"


def unpicklable() -> None:
    potluck.checkpoint(threading.Lock())


def test_what_cannot_be_kept_is_refused_where_it_was_said(pool: Executor) -> None:
    with pytest.raises(potluck.ResultNotEncodable, match="a checkpoint of type lock cannot be kept"):
        pool.submit(unpicklable).result(timeout=60)


def fails_first(path: str) -> str:
    if potluck.checkpointed() is None:
        potluck.checkpoint("been here")
        raise OSError(path)
    return potluck.checkpointed()


def test_a_task_that_fails_and_is_tried_again_goes_on_from_there(pool: Executor) -> None:
    again = potluck.options(retry_errors=1)(fails_first)
    assert pool.submit(again, "x").result(timeout=60) == "been here"


def test_the_next_task_of_a_process_begins_anew(pool: Executor) -> None:
    assert list(pool.map(remembers, range(20))) == [None] * 20


def remembers(number: int) -> object:
    before = potluck.checkpointed()
    potluck.checkpoint(number)
    return before


def test_outside_a_task_the_same_function_runs_from_its_beginning() -> None:
    potluck.checkpoint(object())
    assert potluck.checkpointed("nothing") == "nothing"
    assert [len(done) for done in yielded(0)] == []
