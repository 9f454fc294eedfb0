"""The failure detector: a machine that tells it anything, and what it promises about the healthy and the dead."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from potluck.overlay.config import Links, Membership
from potluck.overlay.ids import NodeId
from potluck.overlay.membership.detector import Changed, Detector, Dial, DropLink, Effect, SendProbe, Tell
from potluck.overlay.membership.loads import Loads
from potluck.overlay.membership.neighbours import choose
from potluck.overlay.wire.capabilities import LoadReport
from potluck.overlay.wire.gossip import LoadNews, MemberNews, Status

CONFIG = Membership()
TICK_S = CONFIG.probe_interval_s / 4
OWN = NodeId(bytes(20))
IDS = [NodeId(bytes([n]) * 20) for n in range(1, 5)]
BOOTS = [bytes([n]) * 16 for n in range(3)]


def news(node_id: NodeId, boot: int = 0, status: Status = Status.ALIVE, incarnation: int | None = None) -> MemberNews:
    """A later boot has a higher incarnation, as nodes count them."""
    count = boot + 1 if incarnation is None else incarnation
    return MemberNews(node_id, f"n{node_id[0]}", "10.0.0.1", 9000 + node_id[0], BOOTS[boot], count, status)


def events(effects: Iterable[Effect]) -> list[str]:
    return [effect.event for effect in effects if isinstance(effect, Changed)]


class DetectorMachine(RuleBasedStateMachine):
    """Anything may be said in any order. What comes out must make sense as the story of each member."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = Detector(OWN, CONFIG)
        self.now_s = 0.0
        self.linked: dict[NodeId, int] = {}
        self.present: set[NodeId] = set()
        self.known: set[NodeId] = set()
        self.last_ended: dict[NodeId, bytes] = {}

    def follow(self, effects: list[Effect], *, proved: NodeId | None = None) -> list[str]:
        """The naive model of the story: nobody joins twice, nobody dies who is not there."""
        for effect in effects:
            match effect:
                case Changed("discovered", member):
                    assert member.node_id not in self.known
                    self.known.add(member.node_id)
                case Changed("joined", member):
                    assert member.node_id in self.known - self.present
                    ended = self.last_ended.get(member.node_id) == member.boot_id
                    assert not ended or member.node_id == proved, "only a link brings a life back"
                    self.present.add(member.node_id)
                case Changed("suspected", member):
                    assert member.node_id in self.present
                case Changed(("left" | "died"), member):
                    assert member.node_id in self.present
                    self.present.discard(member.node_id)
                    self.last_ended[member.node_id] = member.boot_id
                case SendProbe(node_id):
                    assert node_id in self.linked
                case DropLink(node_id):
                    assert node_id in self.linked
                    del self.linked[node_id]
                case Dial(member):
                    assert member.node_id not in self.linked and member.node_id in self.present
                case Tell(member):
                    assert member.node_id in self.known
        return events(effects)

    @rule(node_id=st.sampled_from(IDS), boot=st.integers(0, 2))
    def link_up(self, node_id: NodeId, boot: int) -> None:
        if node_id in self.linked and self.linked[node_id] != boot:
            self.link_down(node_id, left=False)  # the shell ends the link to an earlier life first
        told = self.follow(self.detector.link_up(self.now_s, news(node_id, boot)), proved=node_id)
        self.linked[node_id] = boot
        assert node_id in self.present
        assert self.detector.members[node_id].status is Status.ALIVE
        assert set(told) <= {"discovered", "joined", "died"}

    @rule(node_id=st.sampled_from(IDS), left=st.booleans())
    def link_down(self, node_id: NodeId, left: bool) -> None:
        if (boot := self.linked.pop(node_id, None)) is None:
            return
        told = self.follow(self.detector.link_down(self.now_s, node_id, BOOTS[boot], left=left))
        assert told in (["left"],) if left else (["suspected"], [])

    @rule(node_id=st.sampled_from([*IDS, OWN]), boot=st.integers(0, 2), left=st.booleans())
    def a_link_that_was_replaced_goes_down(self, node_id: NodeId, boot: int, left: bool) -> None:
        if self.linked.get(node_id) == boot:
            return
        before = self.detector.members.get(node_id)
        if before is None or before.boot_id != BOOTS[boot]:
            assert self.detector.link_down(self.now_s, node_id, BOOTS[boot], left=left) == []

    @rule(node_id=st.sampled_from([*IDS, OWN]), refused=st.booleans())
    def dial_failed(self, node_id: NodeId, refused: bool) -> None:
        could_die = node_id in self.present and node_id not in self.linked
        member = self.detector.members.get(node_id)
        last_try = (
            member is not None and member.status is Status.ALIVE and member.dials_failed + 1 >= CONFIG.hearsay_tries
        )
        told = self.follow(self.detector.dial_failed(self.now_s, node_id, refused=refused))
        assert told == (["died"] if could_die and (refused or last_try) else [])

    @rule(
        items=st.lists(
            st.builds(
                news,
                st.sampled_from([*IDS, OWN]),
                st.integers(0, 2),
                st.sampled_from(Status),
                st.none() | st.integers(0, 5),
            ),
            max_size=6,
        )
    )
    def gossip(self, items: list[MemberNews]) -> None:
        linked = {node_id: self.detector.members[node_id].status for node_id in self.linked}
        self.follow(self.detector.news(self.now_s, items))
        for node_id, status in linked.items():
            assert self.detector.members[node_id].status is status, "gossip never outweighs an own link"

    @rule(seconds=st.floats(0, 6), data=st.data())
    def tick(self, seconds: float, data: st.DataObject) -> None:
        self.now_s += seconds
        heard = data.draw(st.sets(st.sampled_from(IDS)))
        suspected = {one.node_id for one in self.detector.present() if one.status is Status.SUSPECTED}
        before = set(self.linked)
        told = self.detector.tick(self.now_s, dict.fromkeys(heard, self.now_s))
        for effect in told:
            if isinstance(effect, Changed) and effect.event == "died":
                assert effect.member.node_id in suspected, "nobody dies unsuspected"
                assert not (effect.member.node_id in heard and effect.member.node_id in before)
        self.follow(told)

    @rule()
    def much_later(self) -> None:
        self.now_s += CONFIG.forget_s + 1
        self.follow(self.detector.tick(self.now_s, dict.fromkeys(self.linked, self.now_s)))

    @invariant()
    def it_agrees_with_the_story(self) -> None:
        self.detector.check()
        assert {member.node_id for member in self.detector.present()} == self.present
        assert {one.node_id for one in self.detector.members.values() if one.linked} == set(self.linked)
        self.known &= set(self.detector.members)
        for node_id in set(self.last_ended) - self.known:
            del self.last_ended[node_id]


TestDetector = DetectorMachine.TestCase


def run(
    detector: Detector, until_s: float, heard_s: dict[NodeId, float], start_s: float = 0.0
) -> list[tuple[float, str]]:
    """Ticks as the shell does, with the given signs of life; what happened and when."""
    story: list[tuple[float, str]] = []
    now_s = start_s
    while now_s < until_s:
        now_s += TICK_S
        story += [(now_s, event) for event in events(detector.tick(now_s, heard_s))]
        detector.check()
    return story


@given(seed=st.integers(0, 1 << 32))
def test_a_healthy_linked_peer_never_even_comes_under_suspicion(seed: int) -> None:
    """It answers every probe within the time-out, and the others say the worst of it."""
    chance = random.Random(seed)
    detector = Detector(OWN, CONFIG)
    detector.link_up(0.0, news(IDS[0]))
    heard_s, answers_at_s, now_s = 0.0, None, 0.0
    for _ in range(200):
        now_s += TICK_S
        if answers_at_s is not None and answers_at_s <= now_s:
            heard_s, answers_at_s = answers_at_s, None
        effects = detector.tick(now_s, {IDS[0]: heard_s})
        effects += detector.news(now_s, [news(IDS[0], status=chance.choice(list(Status)), incarnation=9)])
        assert events(effects) == []
        if any(isinstance(effect, SendProbe) for effect in effects):
            answers_at_s = now_s + chance.uniform(0, CONFIG.probe_timeout_s - TICK_S)
    assert [member.status for member in detector.present()] == [Status.ALIVE]


@given(last_heard_s=st.floats(0, 10))
def test_a_linked_peer_gone_silent_is_suspected_then_dead_in_time(last_heard_s: float) -> None:
    detector = Detector(OWN, CONFIG)
    detector.link_up(0.0, news(IDS[0]))
    detector.tick(last_heard_s, {IDS[0]: last_heard_s})
    story = run(detector, last_heard_s + 20, {IDS[0]: last_heard_s}, start_s=last_heard_s)
    assert [event for _, event in story] == ["suspected", "died"]
    silence_s = CONFIG.probe_interval_s + CONFIG.probe_timeout_s
    assert silence_s <= story[0][0] - last_heard_s <= silence_s + 2 * TICK_S + 1e-9
    assert story[1][0] - last_heard_s <= silence_s + CONFIG.suspicion_s + 3 * TICK_S + 1e-9
    assert not detector.members[IDS[0]].linked


def test_a_broken_link_means_a_dial_and_a_refused_dial_means_death_at_once() -> None:
    detector = Detector(OWN, CONFIG)
    detector.link_up(0.0, news(IDS[0]))
    effects = detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    assert events(effects) == ["suspected"]
    assert any(isinstance(effect, Dial) for effect in effects)
    assert events(detector.dial_failed(1.0, IDS[0], refused=False)) == []
    assert events(detector.dial_failed(1.01, IDS[0], refused=True)) == ["died"]


def test_a_broken_link_that_nobody_answers_for_ends_in_death() -> None:
    detector = Detector(OWN, CONFIG)
    detector.link_up(0.0, news(IDS[0]))
    detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    story = run(detector, 10.0, {}, start_s=1.0)
    assert [event for _, event in story] == ["died"]
    assert story[0][0] <= 1.0 + CONFIG.suspicion_s + TICK_S


def test_a_link_that_comes_back_in_time_clears_the_suspicion() -> None:
    detector = Detector(OWN, CONFIG)
    detector.link_up(0.0, news(IDS[0]))
    detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    assert events(detector.link_up(2.0, news(IDS[0]))) == []
    assert run(detector, 3.0, {IDS[0]: 2.5}, start_s=2.0) == []


def test_a_new_boot_means_that_the_old_life_has_died() -> None:
    detector = Detector(OWN, CONFIG)
    assert events(detector.link_up(0.0, news(IDS[0], boot=0))) == ["discovered", "joined"]
    assert events(detector.link_up(1.0, news(IDS[0], boot=1))) == ["died", "joined"]
    assert events(detector.link_down(1.0, IDS[0], BOOTS[0], left=True)) == []
    assert events(detector.news(1.0, [news(IDS[0], boot=0, status=Status.DEAD)])) == []


@pytest.mark.parametrize("end", [Status.LEFT, Status.DEAD])
@pytest.mark.parametrize("incarnation", [0, 1, 2, 1000])
def test_hearsay_brings_no_ended_life_back(end: Status, incarnation: int) -> None:
    detector = Detector(OWN, CONFIG)
    detector.link_up(0.0, news(IDS[0]))
    if end is Status.LEFT:
        assert events(detector.link_down(1.0, IDS[0], BOOTS[0], left=True)) == ["left"]
    else:
        detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
        assert events(detector.dial_failed(1.0, IDS[0], refused=True)) == ["died"]
    assert events(detector.news(2.0, [news(IDS[0], incarnation=incarnation)])) == []
    assert events(detector.news(3.0, [news(IDS[0], boot=1)])) == ["joined"]


def test_a_death_is_told_on_and_the_long_dead_are_forgotten() -> None:
    detector = Detector(OWN, CONFIG)
    detector.news(0.0, [news(IDS[0])])
    effects = detector.news(1.0, [news(IDS[0], status=Status.DEAD)])
    assert any(isinstance(effect, Tell) for effect in effects)
    assert detector.members[IDS[0]].status is Status.DEAD
    detector.tick(1.0 + CONFIG.forget_s + 1, {})
    assert not detector.members


@given(count=st.integers(0, 80), seed=st.integers(0, 1000))
def test_neighbours_are_everyone_or_the_nearest_and_some_more(count: int, seed: int) -> None:
    chance = random.Random(seed)
    others = {NodeId(chance.randbytes(20)) for _ in range(count)}
    config = Links()
    chosen = choose(OWN, others, config)
    assert chosen <= others
    if count < config.neighbours_full:
        assert chosen == others
        return
    nearest = sorted(others, key=lambda one: int.from_bytes(one, "big"))[: config.neighbours_near]
    assert set(nearest) <= chosen
    assert len(chosen) == min(len(others), config.neighbours_near + config.neighbours_random)
    assert chosen == choose(OWN, sorted(others, reverse=True), config)


@given(reports=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), max_size=20))
def test_a_load_report_is_replaced_by_later_ones_only(reports: list[tuple[int, int]]) -> None:
    loads = Loads()
    latest: tuple[int, int] | None = None
    for boot, sequence in reports:
        newer = loads.heard(1.0, [LoadNews(IDS[0], BOOTS[boot], LoadReport(sequence))])
        expected = latest is None or latest[0] != boot or sequence > latest[1]
        assert newer == ([IDS[0]] if expected else [])
        latest = (boot, sequence) if expected else latest
    if latest is not None:
        assert loads.known[IDS[0]].report.sequence == latest[1]
    loads.forget(IDS[0])
    assert not loads.known


def hearsay(number: int) -> MemberNews:
    node_id = number.to_bytes(20, "big")
    return MemberNews(node_id, f"n{number}", "10.9.0.1", 9000, node_id[:16], 1, Status.ALIVE)


def test_one_liar_fills_a_bounded_table_of_hearsay() -> None:
    config = replace(Membership(), hearsay_max=50)
    detector = Detector(OWN, config)
    for start in range(1, 1000, 100):
        detector.news(0.0, [hearsay(number) for number in range(start, start + 100)])
    assert len(detector.members) == 50
    detector.check()


def test_a_member_only_heard_of_is_given_up_after_a_few_unanswered_dials() -> None:
    detector = Detector(OWN, Membership())
    detector.news(0.0, [hearsay(7)])
    node_id = NodeId(hearsay(7).node_id)
    effects = [detector.dial_failed(1.0, node_id, refused=False) for _ in range(3)]
    assert effects[:2] == [[], []]
    assert [effect.event for effect in effects[2] if isinstance(effect, Changed)] == ["died"]
