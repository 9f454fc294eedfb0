"""A machine whose clock is an hour off is let in with its data, does no harm, and is told."""

from __future__ import annotations

import pytest

from .harness import NodeProcess, Pool, wait_until
from .test_pairing import alive, invite, join, machines, up

__all__ = ["machines"]
pytestmark = pytest.mark.processes


def clock_events(node: NodeProcess) -> list[float]:
    return [event["error_s"] for event in list(node.events) if event.get("event") == "clock"]


@pytest.mark.parametrize("ahead_s", [pytest.param(3600, marks=pytest.mark.nightly), -3600], ids=["ahead", "behind"])
def test_a_node_an_hour_off_brings_its_data_reads_and_writes_and_is_told_once(
    machines: tuple[Pool, Pool], ahead_s: int
) -> None:
    one, two = machines
    north = up(one, "north")
    south = two.up("south", "--slots=1", POTLUCK_TEST_CLOCK_AHEAD=str(ahead_s))
    south.await_ready()
    assert two.call("mem", "set", "kept", '"written alone"').code == 0
    assert two.call("mem", "set", "fleeting", "1", "--ttl", "600").code == 0
    assert one.call("mem", "set", "both", '"the older"').code == 0
    assert two.call("mem", "set", "both", '"the newer"').code == 0
    assert join(two, invite(one)).code == 0
    wait_until(lambda: set(alive(one)) == {"north", "south"}, "they find each other")
    wait_until(lambda: bool(clock_events(south)), "it is told")

    for key, value in (("kept", "written alone"), ("fleeting", 1)):
        read = lambda key=key: one.call("mem", "get", "--json", key)  # noqa: E731
        wait_until(lambda read=read: read().code == 0, f"{key} has come along")
        assert read().value["value"] == value
    for writer, reader in ((one, two), (two, one), (one, two)):
        wrote = writer.call("mem", "set", "--json", "turns", f'"{writer.folder.name}"')
        assert wrote.value["replicas"] == 2
        assert reader.call("mem", "get", "--json", "turns").value["value"] == writer.folder.name
        assert reader.call("mem", "set", "short", "1", "--ttl", "60").code == 0
        assert writer.call("mem", "get", "--json", "short").value["value"] == 1

    assert clock_events(south) == [pytest.approx(ahead_s, abs=2)]
    assert clock_events(north) == [], "it moved nobody"
    side = "ahead of" if ahead_s > 0 else "behind"
    assert south.log_text().count(f"3600 s {side} the others'") == 1, south.log_text()
    assert two.call("status", "--json").value["clock_error_s"] == pytest.approx(ahead_s, abs=2)
    assert f"{side} the others" in two.call("status").out
    assert one.call("status", "--json").value["clock_error_s"] == pytest.approx(0, abs=2)


def test_two_who_start_together_agree_on_the_time_of_one_of_them(nodes: Pool) -> None:
    nodes.up("p1", POTLUCK_TEST_CLOCK_AHEAD="3600")
    nodes.up("p2")
    for node in nodes.nodes.values():
        node.await_ready()
    nodes.await_members("p1", "p2")
    assert nodes.call("mem", "set", "k", "1", node="p1").code == 0
    assert nodes.call("mem", "get", "--json", "k", node="p2").value["value"] == 1
    errors = [nodes.call("status", "--json", node=name).value["clock_error_s"] for name in ("p1", "p2")]
    assert errors[0] - errors[1] == pytest.approx(3600, abs=3), "one time for both"
    assert 0 in [pytest.approx(error_s, abs=3) for error_s in errors], "that of one of them"
