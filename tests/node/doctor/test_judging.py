"""Every complaint says what to do, and nothing that is well is complained of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.discovery.heard import Heard
from potluck.node.doctor import judging
from potluck.node.doctor.findings import Finding
from potluck.node.doctor.judging import RECENTLY_S, Member
from potluck.overlay.ports import Address

NOW_S = 10_000.0
THERE = Address("10.0.0.7", 9000)
addresses = st.builds(Address, st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]), st.integers(9000, 9040))
REASONS = [
    "cannot connect to 10.0.0.7:9000: Connection refused",
    "10.0.0.7:9000 does not answer",
    "10.0.0.7:9000 is not of this mesh: CERTIFICATE_VERIFY_FAILED",
    "no common wire version: 2 to 3 there, 1 to 1 here",
    "node 1234 is banned from this mesh",
    "10.0.0.7:9000 closed the connection",
]


def nobody(_address: Address) -> bool:
    return False


@given(
    failed=st.lists(st.tuples(addresses, st.sampled_from(REASONS), st.booleans(), st.floats(0, 2 * RECENTLY_S))),
    strange=st.lists(st.tuples(addresses, st.floats(0, 2 * RECENTLY_S))),
    members=st.lists(st.tuples(addresses, st.floats(0, 2 * RECENTLY_S))),
    echoed=st.sets(st.sampled_from(["10.0.0.8", "10.0.0.9"])),
    linked=st.integers(0, 3),
    error_s=st.floats(-1e5, 1e5),
    alone=st.booleans(),
)
def test_a_finding_is_one_line_and_says_what_to_do_if_and_only_if_something_is_wrong(
    failed: list, strange: list, members: list, echoed: set[str], linked: int, error_s: float, alone: bool
) -> None:
    heard = Heard()
    for address, reason, given_by_user, age_s in failed:
        heard.failed(NOW_S - age_s, address, reason, given=given_by_user)
    for address, age_s in strange:
        heard.stranger(NOW_S - age_s, address)
    for address, age_s in members:
        heard.members.note(address, NOW_S - age_s)
    found: list[Finding] = [
        judging.multicast(NOW_S, heard, ["10.0.0.8", "10.0.0.9"], echoed, linked),
        judging.listening("ant", THERE, ["10.0.0.8", "10.0.0.9"], sorted(echoed)),
        judging.zeroconf(heard, wanted=True),
        judging.port(THERE, None),
        judging.port(THERE, "no"),
        judging.clock(error_s, linked),
        judging.given_peers(NOW_S, heard, nobody),
        judging.unreached(NOW_S, heard, nobody),
        judging.strangers(NOW_S, heard, alone=alone),
        judging.bans(linked, "mesh" if alone else None, {"b1": not alone}),
    ]
    for finding in found:
        assert finding.ok == (not finding.fix)
        assert finding.detail
        assert "\n" not in finding.detail + finding.fix
        assert len(finding.detail) < 1000, "however much was heard"
    assert judging.unreached(NOW_S, heard, lambda _: True).ok, "who is linked is not missed"


@pytest.mark.parametrize(
    ("wanted", "ok", "matters", "words"),
    [
        (["10.0.0.8", "10.0.0.9"], True, True, "listens on 10.0.0.8, 10.0.0.9"),
        (["10.0.0.8"], True, True, "listens on 10.0.0.8"),
        (["10.0.0.7"], False, True, "does not listen on 10.0.0.7:9000"),
        (["10.0.0.8", "10.0.0.7"], False, False, "does not listen on 10.0.0.7:9000"),
        ([], False, True, "which this machine does not have now"),
    ],
)
def test_a_node_that_does_not_listen_where_its_machine_is_is_to_start_again(
    wanted: list[str], ok: bool, matters: bool, words: str
) -> None:
    finding = judging.listening("ant", Address("10.0.0.8", 9000), ["10.0.0.8", "10.0.0.9"], wanted)
    assert words in finding.detail
    assert (finding.ok, finding.matters) == (ok, matters)
    assert ("potluck down ant" in finding.fix) == (not ok)


REMEDIES = ["is the node up", "firewall", "invite", "same potluck", "banned", "is this machine banned there"]


@pytest.mark.parametrize(("reason", "remedy"), list(zip(REASONS, REMEDIES, strict=True)))
def test_each_reason_has_its_own_remedy(reason: str, remedy: str) -> None:
    heard = Heard()
    heard.failed(NOW_S, THERE, reason, given=True)
    finding = judging.given_peers(NOW_S, heard, nobody)
    assert not finding.ok
    assert finding.matters
    assert finding.detail.startswith("not there: 10.0.0.7:9000 (never answered in 1 try")
    assert remedy in finding.fix
    heard.reached(NOW_S, THERE)
    heard.failed(NOW_S, THERE, reason, given=True)
    assert not judging.given_peers(NOW_S, heard, nobody).matters, "it may just be switched off"
    heard.failed(NOW_S, THERE, reason, given=False)
    assert not judging.unreached(NOW_S, heard, nobody).matters, "anybody may make up a sighting"


def test_what_is_long_past_is_not_complained_of() -> None:
    heard = Heard()
    heard.failed(NOW_S - RECENTLY_S - 1, THERE, "gone", given=False)
    heard.stranger(NOW_S - RECENTLY_S - 1, THERE)
    assert judging.unreached(NOW_S, heard, nobody).ok
    assert judging.strangers(NOW_S, heard, alone=True).ok


def test_multicast_that_nobody_else_uses_is_suspicious_only_beside_linked_members() -> None:
    heard = Heard()
    here = ["10.0.0.9"]
    assert judging.multicast(NOW_S, heard, here, here, linked=0).ok
    held_back = judging.multicast(NOW_S, heard, here, here, linked=2)
    assert not held_back.ok
    assert not held_back.matters
    heard.members.note(THERE, NOW_S - 3)
    assert judging.multicast(NOW_S, heard, here, here, linked=2).ok
    deaf = judging.multicast(NOW_S, heard, here, [], linked=2)
    assert not deaf.ok
    assert deaf.matters


def test_another_mesh_is_worth_a_word_only_to_who_stands_alone() -> None:
    heard = Heard()
    heard.stranger(NOW_S, THERE)
    assert "potluck join" in judging.strangers(NOW_S, heard, alone=True).fix
    assert judging.strangers(NOW_S, heard, alone=False).ok


@given(words=st.text(max_size=2000))
def test_what_others_say_is_short_and_does_nothing_to_a_terminal(words: str) -> None:
    heard = Heard()
    heard.failed(NOW_S, THERE, words, given=False)
    shown = judging.unreached(NOW_S, heard, nobody).as_dict()["detail"]
    assert isinstance(shown, str)
    assert shown.isprintable()
    assert len(shown) < 500


def test_bans_that_neighbours_did_not_know_are_worth_a_word() -> None:
    assert "the same to 2 neighbours" in judging.bans(3, None, {"b1": True, "c1": True}).detail
    apart = judging.bans(3, None, {"b1": True, "c1": False})
    assert not apart.ok
    assert not apart.matters
    assert apart.detail.startswith("c1 did not know")
    assert judging.bans(3, "mesh", {"c1": False}).matters


def test_other_versions_are_named() -> None:
    own = Member("a", "3.11", "1.0")
    assert judging.versions(own, [Member("b", "3.11", "1.0")]).ok
    other = judging.versions(own, [Member("b", "3.12", "1.0"), Member("c", "3.11", "0.9")])
    assert not other.ok
    assert "b has Python 3.12" in other.detail
    assert "c has potluck 0.9" in other.detail


@given(error_s=st.floats(-1e6, 1e6))
def test_a_wrong_clock_fails_only_where_it_hides_the_node(error_s: float) -> None:
    finding = judging.clock(error_s, 3)
    assert finding.ok == (abs(error_s) < 5)
    assert finding.matters == (finding.ok or abs(error_s) > 7200)
