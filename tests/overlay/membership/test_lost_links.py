"""What follows when a neighbour's link is lost: a dial, a suspicion, and who has to confirm it."""

from __future__ import annotations

from collections.abc import Iterable

from potluck.overlay.ids import NodeId
from potluck.overlay.membership.detector import Effect
from potluck.overlay.membership.dialling import Dial
from potluck.overlay.membership.exchange import TOGETHER_S
from potluck.overlay.wire.gossip import Status

from .stories import BOOTS, CONFIG, IDS, changes, events, make, news, run, tell, told


def test_a_broken_link_means_a_dial_and_a_refused_dial_means_death_at_once() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    effects = detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    assert events(effects) == ["suspected"]
    assert [effect.member.node_id for effect in effects if isinstance(effect, Dial)] == [IDS[0]]
    assert events(detector.dial_failed(1.0, IDS[0], refused=False)) == []
    assert events(detector.dial_failed(1.01, IDS[0], refused=True)) == ["died"]


def test_a_broken_link_that_nobody_answers_for_ends_in_death() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    story = changes(run(detector, 10.0))
    assert [event for _, event in story] == ["died"]
    assert story[0][0] <= 1.0 + 1.5 * CONFIG.suspicion_s + 0.1


def _accused_of(effects: Iterable[Effect], node_id: NodeId) -> list[Status]:
    return [item.status for item in told(effects) if item.node_id == node_id]


def test_of_a_process_that_has_gone_the_others_hear_its_death_and_no_suspicion_before() -> None:
    detector = make()
    for node_id in IDS[:2]:
        detector.link_up(0.0, news(node_id))
    run(detector, 0.9, {IDS[0]: 0.9, IDS[1]: 0.9})
    assert _accused_of(detector.link_down(1.0, IDS[0], BOOTS[0], left=False), IDS[0]) == []
    assert _accused_of((effect for _, effect in run(detector, 1.1, {IDS[1]: 1.1})), IDS[0]) == []
    detector.dial_failed(1.1, IDS[0], refused=True)
    story = run(detector, 1.5, {IDS[1]: 1.1})
    assert [(at_s, _accused_of([effect], IDS[0])) for at_s, effect in story if told([effect])] == [
        (1.1 + TOGETHER_S, [Status.DEAD])
    ]


def test_of_several_that_end_within_a_moment_all_is_told_at_once() -> None:
    detector = make()
    for node_id in IDS[:4]:
        detector.link_up(0.0, news(node_id))
    run(detector, 0.9, dict.fromkeys(IDS[:4], 0.9))
    for number, node_id in enumerate(IDS[:3]):
        detector.link_down(1.0 + 0.04 * number, node_id, BOOTS[0], left=False)
        detector.dial_failed(1.01 + 0.04 * number, node_id, refused=True)
    story = run(detector, 1.8, {IDS[3]: 1.1})
    counts = [len(told([effect])) for _, effect in story if told([effect])]
    assert sum(counts) == 3 and len(counts) == 1


def test_a_lost_link_is_told_once_the_dial_has_had_its_time() -> None:
    detector = make()
    for node_id in IDS[:2]:
        detector.link_up(0.0, news(node_id))
    run(detector, 0.9, {IDS[0]: 0.9, IDS[1]: 0.9})
    detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    story = run(detector, 1.0 + CONFIG.probe_timeout_s, {IDS[1]: 1.4})
    assert [at_s for at_s, effect in story if _accused_of([effect], IDS[0])] == [1.0 + CONFIG.probe_timeout_s]


def test_nobody_hears_of_a_link_that_came_back_at_once() -> None:
    detector = make()
    for node_id in IDS[:2]:
        detector.link_up(0.0, news(node_id))
    run(detector, 0.9, {IDS[0]: 0.9, IDS[1]: 0.9})
    effects = detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    effects += detector.link_up(1.1, news(IDS[0]))
    effects += [effect for _, effect in run(detector, 1.9, {IDS[0]: 1.9, IDS[1]: 1.9})]
    assert told(effects, IDS[1]) == []


def test_who_comes_while_somebody_is_suspected_is_not_waited_for() -> None:
    """It has never had a link to the suspect, and cannot confirm anything."""
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    run(detector, 2.0)
    detector.link_up(2.0, news(IDS[1]))
    story: list[tuple[float, str]] = []
    while (now_s := detector.due_s) < 12:
        story += [(now_s, event) for event in events(detector.tick(now_s, {IDS[1]: now_s}))]
    assert [event for _, event in story] == ["died"]
    assert story[0][0] <= 1.0 + 1.5 * CONFIG.suspicion_s + 0.1


def test_who_came_after_the_suspect_was_last_heard_is_not_waited_for_either() -> None:
    """A death is suspected only after a while; who comes meanwhile has met nobody but the living."""
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    run(detector, 0.5, {IDS[0]: 0.4})
    detector.link_up(1.0, news(IDS[1]))
    detector.link_down(1.5, IDS[0], BOOTS[0], left=False)
    story: list[tuple[float, str]] = []
    while (now_s := detector.due_s) < 12:
        story += [(now_s, event) for event in events(detector.tick(now_s, {IDS[1]: now_s}))]
    assert [event for _, event in story] == ["died"]
    assert story[0][0] <= 1.5 + 1.5 * CONFIG.suspicion_s + 0.1


def test_who_was_there_when_the_suspect_was_last_heard_is_waited_for() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    detector.link_up(0.3, news(IDS[1]))
    run(detector, 0.5, {IDS[0]: 0.4, IDS[1]: 0.4})
    detector.link_down(1.5, IDS[0], BOOTS[0], left=False)
    story: list[tuple[float, str]] = []
    while (now_s := detector.due_s) < 30:
        story += [(now_s, event) for event in events(detector.tick(now_s, {IDS[1]: now_s}))]
    assert [event for _, event in story] == ["died"]
    assert story[0][0] >= 1.5 + CONFIG.suspicion_max_s - 0.1


def test_a_link_that_comes_back_in_time_clears_the_suspicion() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    detector.link_down(1.0, IDS[0], BOOTS[0], left=False)
    assert events(detector.link_up(2.0, news(IDS[0]))) == ["cleared"]
    assert changes(run(detector, 2.9, {IDS[0]: 2.5})) == []
    assert detector.members[IDS[0]].status is Status.ALIVE


def test_two_suspected_at_once_do_not_wait_for_each_other_to_confirm() -> None:
    detector = make()
    for node_id in IDS[:3]:
        detector.link_up(0.0, news(node_id))
    for node_id in IDS[:2]:
        detector.link_down(1.0, node_id, BOOTS[0], left=False)
        tell(detector, 1.1, news(node_id, status=Status.SUSPECTED, accusers=[IDS[2]]), sender=IDS[2])
    story = changes(run(detector, 5.0, {IDS[2]: 5.0}))
    assert [event for _, event in story] == ["died", "died"]


def test_a_link_that_was_needed_no_more_says_nothing_of_its_other_end() -> None:
    detector = make()
    detector.link_up(0.0, news(IDS[0]))
    effects = detector.link_down(1.0, IDS[0], BOOTS[0], left=False, parted=True)
    assert events(effects) == []
    assert detector.members[IDS[0]].status is Status.ALIVE
    assert [effect.member.node_id for effect in effects if isinstance(effect, Dial)] == [IDS[0]], "a neighbour is"
