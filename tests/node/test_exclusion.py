"""Whom a ban would take down, and who is told that they may not say it."""

from __future__ import annotations

import msgspec
import pytest
from potluck.node.exclusion import Exclusion, Verdict
from potluck.node.roster import Roster
from potluck.overlay.errors import NotAllowed, NotFound, PotluckError, UsageError
from potluck.overlay.identity.bans import BanSet
from potluck.overlay.identity.mesh import Identity
from potluck.simulations.store import VirtualDisk, VirtualStore

from ..strategies.identities import mesh, node_at, root

MEMBERS: dict[str, Identity] = {
    name: msgspec.structs.replace(node_at(*path, number=number), name=name)
    for number, (name, path) in enumerate(
        {
            "north": (1,),
            "north-2": (1,),
            "south": (1, 2),
            "south-2": (1, 2),
            "below": (1, 2, 3),
            "west": (1, 4),
            "other-founder": (5,),
            "twin": (1, 6),
            "twin ": (1, 7),
        }.items(),
        100,
    )
}


def judged_by(asker: str, name: str, *, is_founder: bool = False) -> Verdict:
    identity = MEMBERS[asker]
    roster = Roster(identity, VirtualStore(VirtualDisk(), lambda: 0.0), lambda: 0.0)
    for member in MEMBERS.values():
        roster.met(member.node_id, member.name.strip(), member.chain)
    exclusion = Exclusion(identity, roster, banning=None)  # type: ignore[arg-type]  # nothing is carried out here
    return exclusion.judge(name, root() if is_founder else None)


@pytest.mark.parametrize(
    ("asker", "is_founder", "name", "falls"),
    [
        ("north", False, "south", ["below", "south", "south-2"]),
        ("north", False, "below", ["below"]),
        ("north-2", True, "south-2", ["below", "south", "south-2"]),
        ("other-founder", True, "west", ["west"]),
        ("south", False, "below", ["below"]),
    ],
)
def test_whoever_stands_above_bans_the_owner_and_all_below(
    asker: str, is_founder: bool, name: str, falls: list[str]
) -> None:
    verdict = judged_by(asker, name, is_founder=is_founder)
    assert verdict.falls == falls
    bans = BanSet(mesh().root_der)
    assert bans.learn([verdict.ban]) == [verdict.ban]
    fallen = {member.name.strip() for member in MEMBERS.values() if bans.is_banned(member.chain)}
    assert fallen == set(falls)


@pytest.mark.parametrize(
    ("asker", "name", "kind", "words"),
    [
        ("north", "nobody", NotFound, "no member named nobody"),
        ("north", "sou", NotFound, "is it south or south-2?"),
        ("north", "twin", UsageError, "2 members are named twin: say which by its node id"),
        ("north", "north-2", NotAllowed, "a machine of yours"),
        ("south", "north", NotAllowed, "the one who let you in"),
        ("below", "south", NotAllowed, "the one who let you in"),
        ("below", "north", NotAllowed, "the one who let you in"),
        ("west", "south", NotAllowed, "ask north or north-2"),
        ("other-founder", "below", NotAllowed, "ask north or north-2 or south or south-2"),
        ("north", "other-founder", NotAllowed, "mesh rotate"),
        ("west", "other-founder", NotAllowed, "mesh rotate"),
    ],
)
def test_whoever_may_not_is_told_why_in_one_line(asker: str, name: str, kind: type[PotluckError], words: str) -> None:
    with pytest.raises(kind) as caught:
        judged_by(asker, name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_several_bear_is_told_apart_by_node_id() -> None:
    one, other = MEMBERS["twin"], MEMBERS["twin "]
    for member, asker in ((one, "north"), (other, "north")):
        ban = judged_by(asker, member.node_id.hex()[:12].upper()).ban
        assert ban.chain == list(member.chain[1:])
    with pytest.raises(NotFound):
        judged_by("north", one.node_id.hex()[:4])
