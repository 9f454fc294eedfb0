"""Lives that end and come back, hearsay and how far it goes, and what is told to whom."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.config import Links
from potluck.overlay.ids import NodeId
from potluck.overlay.membership.detector import Detector
from potluck.overlay.membership.dialling import Dial
from potluck.overlay.membership.exchange import TOGETHER_S, Self, Tell
from potluck.overlay.membership.members import ENDED_MAX, LIFE
from potluck.overlay.membership.probing import RELAYS_MAX, Ask, AskThrough
from potluck.overlay.wire.gossip import MemberNews, Reach, Status

from .stories import (
    BOOTS,
    CONFIG,
    IDS,
    OWN,
    events,
    make,
    news,
    run,
    tell,
    told,
)


def test_a_new_boot_means_that_the_old_life_has_died() -> None:
    detector = make()
    assert events(detector.link_up(0.0, news(IDS[0], boot=0))) == ["discovered", "joined"]
    assert events(detector.link_up(1.0, news(IDS[0], boot=1))) == ["died", "joined"]
    assert events(detector.link_down(1.0, IDS[0], BOOTS[0], left=True)) == []
    assert events(tell(detector, 1.0, news(IDS[0], boot=0, status=Status.DEAD))) == []


@given(items=st.lists(st.tuples(st.sampled_from(Status), st.integers(0, 1000)), max_size=8))
def test_nothing_that_is_said_brings_one_who_left_back(items: list[tuple[Status, int]]) -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    assert events(detector.link_down(1.0, IDS[0], BOOTS[0], left=True)) == ["left"]
    for status, refuted in items:
        assert events(tell(detector, 2.0, news(IDS[0], status=status, refuted=refuted))) == []
    assert detector.members[IDS[0]].status is Status.LEFT
    assert events(tell(detector, 3.0, news(IDS[0], boot=1))) == ["joined"]


def test_who_was_held_for_dead_comes_back_by_its_next_word_and_not_by_an_old_one() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    assert events(detector.dial_failed(1.0, IDS[0], refused=True)) == ["died"]
    assert events(tell(detector, 2.0, news(IDS[0]))) == []
    assert events(tell(detector, 3.0, news(IDS[0], refuted=1))) == ["joined"]


def test_a_machine_that_slept_is_told_that_it_was_held_for_dead() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    detector.dial_failed(1.0, IDS[0], refused=True)
    effects = detector.link_up(300.0, news(IDS[0]))
    assert events(effects) == ["joined"]
    assert told(effects, IDS[0])[0].status is Status.DEAD


def test_a_node_that_was_held_for_dead_says_so_to_those_who_keep_records() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    assert events(tell(detector, 0.1, news(OWN, status=Status.SUSPECTED, accusers=[IDS[0]]), sender=IDS[0])) == []
    buried = news(OWN, status=Status.DEAD, refuted=1)
    assert events(tell(detector, 0.2, buried, sender=IDS[0])) == ["returned"]
    apart = news(OWN, status=Status.SUSPECTED, refuted=2, accusers=[IDS[1]])
    assert events(tell(detector, 0.3, apart, sender=IDS[0])) == ["returned"]


def test_where_a_neighbour_is_that_comes_back_from_another_place_is_told_on() -> None:
    """What it said itself went over links to where it was."""
    detector = make()
    for node_id in IDS[:2]:
        detector.link_up(0.0, news(node_id))
    run(detector, 1.0, dict.fromkeys(IDS[:2], 1.0))
    elsewhere = msgspec.structs.replace(news(IDS[0], refuted=1), host="10.0.0.9")
    said = [*detector.link_down(1.0, IDS[0], BOOTS[0], left=False), *detector.link_up(1.1, elsewhere)]
    said += [effect for _, effect in run(detector, 2.0, dict.fromkeys(IDS[:2], 2.0))]
    assert elsewhere in told(said, to=IDS[1])


def test_a_death_is_told_on_and_the_long_dead_are_forgotten() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[1]))
    tell(detector, 0.1, news(IDS[0]))
    tell(detector, 1.0, news(IDS[0], status=Status.DEAD), sender=IDS[2])
    effects = [effect for _, effect in run(detector, 1.0 + TOGETHER_S, {IDS[1]: 1.0})]
    assert [item.status for item in told(effects, IDS[1]) if item.node_id == IDS[0]] == [Status.DEAD]
    heard_s = {IDS[1]: CONFIG.forget_s + 60}
    run(detector, CONFIG.forget_s + 30, heard_s)
    assert IDS[0] not in detector.members


def test_the_dead_are_dialled_in_turn_and_rarer_after_a_while() -> None:
    detector = make()
    for node_id in IDS[:2]:
        tell(detector, 0.0, news(node_id))
        tell(detector, 0.0, news(node_id, status=Status.DEAD))
    dials = [(at_s, effect.member.node_id) for at_s, effect in run(detector, 3600) if isinstance(effect, Dial)]
    early = [node_id for at_s, node_id in dials if at_s < 20]
    assert early[:4] in ([*IDS[:2], *IDS[:2]], [IDS[1], IDS[0], IDS[1], IDS[0]])
    late = [at_s for at_s, _ in dials if at_s > 1000]
    assert len(late) <= 2600 / CONFIG.reunion_rare_interval_s + 1


# Hearsay


def hearsay(number: int) -> MemberNews:
    node_id = number.to_bytes(20, "big")
    return MemberNews(node_id, f"n{number}", "10.9.0.1", 9000, node_id[:16], LIFE, Status.ALIVE)


def test_one_liar_fills_bounded_tables() -> None:
    detector = make(msgspec.structs.replace(CONFIG, hearsay_max=50))
    for start in range(1, 1000, 100):
        tell(detector, 0.0, *[hearsay(number) for number in range(start, start + 100)])
    assert len(detector.members) == 50
    for number in range(3 * ENDED_MAX):
        tell(detector, 0.0, hearsay(number % 50 + number), msg_ended(number % 50 + number))
    assert len(detector.members) <= 50 + ENDED_MAX
    detector.check()


def msg_ended(number: int) -> MemberNews:
    said = hearsay(number)
    return MemberNews(said.node_id, said.name, said.host, said.port, said.boot_id, LIFE, Status.DEAD)


def test_one_liar_has_a_bounded_number_of_probes_made_for_it() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    asked = [detector.asked_for(0.1, IDS[1], number, IDS[0]) for number in range(3 * RELAYS_MAX)]
    assert sum(isinstance(effect, Ask) for effects in asked for effect in effects) == RELAYS_MAX


def test_a_member_only_heard_of_is_given_up_when_dials_fail_and_nobody_is_linked_to_it() -> None:
    detector = make()
    tell(detector, 0.0, hearsay(7))
    node_id = NodeId(hearsay(7).node_id)
    happened = [events(detector.dial_failed(1.0, node_id, refused=True)) for _ in range(3)]
    assert happened == [[], [], ["died"]]


@pytest.mark.parametrize("reach", Reach)
def test_a_member_only_heard_of_is_kept_as_long_as_others_reach_it(reach: Reach) -> None:
    detector = make()
    for node_id in IDS[1:]:
        detector.link_up(0.0, news(node_id))
    tell(detector, 0.5, news(IDS[0]), sender=IDS[1])
    effects = [effect for _ in range(3) for effect in detector.dial_failed(0.6, IDS[0], refused=True)]
    questions = [effect for effect in effects if isinstance(effect, AskThrough)]
    assert len(questions) == 3
    answers = [effect for question in questions for effect in detector.answered_for(0.7, question, reach)]
    outcome = {Reach.ANSWERED: [], Reach.SILENT: ["suspected"], Reach.NOT_LINKED: ["died"]}
    assert events(answers) == outcome[reach]


# Telling


@given(count=st.integers(1, 60))
def test_news_is_told_once_to_as_many_as_the_logarithm_of_the_mesh_asks_for(count: int) -> None:
    detector = make()
    ids = [NodeId(bytes([200, number]) * 10) for number in range(count)]
    for node_id in ids:
        detector.link_up(0.0, news(node_id))
    run(detector, 0.2, dict.fromkeys(ids, 0.2))
    effects = tell(detector, 0.2, news(IDS[0]), sender=ids[0])
    tellings = [item for item in told(effects) if item.node_id == IDS[0]]
    assert min(count - 1, 3) <= len(tellings) <= 3 * (count + 2).bit_length()
    assert [
        item for item in told([e for _, e in run(detector, 5.0)]) if item.node_id == IDS[0] and not item.accusers
    ] == []


def test_neighbours_with_equal_lists_send_none_and_others_send_theirs_once_an_interval() -> None:
    one, other = make(), Detector(Self(IDS[0], "n1", BOOTS[0]), CONFIG, Links(), random.Random(8))
    other.begin(0.0, 1)
    greeting = next(effect.message for effect in one.link_up(0.0, news(IDS[0])) if isinstance(effect, Tell))
    other.link_up(0.0, news(OWN))
    assert told(other.exchanged(0.0, OWN, greeting, {})) == []
    tell(other, 0.1, news(IDS[1]))
    assert {item.node_id for item in told(other.exchanged(0.2, OWN, greeting, {}), OWN)} >= {IDS[0], IDS[1]}
    assert told(other.exchanged(0.3, OWN, greeting, {}), OWN) == []


def test_a_new_neighbour_hears_who_is_suspected_so_that_they_can_refute_by_it() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    detector.link_down(0.1, IDS[0], BOOTS[0], left=False)
    greeted = told(detector.link_up(0.2, news(IDS[1])), IDS[1])
    assert [(item.node_id, item.status) for item in greeted if item.accusers] == [(IDS[0], Status.SUSPECTED)]


def test_one_never_heard_of_who_is_only_suspected_is_not_taken_up() -> None:
    """The dead are spoken of as suspects, so that those who are not can deny it."""
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    assert events(tell(detector, 1.0, news(IDS[1], status=Status.SUSPECTED), sender=IDS[0])) == []
    assert IDS[1] not in detector.members
    assert events(tell(detector, 2.0, news(IDS[1], refuted=1), sender=IDS[0])) == ["discovered", "joined"]
