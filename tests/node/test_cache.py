"""Only what a node of the same owner has sealed for a key opens under it."""

from __future__ import annotations

from typing import Any, cast

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.cache import ResultCache, _Result
from potluck.node.objects import ObjectTable
from potluck.overlay.errors import LimitExceeded
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.identity.mesh import found, make_identity
from potluck.overlay.wire.control import TaskSpec
from potluck.overlay.wire.work import Finished, Inline, Program
from potluck.simulations.entropy import SeededEntropy

RESULT = _Result("bee", Finished(0, 0, value=Inline(b"value")))


class Table:
    table = ObjectTable(1 << 20)


def cache_of(owner: int, versions: bytes = b"3.11", objects: object = None) -> ResultCache:
    entropy = SeededEntropy(owner, "cache")
    mesh = found(bytes(32), KeyPair.from_seed(bytes([owner]) * 32))
    identity = make_identity(mesh, "ant", KeyPair.from_seed(entropy.token(32)), entropy)
    return ResultCache(
        identity, cast("Any", None), cast("Any", objects or Table()), entropy, versions, lambda name: True
    )


KEY = bytes(32)


def test_nodes_of_one_owner_open_what_they_have_sealed_and_nobody_elses() -> None:
    mine, mine_too, theirs = cache_of(1), cache_of(1), cache_of(2)
    assert mine_too.opened(KEY, mine.sealed(KEY, RESULT)) == RESULT
    assert mine.opened(KEY, theirs.sealed(KEY, RESULT)) is None
    assert mine.opened(bytes(31) + b"\1", mine.sealed(KEY, RESULT)) is None, "moved to another key"


@given(st.data())
def test_whatever_is_planted_or_changed_does_not_open(data: st.DataObject) -> None:
    mine = cache_of(1)
    sealed = bytearray(mine.sealed(KEY, RESULT))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(sealed) - 1))
        sealed[at] ^= data.draw(st.integers(1, 255))
    else:
        sealed = bytearray(data.draw(st.binary(max_size=80)))
    assert mine.opened(KEY, bytes(sealed)) is None


@given(st.binary(max_size=4), st.binary(max_size=4), st.text("ab", max_size=2))
def test_names_of_results_tell_calls_apart_and_mean_nothing_to_others(one: bytes, other: bytes, kind: str) -> None:
    mine = cache_of(1)

    def key(cache: ResultCache, arguments: bytes, named: str = "", program: bytes = b"p" * 32) -> bytes | None:
        return cache.key_of(program, TaskSpec(0, Inline(arguments), named))

    assert (key(mine, one) == key(mine, other)) == (one == other)
    assert (key(mine, one, kind) == key(mine, one)) == (not kind)
    assert key(mine, one) == key(cache_of(1), one)
    assert key(mine, one) not in (
        key(cache_of(2), one),
        key(cache_of(1, b"3.12"), one),
        key(mine, one, program=b"q" * 32),
    )


class FullTable(Table):
    def keep(self, payload: Inline, job: str) -> None:
        raise LimitExceeded("no room")


def test_a_task_whose_kept_result_finds_no_room_runs() -> None:
    mine = cache_of(1, objects=FullTable())
    program, spec = Program(b"p" * 32, "function", body=Inline(b"x")), TaskSpec(0, Inline(b"arguments"))
    key = mine.key_of(program.program_id, spec)
    assert key is not None
    mine._remember(key, mine.sealed(key, RESULT))
    submitted: list[TaskSpec] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(mine.run)
            mine.submit("job", program, [spec], lambda _job, _program, specs: submitted.extend(specs), _unheard)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert submitted == [spec]


def _unheard(_job: str, batches: object) -> None:
    raise AssertionError(batches)
