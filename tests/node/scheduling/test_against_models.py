"""Each policy against its model, second by second, and what each promises."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.node.scheduling.catalogue import make
from potluck.node.scheduling.machine import Machine, Run
from potluck.node.scheduling.workload import Work

from .models import Seconds, always, by_turns, feedback, first_come, shared, to_the_end

Row = tuple[int, int, int, str]


@st.composite
def workloads(draw: st.DrawFn, tasks_max: int = 12, arrives_max: int = 30) -> list[Work]:
    rows: list[Row] = draw(
        st.lists(
            st.tuples(
                st.integers(0, arrives_max), st.integers(1, 9), st.integers(-2, 2), st.sampled_from(["a", "b", "c"])
            ),
            min_size=1,
            max_size=tasks_max,
        )
    )
    rows.sort(key=lambda row: row[0])
    return [
        Work(key, str(key), arrives, (float(runs),), priority=priority, submitter=who, estimate_s=float(runs))
        for key, (arrives, runs, priority, who) in enumerate(rows)
    ]


def play(spec: str, works: list[Work], processors: int = 1) -> Run:
    run = Machine(make(spec), processors=processors).play(works)
    assert set(run.times) == {work.key for work in works}
    for work in works:
        times = run.times[work.key]
        assert times.ran_s == pytest.approx(work.runs_s)
        assert times.turnaround_by(0.0) == pytest.approx(times.ran_s + times.waited_s)
    return run


def seconds(run: Run) -> Seconds:
    """Who runs in each second."""
    told: Seconds = []
    for part in run.segments:
        told += [None] * (round(part.began_s) - len(told)) + [part.key] * round(part.ended_s - part.began_s)
    return told


@given(workloads())
def test_first_come_first_served(works: list[Work]) -> None:
    assert seconds(play("fcfs", works)) == first_come(works)


@given(workloads())
def test_shortest_first(works: list[Work]) -> None:
    assert seconds(play("sjf", works)) == to_the_end(works, lambda work: work.runs_s)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_no_order_waits_less_than_shortest_first_when_all_are_there(runs: list[int]) -> None:
    run = play("sjf", [Work(key, str(key), 0.0, (float(one),), estimate_s=one) for key, one in enumerate(runs)])
    best = min(sum(sum(order[:place]) for place in range(len(order))) for order in permutations(runs))
    assert sum(times.waited_s for times in run.times.values()) == pytest.approx(best)


@given(workloads())
def test_shortest_remaining_time_first_waits_no_longer_than_any_other_policy(works: list[Work]) -> None:
    least = sum(times.waited_s for times in play("sjf:preemptive=true", works).times.values())
    for spec in ("fcfs", "sjf", "priority", "rr", "mlfq", "fair"):
        assert least <= sum(times.waited_s for times in play(spec, works).times.values()) + 1e-6


@given(workloads())
def test_priority_to_the_end(works: list[Work]) -> None:
    assert seconds(play("priority:preemptive=false", works)) == to_the_end(works, lambda work: -work.priority)


@given(workloads())
def test_priority_that_pushes_away(works: list[Work]) -> None:
    assert seconds(play("priority", works)) == always(works, lambda work: -work.priority)


@given(workloads(), st.integers(1, 4))
def test_priority_is_never_inverted_on_several_processors(works: list[Work], processors: int) -> None:
    run = play("priority", works, processors)
    for second in range(round(max(part.ended_s for part in run.segments))):
        at_s = second + 0.5
        runs = {part.key for part in run.segments if part.began_s < at_s < part.ended_s}
        waits = [one for one in works if one.arrives_s < at_s < run.times[one.key].turnaround_by(0) + one.arrives_s]
        waits = [one for one in waits if one.key not in runs]
        assert not waits or len(runs) == processors, "no processor idles while something is ready"
        lowest = min((works[key].priority for key in runs), default=0)
        assert all(one.priority <= lowest for one in waits)


@given(workloads(), st.integers(1, 4))
def test_round_robin(works: list[Work], quantum: int) -> None:
    assert seconds(play(f"rr:time_quantum_ms={quantum * 1000}", works)) == by_turns(works, quantum)


@given(workloads(), st.integers(1, 4))
def test_nobody_waits_longer_for_its_next_turn_than_all_others_take(works: list[Work], quantum: int) -> None:
    run = play(f"rr:time_quantum_ms={quantum * 1000}", works)
    assert max(gaps_s(run, works)) <= (len(works) - 1) * quantum + 1e-6


@given(workloads(), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(5, 30))
def test_feedback_queue(works: list[Work], quanta: list[int], aging: int) -> None:
    spec = f"mlfq:time_quanta_ms={'/'.join(str(one * 1000) for one in quanta)},aging_ms={aging * 1000}"
    assert seconds(play(spec, works)) == feedback(works, quanta, aging)


@given(workloads(tasks_max=40, arrives_max=100), st.integers(2, 20))
def test_a_feedback_queue_starves_nobody(works: list[Work], aging: int) -> None:
    """Beyond the time to the next rise, the top's quantum for each that is there, and the slice that is under way."""
    run = play(f"mlfq:time_quanta_ms=1000/2000/4000,aging_ms={aging * 1000}", works)
    assert max(gaps_s(run, works)) <= aging + len(works) * 1 + 4 + 1e-6


@given(workloads(), st.integers(1, 4))
def test_fair_share(works: list[Work], quantum: int) -> None:
    assert seconds(play(f"fair:time_quantum_ms={quantum * 1000}", works)) == shared(works, quantum)


@settings(max_examples=20)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.05, 2.0), min_size=2),
    st.integers(1, 3),
)
def test_submitters_with_enough_to_do_get_equal_shares_within_a_tenth(length_s: dict[str, float], cpus: int) -> None:
    """However long their tasks are, and however many they have queued first."""
    horizon_s = 60.0
    works = []
    for who, one_s in length_s.items():
        for _ in range(int(horizon_s * cpus / one_s) + 1):
            works.append(Work(len(works), who, 0.0, (one_s,), submitter=who))
    run = Machine(make("fair:time_quantum_ms=500"), processors=cpus).play(works)
    got = dict.fromkeys(length_s, 0.0)
    for part in run.segments:
        got[works[part.key].submitter] += max(0.0, min(horizon_s, part.ended_s) - part.began_s)
    equal_s = horizon_s * cpus / len(got)
    assert all(abs(one - equal_s) <= equal_s / 10 for one in got.values()), got


def gaps_s(run: Run, works: list[Work]) -> list[float]:
    """Every time that one waited, ready: before its first turn, and between two turns."""
    gaps = [0.0]
    for work in works:
        turns = [part for part in run.segments if part.key == work.key]
        gaps.append(turns[0].began_s - work.arrives_s)
        gaps += [after.began_s - before.ended_s for before, after in pairwise(turns)]
    return gaps


def test_what_was_learned_of_a_function_orders_what_waits_already() -> None:
    """Each function is tried once; then all of the shorter one come before the rest of the longer one."""
    names = ["slow", "fast", "slow", "slow", "fast", "fast"]
    takes_s = {"slow": 5.0, "fast": 1.0}
    run = play("sjf", [Work(key, name, 0.0, (takes_s[name],), function=name) for key, name in enumerate(names)])
    assert [names[part.key] for part in run.segments] == ["slow", "fast", "fast", "fast", "slow", "slow"]


def test_what_waits_for_something_else_leaves_the_processor_to_others() -> None:
    talker = Work(0, "talker", 0.0, (1.0, 1.0), waits_s=3.0)
    run = Machine(make("rr")).play([talker, Work(1, "other", 0.0, (2.0,))])
    assert [(part.key, part.began_s, part.ended_s) for part in run.segments] == [(0, 0, 1), (1, 1, 3), (0, 4, 5)]
    assert run.times[0].waited_s == 0
    assert run.times[0].turnaround_by(0) == 5
