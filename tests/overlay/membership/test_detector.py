"""The failure detector: a machine that tells it anything, and what it promises about the healthy and the dead."""

from __future__ import annotations

import math
import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from potluck.overlay.ids import NodeId
from potluck.overlay.membership.detector import Changed, DropLink, Effect
from potluck.overlay.membership.dialling import Dial
from potluck.overlay.membership.exchange import Tell
from potluck.overlay.membership.members import INCARNATION_MAX, LIFE, Member
from potluck.overlay.membership.probing import Answer, Ask, AskThrough
from potluck.overlay.wire.gossip import MemberNews, PeerExchange, Reach, Status

from .stories import (
    BOOTS,
    CONFIG,
    IDS,
    OWN,
    OWN_BOOT,
    PATIENCE_S,
    STRANGER,
    changes,
    events,
    make,
    news,
    run,
    tell,
    told,
)

anything = st.lists(
    st.builds(
        news,
        st.sampled_from([*IDS, OWN]),
        st.integers(0, 2),
        st.sampled_from(Status),
        st.integers(0, 3) | st.just(INCARNATION_MAX),
        st.lists(st.sampled_from([*IDS, OWN, STRANGER]), max_size=8),
    ),
    max_size=6,
)


class DetectorMachine(RuleBasedStateMachine):
    """Anything may be said in any order. What comes out must make sense as the story of each member."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = make()
        self.now_s = 0.0
        self.linked: dict[NodeId, int] = {}
        self.present: set[NodeId] = set()
        self.suspected: set[NodeId] = set()
        self.known: set[NodeId] = set()
        self.last_ended: dict[NodeId, tuple[str, bytes, int]] = {}
        self.seen: dict[NodeId, tuple[bytes, int]] = {}
        """Boot and incarnation when it was told of last."""
        self.questions: list[AskThrough] = []
        self.incarnation = LIFE

    def follow(self, effects: list[Effect], *, proved: NodeId | None = None) -> list[str]:
        """The naive model of the story: nobody joins twice, nobody dies who is not there."""
        for number, effect in enumerate(effects):
            match effect:
                case Changed("discovered", member):
                    assert member.node_id not in self.known
                    self.known.add(member.node_id)
                case Changed("joined", member):
                    assert member.node_id in self.known - self.present
                    if member.node_id != proved:
                        self.may_return(member)
                    self.present.add(member.node_id)
                case Changed("suspected", member):
                    assert member.node_id in self.present - self.suspected
                    self.suspected.add(member.node_id)
                case Changed("cleared", member):
                    self.suspected.remove(member.node_id)
                case Changed(("left" | "died") as event, member):
                    assert member.node_id in self.present
                    self.present.discard(member.node_id)
                    self.suspected.discard(member.node_id)
                    returns = Changed("joined", member) in effects[number + 1 :]  # and is by now what it became
                    boot_id, incarnation = (
                        self.seen.get(member.node_id, (b"", -1)) if returns else (member.boot_id, member.incarnation)
                    )
                    self.last_ended[member.node_id] = (event, boot_id, incarnation)
                    if self.linked.pop(member.node_id, None) is not None:
                        assert event == "left" or DropLink(member.node_id) in effects or member.node_id == proved
                case DropLink(node_id):
                    self.linked.pop(node_id, None)
                case Ask(to) | Tell(to) | Answer(to):
                    assert to in self.detector.members or isinstance(effect, Answer | Tell)
                case AskThrough():
                    assert effect.helper in self.linked
                    self.questions.append(effect)
                case Dial(member):
                    assert member.node_id not in self.linked
        self.seen |= {
            one.member.node_id: (one.member.boot_id, one.member.incarnation)
            for one in effects
            if isinstance(one, Changed)
        }
        assert self.detector.incarnation >= self.incarnation
        self.incarnation = self.detector.incarnation
        return events(effects)

    def may_return(self, member: Member) -> None:
        """Without a link: the dead by a higher incarnation, the departed by a later life only."""
        ended, boot_id, incarnation = self.last_ended.get(member.node_id, ("", b"", -1))
        assert member.incarnation > incarnation
        assert ended != "left" or member.boot_id != boot_id

    @rule(node_id=st.sampled_from(IDS), boot=st.integers(0, 2), refuted=st.integers(0, 3))
    def link_up(self, node_id: NodeId, boot: int, refuted: int) -> None:
        if node_id in self.linked and self.linked[node_id] != boot:
            self.link_down(node_id, left=False)  # the shell ends the link to an earlier life first
        said = news(node_id, boot, refuted=refuted)
        happened = self.follow(self.detector.link_up(self.now_s, said), proved=node_id)
        self.linked[node_id] = boot
        assert node_id in self.present
        assert self.detector.members[node_id].status is Status.ALIVE
        assert set(happened) <= {"discovered", "joined", "cleared", "died"}

    @rule(node_id=st.sampled_from(IDS), left=st.booleans())
    def link_down(self, node_id: NodeId, left: bool) -> None:
        if (boot := self.linked.pop(node_id, None)) is None:
            return
        happened = self.follow(self.detector.link_down(self.now_s, node_id, BOOTS[boot], left=left))
        assert happened in (["left"],) if left else (["suspected"], [])

    @rule(node_id=st.sampled_from([*IDS, OWN]), boot=st.integers(0, 2), left=st.booleans())
    def a_link_that_was_replaced_goes_down(self, node_id: NodeId, boot: int, left: bool) -> None:
        if self.linked.get(node_id) != boot:
            assert self.detector.link_down(self.now_s, node_id, BOOTS[boot], left=left) == []

    @rule(node_id=st.sampled_from([*IDS, OWN]), refused=st.booleans())
    def dial_failed(self, node_id: NodeId, refused: bool) -> None:
        before = node_id in self.present and node_id not in self.linked
        happened = self.follow(self.detector.dial_failed(self.now_s, node_id, refused=refused))
        assert happened in ([], ["died"]) and (before or not happened)

    @rule(items=anything, sender=st.sampled_from(IDS), digest=st.none() | st.integers(0, 9))
    def gossip(self, items: list[MemberNews], sender: NodeId, digest: int | None) -> None:
        linked = {node_id: self.detector.members[node_id].status for node_id in self.linked if node_id != sender}
        message = PeerExchange(items, [], digest)
        self.follow(self.detector.exchanged(self.now_s, sender, message, {sender: self.now_s}))
        for node_id, status in linked.items():
            after = self.detector.members[node_id].status
            assert after in (status, Status.ALIVE, Status.SUSPECTED), "gossip never ends what is linked"

    @rule(sender=st.sampled_from(IDS), number=st.integers(0, 8))
    def answered(self, sender: NodeId, number: int) -> None:
        self.follow(self.detector.answered(self.now_s, sender, number))

    @rule(data=st.data(), reach=st.sampled_from(Reach))
    def answered_for(self, data: st.DataObject, reach: Reach) -> None:
        if self.questions:
            question = data.draw(st.sampled_from(self.questions[-4:]))
            self.follow(self.detector.answered_for(self.now_s, question, reach))

    @rule(asker=st.sampled_from(IDS), request=st.integers(0, 3), subject=st.sampled_from([*IDS, OWN, STRANGER]))
    def asked_for(self, asker: NodeId, request: int, subject: NodeId) -> None:
        effects = self.detector.asked_for(self.now_s, asker, request, subject)
        self.follow(effects)
        assert any(isinstance(effect, Ask | Answer) for effect in effects)

    @rule()
    def it_moves(self) -> None:
        known = self.detector.incarnation
        assert not self.follow(self.detector.moved(self.now_s))
        assert self.detector.incarnation > known, "what others know of where it is gives way to what they hear now"

    @rule(seconds=st.floats(0, 6), data=st.data())
    def ticks(self, seconds: float, data: st.DataObject) -> None:
        """When it wants them, and some later."""
        until_s = self.now_s + seconds
        heard = data.draw(st.sets(st.sampled_from(IDS)))
        while self.detector.due_s <= until_s:
            self.now_s = max(self.now_s, self.detector.due_s)
            present = heard & set(self.linked)
            happened = self.detector.tick(self.now_s, dict.fromkeys(heard, self.now_s))
            buried = {one.member.node_id for one in happened if isinstance(one, Changed) and one.event == "died"}
            assert not buried & present, "who is heard does not die"
            self.follow(happened)
            assert self.detector.due_s > self.now_s
        self.now_s = until_s

    @rule()
    def it_is_stopped(self) -> None:
        """Nobody pays for a minute in which it did not run."""
        alive = {one.node_id for one in self.detector.present() if one.status is Status.ALIVE and one.linked}
        self.now_s = max(self.now_s, self.detector.due_s) + 60
        happened = self.detector.tick(self.now_s, {})
        buried = {one.member.node_id for one in happened if isinstance(one, Changed) and one.event == "died"}
        assert not alive & buried
        self.follow(happened)

    @invariant()
    def it_agrees_with_the_story(self) -> None:
        self.detector.check()
        assert {member.node_id for member in self.detector.present()} == self.present
        assert {one.node_id for one in self.detector.members.values() if one.linked} == set(self.linked)
        doubted = {one.node_id for one in self.detector.members.values() if one.status is Status.SUSPECTED}
        assert doubted == self.suspected, "every suspicion that began has been told, and every one that ended"
        self.known &= set(self.detector.members)


TestDetector = DetectorMachine.TestCase


# The living


@given(seed=st.integers(0, 1 << 32))
def test_a_healthy_linked_peer_never_even_comes_under_suspicion(seed: int) -> None:
    """It answers every probe, and the others say the worst of it."""
    chance = random.Random(seed)
    detector = make()
    heard_s = {}
    for node_id in IDS[:2]:
        detector.link_up(0.0, news(node_id))
        heard_s[node_id] = 0.0
    while (now_s := detector.due_s) < 30:
        effects = detector.tick(now_s, heard_s)
        lie = news(IDS[0], 0, chance.choice(list(Status)), chance.randrange(3), [IDS[2], IDS[3], STRANGER])
        if chance.random() < 0.2:
            heard_s[IDS[1]] = now_s
            effects += detector.exchanged(now_s, IDS[1], PeerExchange([lie]), heard_s)
        for asked in [effect for effect in effects if isinstance(effect, Ask)]:
            heard_s[asked.to] = now_s
            effects += detector.answered(now_s, asked.to, asked.number)
        assert [one for one in effects if isinstance(one, Changed) and one.member.node_id == IDS[0]] == []
    assert detector.members[IDS[0]].status is Status.ALIVE


def test_a_neighbour_heard_just_now_is_told_of_an_accusation_and_nothing_else_happens() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    accusation = news(IDS[0], status=Status.SUSPECTED, accusers=[IDS[1]])
    effects = tell(detector, 0.5, accusation, sender=IDS[1])
    assert told(effects, IDS[0]) == [accusation]
    assert events(effects) == []


def test_an_accusation_of_a_silent_neighbour_makes_it_be_asked_at_once() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    effects = tell(detector, 5.0, news(IDS[0], status=Status.SUSPECTED, accusers=[IDS[1]]), sender=IDS[1])
    assert [effect.to for effect in effects if isinstance(effect, Ask)] == [IDS[0]]
    assert detector.members[IDS[0]].status is Status.ALIVE


class LookedUp(dict[NodeId, float]):
    def __init__(self, heard_s: dict[NodeId, float]) -> None:
        super().__init__(heard_s)
        self.times = 0

    def get(self, node_id: NodeId, default: float = 0.0) -> float:  # type: ignore[override]
        self.times += 1
        return super().get(node_id, default)


def test_an_exchange_costs_what_it_says_and_not_what_the_mesh_has() -> None:
    """Each node hears several times a second from each of its neighbours."""
    detector = make()
    everyone = [NodeId(bytes([number]) * 20) for number in range(1, 61)]
    for node_id in everyone:
        detector.link_up(0.0, news(node_id))
    heard_s = LookedUp(dict.fromkeys(everyone, 4.9))
    detector.exchanged(5.0, everyone[0], PeerExchange([news(everyone[1], status=Status.SUSPECTED)]), heard_s)
    assert heard_s.times <= 3


def test_a_suspected_neighbour_that_was_heard_since_is_cleared_by_whatever_is_exchanged() -> None:
    detector = make()
    for node_id in IDS:
        detector.link_up(0.0, news(node_id))
    story = run(detector, 4.0, dict.fromkeys(IDS[1:], math.inf))
    assert "suspected" in [event for _, event in changes(story)]
    effects = detector.exchanged(4.1, IDS[1], PeerExchange([]), {IDS[0]: 4.05, IDS[1]: 4.1})
    assert events(effects) == ["cleared"]


@given(boot=st.integers(0, 2), status=st.sampled_from(Status), refuted=st.integers(0, 1000))
def test_whatever_is_said_of_this_node_it_ends_above_it_and_says_so(boot: int, status: Status, refuted: int) -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    detector.tick(1.0, {})
    said = replace_boot(news(OWN, boot, status, refuted), boot)
    before = detector.incarnation
    effects = tell(detector, 2.0, said, sender=IDS[0])
    wrong = status is not Status.ALIVE or said.boot_id != OWN_BOOT or said.incarnation > before
    if wrong and said.incarnation >= before:
        assert detector.incarnation > said.incarnation
    if wrong:
        answer = told(effects, IDS[0])[-1]
        assert (answer.node_id, answer.status, answer.boot_id) == (OWN, Status.ALIVE, OWN_BOOT)
        assert answer.incarnation > said.incarnation


def replace_boot(said: MemberNews, boot: int) -> MemberNews:
    return said if boot == 0 else MemberNews(OWN, "me", "h", 1, BOOTS[boot], said.incarnation, said.status)


@given(older=st.sampled_from([Status.SUSPECTED, Status.DEAD]), first=st.booleans(), linked=st.booleans())
def test_a_refutation_wins_over_every_older_accusation_in_any_order(older: Status, first: bool, linked: bool) -> None:
    detector = make()
    tell(detector, 0.0, news(IDS[0]))
    if linked:
        detector.link_up(0.0, news(IDS[0]))
        detector.link_up(0.0, news(IDS[1]))
    accusation, refutation = news(IDS[0], status=older, accusers=IDS[1:]), news(IDS[0], refuted=1)
    for item in (accusation, refutation) if first else (refutation, accusation):
        tell(detector, 5.0, item, sender=IDS[1])
    member = detector.members[IDS[0]]
    assert (member.status, member.incarnation, member.accusers) == (Status.ALIVE, LIFE + 1, set())


def test_a_node_that_was_stopped_suspects_nobody_for_the_time_it_missed() -> None:
    detector = make()
    heard_s = {}
    for node_id in IDS:
        detector.link_up(0.0, news(node_id))
        heard_s[node_id] = 0.0
    run(detector, 1.2, heard_s)
    effects = detector.tick(40.0, heard_s)
    assert events(effects) == []
    heard_s = dict.fromkeys(IDS, 40.01)  # what was waiting for it while it was stopped
    assert changes(run(detector, 40.5, heard_s)) == []


def test_a_short_stop_does_not_use_up_the_time_that_a_suspect_has_to_refute() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    started_s = detector.due_s
    while (now_s := detector.due_s) < 30 and detector.members[IDS[0]].present:
        detector.tick(now_s + 0.3, {})  # every time it runs, it was stopped for so long
    assert detector.due_s - started_s > 2 * CONFIG.suspicion_s


def test_without_local_health_a_stop_is_held_against_the_others() -> None:
    detector = make(msgspec.structs.replace(CONFIG, local_health=False))
    detector.link_up(0.0, news(IDS[0]))
    run(detector, 1.5, {})
    assert events(detector.tick(40.0, {})) != []


# The dead


@given(others=st.integers(0, 3), last_heard_s=st.floats(0, 10))
def test_a_neighbour_gone_silent_is_suspected_then_dead_in_time(others: int, last_heard_s: float) -> None:
    """The others confirm it when they are asked."""
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    for node_id in IDS[1 : others + 1]:
        detector.link_up(0.0, news(node_id))
    story: list[tuple[float, str]] = []
    while (now_s := detector.due_s) < last_heard_s + 30:
        heard_s = dict.fromkeys(IDS[1 : others + 1], now_s) | {IDS[0]: min(now_s, last_heard_s)}
        effects = detector.tick(now_s, heard_s)
        for question in [effect for effect in effects if isinstance(effect, AskThrough)]:
            effects += detector.answered_for(now_s, question, Reach.SILENT)
        story += [(now_s, event) for event in events(effects)]
    assert [event for _, event in story] == ["suspected", "died"]
    assert story[0][0] - last_heard_s <= 1 + PATIENCE_S
    assert story[1][0] - last_heard_s <= 1 + PATIENCE_S + 1.5 * CONFIG.suspicion_s + 0.1
    assert not detector.members[IDS[0]].linked


def test_one_who_is_alone_with_a_suspicion_waits_long_for_others_to_confirm_it() -> None:
    detector = make()
    for node_id in IDS:
        detector.link_up(0.0, news(node_id))
    story: list[tuple[float, str]] = []
    while (now_s := detector.due_s) < 40:
        effects = detector.tick(now_s, dict.fromkeys(IDS[1:], now_s))
        story += [(now_s, event) for event in events(effects)]
    assert [event for _, event in story] == ["suspected", "died"]
    assert story[1][0] - story[0][0] >= CONFIG.suspicion_max_s - 0.01


def test_a_neighbour_that_others_reach_is_not_suspected_and_its_mute_link_is_dropped_at_last() -> None:
    detector = make()
    for node_id in IDS:
        detector.link_up(0.0, news(node_id))
    dropped_s = None
    while (now_s := detector.due_s) < 60 and dropped_s is None:
        effects = detector.tick(now_s, dict.fromkeys(IDS[1:], now_s))
        for question in [effect for effect in effects if isinstance(effect, AskThrough)]:
            effects += detector.answered_for(now_s, question, Reach.ANSWERED)
        assert events(effects) == []
        dropped_s = now_s if DropLink(IDS[0]) in effects else None
    assert dropped_s is not None and dropped_s >= CONFIG.link_silent_s
    assert detector.members[IDS[0]].status is Status.ALIVE
    assert any(isinstance(effect, Dial) for _, effect in run(detector, dropped_s + 3))
