"""Who may sit where: changes of the registers of jobs, one after another in every order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.custody.seats import Seat, hold, register_of, remove, seats_in, succeed, take
from potluck.overlay.errors import NotFound, RemoteProtocolError

JOBS = ["00" * 8, "11" * 8]
NODES = [bytes([number]) * 20 for number in range(4)]

nodes = st.sampled_from(NODES)
jobs = st.sampled_from(JOBS)
deputies = st.lists(nodes, max_size=2, unique=True)
changes = st.one_of(
    st.builds(lambda job, master, others: ("take", job, take(job, master, others)), jobs, nodes, deputies),
    st.builds(
        lambda job, by, after, least: (f"succeed by {NODES.index(by)}", job, succeed(job, by, after, least)),
        jobs,
        nodes,
        nodes,
        st.integers(0, 5),
    ),
    st.builds(
        lambda job, by, epoch, others: ("hold", job, hold(job, by, epoch, others)),
        jobs,
        nodes,
        st.integers(0, 5),
        deputies,
    ),
)


@given(st.lists(changes, max_size=12))
def test_an_epoch_has_one_master_and_only_who_was_named_follows(steps: list) -> None:
    content: bytes | None = None
    masters: dict[tuple[str, int], bytes] = {}
    for what, job, change in steps:
        before = seats_in(content)
        try:
            content, seat = change(content)
        except NotFound:
            assert job not in before and what != "take"
            continue
        after = seats_in(content)
        assert after[job] == seat
        assert {other: one for other, one in after.items() if other != job} == {
            other: one for other, one in before.items() if other != job
        }
        if job in before:
            old = before[job]
            assert seat.epoch >= old.epoch
            if seat.master != old.master:
                assert seat.master in old.deputies and seat.epoch > old.epoch
        assert masters.setdefault((job, seat.epoch), seat.master) == seat.master


def test_a_deputy_succeeds_only_the_master_it_means() -> None:
    content, _ = take(JOBS[0], NODES[0], NODES[1:3])(None)
    content, seat = succeed(JOBS[0], NODES[1], NODES[0], 2)(content)
    assert seat == Seat(NODES[1], 2, [NODES[2]])
    content, seat = succeed(JOBS[0], NODES[2], NODES[0], 2)(content)
    assert seat.master == NODES[1], "it was thinking of the one before"
    content, seat = succeed(JOBS[0], NODES[2], NODES[1], 2, lambda: False)(content)
    assert seat.master == NODES[1], "who is back by now"


def test_who_went_on_alone_is_seated_under_its_own_epoch() -> None:
    content, _ = take(JOBS[0], NODES[0], [NODES[1]])(None)
    content, seat = hold(JOBS[0], NODES[1], 2, [])(content)
    assert seat == Seat(NODES[1], 2, [])
    _, seat = hold(JOBS[0], NODES[0], 1, [])(content)
    assert seat.master == NODES[1]


def test_a_removed_job_never_comes_back() -> None:
    content, _ = take(JOBS[0], NODES[0], [])(None)
    content, _ = remove(JOBS[0])(content)
    assert seats_in(content) == {}
    with pytest.raises(NotFound):
        succeed(JOBS[0], NODES[0], NODES[0], 9)(content)
    assert remove(JOBS[0])(content)[0] == content


@given(st.binary(min_size=1, max_size=40))
def test_what_is_no_table_of_seats_is_refused_as_such(content: bytes) -> None:
    try:
        seats_in(content)
    except RemoteProtocolError:
        pass


def test_jobs_share_a_few_registers() -> None:
    assert len({register_of(f"{number:016x}") for number in range(1000)}) == 16
