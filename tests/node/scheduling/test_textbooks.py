"""The examples of the textbooks, with the averages that they state."""

from __future__ import annotations

import pytest
from potluck.node.scheduling.catalogue import make
from potluck.node.scheduling.machine import Machine, Run
from potluck.node.scheduling.workload import Work


def play(spec: str, *works: tuple[float, float, int]) -> Run:
    """Each by arrival, run time and priority; run times are known."""
    return Machine(make(spec)).play(
        [
            Work(key, f"P{key + 1}", arrives_s, (runs_s,), priority=priority, estimate_s=runs_s)
            for key, (arrives_s, runs_s, priority) in enumerate(works)
        ]
    )


def wait(run: Run) -> float:
    return sum(times.waited_s for times in run.times.values()) / len(run.times)


def turnaround(run: Run) -> float:
    return sum(times.turnaround_by(0.0) for times in run.times.values()) / len(run.times)


def response(run: Run) -> float:
    return sum((times.first_ran_s or 0.0) - times.created_s for times in run.times.values()) / len(run.times)


def gantt(run: Run) -> list[tuple[str, float, float]]:
    return [(f"P{part.key + 1}", part.began_s, part.ended_s) for part in run.segments]


class TestSilberschatz:
    """Silberschatz, Galvin, Gagne: Operating System Concepts, 10th edition, section 5.3. Times are milliseconds."""

    def test_first_come_first_served(self) -> None:
        """5.3.1: bursts of 24, 3 and 3 wait 17 on average, in the other order 3."""
        assert wait(play("fcfs", (0, 24, 0), (0, 3, 0), (0, 3, 0))) == pytest.approx(17)
        assert wait(play("fcfs", (0, 3, 0), (0, 3, 0), (0, 24, 0))) == pytest.approx(3)

    def test_shortest_first(self) -> None:
        """5.3.2: bursts of 6, 8, 7 and 3 wait 7 on average; first come, first served, 10.25."""
        works = [(0, 6, 0), (0, 8, 0), (0, 7, 0), (0, 3, 0)]
        run = play("sjf", *works)
        assert gantt(run) == [("P4", 0, 3), ("P1", 3, 9), ("P3", 9, 16), ("P2", 16, 24)]
        assert wait(run) == pytest.approx(7)
        assert wait(play("fcfs", *works)) == pytest.approx(10.25)

    def test_shortest_remaining_time_first(self) -> None:
        """5.3.2: pre-emptive 6.5, not pre-emptive 7.75."""
        works = [(0, 8, 0), (1, 4, 0), (2, 9, 0), (3, 5, 0)]
        run = play("sjf:preemptive=true", *works)
        assert gantt(run) == [("P1", 0, 1), ("P2", 1, 5), ("P4", 5, 10), ("P1", 10, 17), ("P3", 17, 26)]
        assert wait(run) == pytest.approx(6.5)
        assert wait(play("sjf", *works)) == pytest.approx(7.75)

    def test_round_robin(self) -> None:
        """5.3.3: bursts of 24, 3 and 3 with a quantum of 4 wait 17/3."""
        run = play("rr:time_quantum_ms=4000", (0, 24, 0), (0, 3, 0), (0, 3, 0))
        assert gantt(run) == [("P1", 0, 4), ("P2", 4, 7), ("P3", 7, 10), ("P1", 10, 30)]
        assert wait(run) == pytest.approx(17 / 3)

    def test_priority(self) -> None:
        """5.3.4: 8.2. The book counts low numbers as high priority, we the other way round."""
        run = play("priority", (0, 10, -3), (0, 1, -1), (0, 2, -4), (0, 1, -5), (0, 5, -2))
        assert gantt(run) == [("P2", 0, 1), ("P5", 1, 6), ("P1", 6, 16), ("P3", 16, 18), ("P4", 18, 19)]
        assert wait(run) == pytest.approx(8.2)


class TestThreeEasyPieces:
    """Arpaci-Dusseau: Operating Systems: Three Easy Pieces, chapters 7 and 8."""

    def test_the_convoy(self) -> None:
        """7.3, 7.4: 100, 10 and 10 turn around in 110 first come, first served, and in 50 shortest first."""
        works = [(0, 100, 0), (0, 10, 0), (0, 10, 0)]
        assert turnaround(play("fcfs", *works)) == pytest.approx(110)
        assert turnaround(play("sjf", *works)) == pytest.approx(50)

    def test_late_arrivals(self) -> None:
        """7.4, 7.5: when the short ones come at 10, 103.33 without pre-emption and 50 with it."""
        works = [(0, 100, 0), (10, 10, 0), (10, 10, 0)]
        assert turnaround(play("sjf", *works)) == pytest.approx(103.33, abs=0.01)
        assert turnaround(play("sjf:preemptive=true", *works)) == pytest.approx(50)

    def test_response(self) -> None:
        """7.7: three jobs of 5 respond in 5 on average shortest first, and in 1 by turns of one second."""
        works = [(0, 5, 0)] * 3
        assert response(play("sjf", *works)) == pytest.approx(5)
        assert response(play("rr", *works)) == pytest.approx(1)

    def test_a_long_job_sinks(self) -> None:
        """8.2, figure 8.2: one of 200 ms spends a slice of 10 at each level and ends at the lowest."""
        policy = make("mlfq:time_quanta_ms=10/10/10,aging_ms=100000")
        policy.add(0.0, work := Work(0, "A", 0.0, (0.2,)))
        for now_s, level in ((0.0, 0), (0.01, 1), (0.02, 2), (0.03, 2)):
            assert policy.lengths()[level] == 1
            assert policy.pick(now_s) is work
            policy.preempted(now_s + 0.01, work, 0.01)

    def test_along_came_a_short_job(self) -> None:
        """8.2, figure 8.3: one of 20 ms that comes at 100 runs at once, before the long one goes on."""
        run = play("mlfq:time_quanta_ms=10/10/10,aging_ms=100000", (0, 0.2, 0), (0.1, 0.02, 0))
        short = run.times[1]
        assert short.first_ran_s == pytest.approx(0.1)
        assert short.ended_s == pytest.approx(0.12)

    def test_who_gives_way_just_before_its_slice_ends_sinks_all_the_same(self) -> None:
        """8.4: the gamer, who waits after 9 of every 10 ms, does not stay at the top."""
        gamer = Work(0, "gamer", 0.0, (0.009,) * 20, waits_s=0.0001)
        policy = make("mlfq:time_quanta_ms=10/10/10,aging_ms=100000")
        policy.add(1.0, gamer)
        for _ in range(4):
            assert policy.pick(1.0) is gamer
            policy.blocked(1.0, gamer, 0.009)
            policy.add(1.0, gamer)
        assert policy.lengths()[0] == 0
