"""`potluck doctor` on real nodes: what is wrong is named, with what to do."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .harness import Answered, Pool, wait_until
from .test_pairing import alive, invite, join, machines, up

__all__ = ["machines"]
pytestmark = pytest.mark.processes

CHECKS = {
    "node",
    "interfaces",
    "addresses",
    "multicast",
    "mdns",
    "ports",
    "clock",
    "peers",
    "sightings",
    "other meshes",
    "bans",
    "versions",
    "sandbox",
    "data",
    "disk",
}


def examined(machine: Pool, *flags: str) -> tuple[Answered, dict[str, dict[str, Any]]]:
    answer = machine.call("doctor", "--json", *flags)
    return answer, {row["check"]: row for row in answer.value}


def test_without_a_node_it_checks_what_it_can_and_says_that_none_runs(machines: tuple[Pool, Pool]) -> None:
    one, _ = machines
    answer, rows = examined(one, "--interface", "127.0.0.1")
    assert answer.code == 0
    assert {"node", "interfaces", "multicast", "ports", "versions", "sandbox", "data", "disk", "gpus"} == set(rows)
    assert not rows["node"]["ok"]
    assert "potluck up" in rows["node"]["fix"]
    assert all(row["ok"] for check, row in rows.items() if check != "node"), rows
    named = one.call("doctor", "--json", "--node", "nobody")
    assert (named.code, named.value["error"]["kind"]) == (1, "NoNode")


def test_of_two_meshes_each_sees_the_other_and_after_joining_all_is_well(machines: tuple[Pool, Pool]) -> None:
    one, two = machines
    north, south = up(one, "north"), up(two, "south")
    joinable = f"127.0.0.1:{north.ready['port']}"
    wait_until(lambda: joinable in examined(two)[1]["other meshes"]["detail"], "south sees another mesh")
    answer, rows = examined(two)
    assert set(rows) >= CHECKS
    assert answer.code == 0, "nothing is broken"
    assert "potluck join" in rows["other meshes"]["fix"]
    assert "potluck join CODE" in south.log_text(), "it was said at once, too"
    assert join(two, invite(one)).code == 0
    wait_until(lambda: set(alive(one)) == {"north", "south"}, "they find each other")
    wait_until(lambda: "1 other beacon," in examined(one)[1]["multicast"]["detail"], "the other's beacon is heard")
    answer, rows = examined(one)
    assert answer.code == 0
    others = {check for check, row in rows.items() if not row["ok"]}
    assert not others - {"other meshes", "sightings"}, rows  # other tests' nodes may be on this loopback
    assert "as on 1 neighbour" in rows["versions"]["detail"]


def test_addresses_that_never_answer_and_files_open_to_others_fail(machines: tuple[Pool, Pool]) -> None:
    one, two = machines
    north = up(one, "north")
    strange = f"127.0.0.1:{north.ready['port']}"
    two.up("south", "--slots=1", "--peer=127.0.0.1:9", f"--peer={strange}").await_ready()
    (two.data_dir / "owner-key").chmod(0o644)

    def tried() -> bool:
        detail = examined(two)[1]["peers"]["detail"]
        return "127.0.0.1:9 (" in detail and strange in detail

    wait_until(tried, "both were tried")
    answer, rows = examined(two)
    assert answer.code == 1
    assert "Connection refused" in rows["peers"]["detail"]
    assert "is the node up" in rows["peers"]["fix"]
    assert "potluck invite" in rows["peers"]["fix"], "it is another mesh's node"
    assert "chmod 600" in rows["data"]["fix"]
    began_s = time.monotonic()
    text = two.call("doctor")
    assert time.monotonic() - began_s < 10
    assert (text.code, text.err) == (1, "")
    bad = [line for line in text.out.splitlines() if line.startswith("BAD")]
    assert {line.split()[1] for line in bad} == {"peers", "data"}


@pytest.mark.nightly
def test_a_banned_machine_is_told_to_ask(machines: tuple[Pool, Pool]) -> None:
    one, two = machines
    up(one, "north")
    up(two, "south")
    assert join(two, invite(one)).code == 0
    wait_until(lambda: set(alive(one)) == {"north", "south"}, "they find each other")
    assert one.call("mesh", "ban", "south", "--yes").code == 0
    wait_until(lambda: "new invite" in examined(two)[1]["bans"]["fix"], "south is told")
    assert "1 ban known" in examined(one)[1]["bans"]["detail"]


def test_a_wrong_clock_is_told(nodes: Pool) -> None:
    nodes.up("p1").await_ready()
    nodes.up("p2", POTLUCK_TEST_CLOCK_AHEAD="-3600").await_ready()
    nodes.await_members("p1", "p2")
    told = [nodes.call("doctor", "--json", node=name).value for name in ("p1", "p2")]
    clocks = [next(row for row in rows if row["check"] == "clock") for rows in told]
    assert not all(row["ok"] for row in clocks)
    assert any("(so 1 neighbour)" in row["detail"] for row in clocks)
