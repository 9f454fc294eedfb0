"""Who may run a task and who should, against a naive reading."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.jobs.placement import (
    ALL_COMPARED_MAX,
    WAITING_MAX,
    Requirements,
    Worker,
    candidates,
    lacking,
    lanes,
    room,
    spread,
    tasks_per_slot,
    will_be_able,
)
from potluck.overlay.ids import NodeId
from potluck.overlay.wire.capabilities import Capabilities, LoadReport
from potluck.overlay.wire.needs import Needs

LABELS = st.dictionaries(st.sampled_from(["room", "disk"]), st.sampled_from(["1", "2"]))


@st.composite
def workers(draw: st.DrawFn) -> list[Worker]:
    count = draw(st.integers(0, 6))
    here = draw(st.integers(0, 6))
    made = []
    for n in range(count):
        kinds = draw(st.lists(st.sampled_from(["a", "b"]), max_size=2))
        able = Capabilities(
            kinds=kinds,
            slots=draw(st.integers(0, 10)),
            python=draw(st.sampled_from(["3.11", "3.12"])),
            runs_others=draw(st.booleans()),
            cpus=draw(st.integers(0, 3)),
            memory_bytes=draw(st.integers(0, 3)),
            gpus=draw(st.lists(st.just("gpu"), max_size=2)),
            labels=draw(LABELS),
            network=draw(st.sampled_from(["", "none", "own", "all"])),
        )
        name = draw(st.sampled_from(["n0", "n1", "n2"]))
        worker = Worker(NodeId(bytes([n]) * 20), name, b"", able, own=n == here or draw(st.booleans()), here=n == here)
        worker.foreign, worker.outstanding = draw(st.integers(0, 12)), draw(st.integers(0, 12))
        worker.waiting = draw(st.just(0) | st.integers(0, 12))
        worker.assigned = draw(st.integers(0, 3))
        worker.closed = draw(st.sampled_from(["", "", "", "its owner is using it"]))
        worker.leaving = draw(st.sampled_from([False, False, False, True]))
        made.append(worker)
    return made


requirements = st.builds(
    Requirements,
    kind=st.sampled_from(["", "a", "b", "c"]),
    on=st.sampled_from(["", "n0", "n1", "absent"]),
    python=st.sampled_from(["", "3.11"]),
    confidential=st.booleans(),
    nested=st.booleans(),
    as_guest=st.booleans(),
    network=st.booleans(),
    resources=st.builds(
        Needs, st.integers(0, 3), st.integers(0, 3), st.integers(0, 2), LABELS.map(lambda labels: tuple(labels.items()))
    )
    | st.just(Needs()),
    refused_by=st.frozensets(st.integers(0, 6).map(lambda n: NodeId(bytes([n]) * 20)), max_size=2),
)


def known(workers: list[Worker]) -> dict[NodeId, Worker]:
    return {worker.node_id: worker for worker in workers}


@given(everyone=workers(), needs=requirements)
def test_a_task_runs_only_where_every_rule_allows_it(everyone: list[Worker], needs: Requirements) -> None:
    chosen = candidates({worker.node_id: worker for worker in everyone}, needs)
    for worker in everyone:
        able = worker.capabilities
        allowed = (
            able.slots > 0
            and (not needs.confidential or worker.here)
            and needs.on in ("", worker.name)
            and (not needs.kind or needs.kind in able.kinds)
            and needs.python in ("", able.python)
            and ((worker.own and not needs.as_guest) or able.runs_others)
            and (not worker.leaving or (worker.here and needs.nested))
            and (not worker.closed or (worker.here and not needs.as_guest))
            and worker.node_id not in needs.refused_by
            and (
                not needs.network
                or able.network == "all"
                or (able.network, worker.own, needs.as_guest) == ("own", True, False)
            )
            and min(able.cpus, able.slots) >= needs.resources.cpus
            and able.memory_bytes >= needs.resources.memory_bytes
            and len(able.gpus) >= needs.resources.gpus
            and set(needs.resources.labels) <= set(able.labels.items())
        )
        assert (worker in chosen) == allowed
        if not chosen:
            lent = [msgspec.structs.replace(one, closed="") for one in everyone]
            assert will_be_able(known(everyone), needs) == bool(candidates(known(lent), needs))
        assert (lacking(worker, needs) is None) == allowed


@given(everyone=workers(), count=st.integers(0, 60), data=st.data())
def test_tasks_go_one_by_one_to_the_least_loaded(everyone: list[Worker], count: int, data: st.DataObject) -> None:
    able = [worker for worker in everyone if worker.slots]
    room = {worker.node_id: data.draw(st.integers(-2, 15)) for worker in able}
    expected: dict[NodeId, int] = {}

    def order(worker: Worker) -> tuple[Fraction, int, bool, NodeId]:
        given_now = expected.get(worker.node_id, 0)
        load = Fraction(worker.foreign + worker.engaged + given_now, worker.slots)
        return load, worker.assigned + given_now, not worker.here, worker.node_id

    for _ in range(count):
        with_room = [worker for worker in able if expected.get(worker.node_id, 0) < room[worker.node_id]]
        if not with_room:
            break
        best = min(with_room, key=order)
        expected[best.node_id] = expected.get(best.node_id, 0) + 1
    assert spread(count, able, room, Random(0)) == expected


def plain_worker(number: int, slots: int) -> Worker:
    return Worker(NodeId(number.to_bytes(20, "big")), f"n{number}", b"", Capabilities(slots=slots), True, number == 0)


@given(
    rooms=st.lists(st.integers(-1, 5), min_size=ALL_COMPARED_MAX + 1, max_size=40),
    count=st.integers(0, 150),
    seed=st.integers(0, 9),
)
def test_of_many_each_task_still_finds_one_with_room(rooms: list[int], count: int, seed: int) -> None:
    many = [plain_worker(number, 1 + number % 3) for number in range(len(rooms))]
    room = {worker.node_id: rooms[number] for number, worker in enumerate(many)}
    given_to = spread(count, many, room, Random(seed))
    assert sum(given_to.values()) == min(count, sum(max(0, one) for one in rooms))
    assert all(0 < how_many <= room[node_id] for node_id, how_many in given_to.items())


def test_masters_that_know_the_same_do_not_all_choose_the_same_of_many() -> None:
    """Sixty of them, with one task each, and a node that looks idle to all."""
    many = [plain_worker(number, 1) for number in range(60)]
    for worker in many[1:]:
        worker.foreign = 1
    room = {worker.node_id: 10 for worker in many}
    chosen = Counter(next(iter(spread(1, many, room, Random(master)))) for master in range(60))
    assert max(chosen.values()) <= 10
    few = many[:ALL_COMPARED_MAX]
    assert {next(iter(spread(1, few, room, Random(master)))) for master in range(60)} == {many[0].node_id}


times_s = st.floats(0, 10) | st.sampled_from([math.inf, 5e-324, 1e308, 1e-300, 0.0])


@given(mean_s=st.none() | times_s, ahead_s=st.floats(0, 10), most=st.integers(1, 4096))
def test_a_window_is_one_task_per_slot_and_some_time_ahead(mean_s: float | None, ahead_s: float, most: int) -> None:
    assert tasks_per_slot(5e-324, 0.05, most) == most
    size = tasks_per_slot(mean_s, ahead_s, most)
    assert 1 <= size <= most
    if mean_s is None:
        assert size == 1
    elif mean_s > 0 and math.isfinite(ahead_s / mean_s):
        assert size == min(1 + math.floor(ahead_s / mean_s), most)


@given(
    busy=st.integers(0, 1 << 53),
    queued=st.integers(0, 1 << 53),
    outstanding=st.integers(0, 100),
    waiting=st.just(0) | st.integers(0, 200),
)
def test_what_a_node_reports_beyond_our_own_tasks_is_foreign(
    busy: int, queued: int, outstanding: int, waiting: int
) -> None:
    worker = Worker(NodeId(bytes(20)), "n", b"", Capabilities(slots=1), own=True, here=True)
    worker.outstanding = outstanding
    worker.reported(LoadReport(busy=busy, queued=queued, waiting=waiting))
    ours_with_slots = max(0, outstanding - min(waiting, WAITING_MAX))
    assert worker.foreign + ours_with_slots == max(ours_with_slots, busy + queued)


@given(
    everyone=workers(),
    needs=st.builds(Needs, st.integers(0, 4), st.integers(0, 3), st.integers(0, 2)),
    of_job=st.integers(0, 9),
    size=st.integers(0, 40),
)
def test_no_more_run_beside_each_other_than_have_what_they_need(
    everyone: list[Worker], needs: Needs, of_job: int, size: int
) -> None:
    for worker in candidates({one.node_id: one for one in everyone}, Requirements(resources=needs)):
        able = worker.capabilities
        beside = lanes(able, needs)
        assert 1 <= beside <= able.slots
        assert beside * needs.memory_bytes <= able.memory_bytes
        assert beside * needs.gpus <= len(able.gpus)
        assert beside * needs.cpus <= min(able.slots, able.cpus)
        more = room(worker, needs, of_job, size)
        assert more <= size - max(of_job, worker.engaged)
        assert beside == able.slots or more <= beside - of_job
