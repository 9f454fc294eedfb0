"""Machines on a LAN of their own: network namespaces around a bridge, real multicast, no address typed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .harness import Pool, wait_until
from .test_scenarios import NAP

pytestmark = [pytest.mark.processes, pytest.mark.lan]


def needed(condition: bool, reason: str) -> None:
    if not condition:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Lan:
    """Hosts 10.77.0.1, .2, … each in a namespace, joined by a bridge in another; none of it touches this machine's
    own network."""

    def __init__(self, folder: Path, hosts: int) -> None:
        self.tag = f"pl{secrets.token_hex(3)}"
        self.switch = f"{self.tag}-sw"
        self.hosts = [f"{self.tag}-h{number}" for number in range(1, hosts + 1)]
        self.pools: dict[str, Pool] = {}
        self._folder = folder

    def build(self) -> None:
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        ip("-n", self.switch, "link", "set", "br0", "up")
        for number, host in enumerate(self.hosts, 1):
            ip("netns", "add", host)
            ip("-n", self.switch, "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", host)
            ip("-n", self.switch, "link", "set", f"port{number}", "master", "br0", "up")
            ip("-n", host, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
            ip("-n", host, "link", "set", "lo", "up")
            ip("-n", host, "link", "set", "eth0", "up")
            ip("-n", host, "route", "add", "default", "dev", "eth0")
            folder = self._folder / f"h{number}"
            self.pools[f"h{number}"] = Pool(folder, prefix=["ip", "netns", "exec", host])

    def cut(self, name: str) -> None:
        ip("-n", self.hosts[int(name[1:]) - 1], "link", "set", "eth0", "down")

    def mend(self, name: str) -> None:
        host = self.hosts[int(name[1:]) - 1]
        ip("-n", host, "link", "set", "eth0", "up")
        ip("-n", host, "route", "replace", "default", "dev", "eth0")

    def readdress(self, name: str, old: int, new: int) -> None:
        """As another lease does."""
        host = self.hosts[int(name[1:]) - 1]
        ip("-n", host, "address", "del", f"10.77.0.{old}/24", "dev", "eth0")
        ip("-n", host, "address", "add", f"10.77.0.{new}/24", "dev", "eth0")
        ip("-n", host, "route", "replace", "default", "dev", "eth0")

    def end(self) -> None:
        for pool in self.pools.values():
            pool.end()
        for namespace in (*self.hosts, self.switch):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    needed(shutil.which("ip") is not None, "iproute2 is not installed")
    needed(os.geteuid() == 0, "making network namespaces needs root")
    needed(shutil.which("bwrap") is not None, "bubblewrap is not installed: owners differ, so tasks need it")
    made = Lan(tmp_path, hosts=3)
    try:
        made.build()
        yield made
    finally:
        made.end()
    for pool in made.pools.values():
        pool.assert_nobody_unpickled()


def start(lan: Lan, folder: Path) -> None:
    """One node a host, all with the same mesh secret; each host has its own owner, and nobody types an address."""
    secret = folder / "mesh-secret"
    secret.write_text(secrets.token_hex(32))
    nodes = [
        pool.up(name, f"--mesh-secret-file={secret}", "--slots=2", interface=None) for name, pool in lan.pools.items()
    ]
    for node in nodes:
        node.await_ready()
    for name, pool in lan.pools.items():
        others = set(lan.pools) - {name}
        events = pool.nodes[name].events
        wait_until(
            lambda events=events, others=others: others <= {one.get("node") for one in list(events)},
            f"{name} finds {others}",
        )


def test_hosts_find_each_other_and_share_work_and_memory(lan: Lan, tmp_path: Path) -> None:
    start(lan, tmp_path)
    first = lan.pools["h1"]
    answer = first.call(
        "run", "--json", "-c", "def main(n): return sum(range(n))", "--function", "main", "--args", "[10]", "--on", "h2"
    ).value
    assert (answer["tasks"][0]["value"], answer["tasks"][0]["node"]) == (45, "h2")
    assert answer["tasks"][0]["guarantees"]["network"] is True, "a stranger's task ran in a sandbox"
    first.call("mem", "set", "k", '"v"')
    assert lan.pools["h3"].call("mem", "get", "--json", "k").value["value"] == "v"


def test_a_host_whose_cable_is_cut_is_declared_dead_and_its_tasks_finish_elsewhere(lan: Lan, tmp_path: Path) -> None:
    start(lan, tmp_path)
    inputs = tmp_path / "inputs.jsonl"
    inputs.write_text("[0.5]\n" * 24)
    program = tmp_path / "nap.py"
    program.write_text(NAP)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(
            lan.pools["h1"].call, "map", str(program), "--json", "--function", "main", "--inputs", str(inputs)
        )
        wait_until(lambda: lan.pools["h3"].call("status", "--json").value["load"]["busy"] == 2, "h3 is at work")
        lan.cut("h3")
        cut_s = time.monotonic()
        result = answer.result()
    assert result.code == 0, result.err
    tasks = json.loads(result.out)["tasks"]
    assert [task["value"] for task in tasks] == [0.5] * 24
    for name in ("h1", "h2"):
        node = lan.pools[name].nodes[name]
        wait_until(lambda node=node: node.event_times("died", "h3"), f"{name} says that h3 has died")
        assert node.event_times("died", "h3")[0] - cut_s <= 5


def test_a_host_is_let_in_by_a_code_and_nobody_types_an_address(lan: Lan) -> None:
    for name in ("h1", "h2"):
        lan.pools[name].up(name, "--slots=1", interface=None).await_ready()
    code = lan.pools["h1"].call("invite", "--json").value["code"]
    joined = lan.pools["h2"].call("join", "--json", code).value
    assert joined == {"mesh": lan.pools["h1"].nodes["h1"].ready["mesh"], "inviter": "h1"}
    wait_until(lambda: len(lan.pools["h1"].call("peers", "--json").value) == 2, "h1 and h2 are linked")
    answer = lan.pools["h1"].call("run", "--json", "-c", "print(1)", "--on", "h2").value
    assert answer["tasks"][0]["guarantees"]["network"] is True, "another owner's task ran in a sandbox"


def examined(lan: Lan, name: str) -> dict[str, dict[str, object]]:
    return {row["check"]: row for row in lan.pools[name].call("doctor", "--json").value}


def test_the_doctor_says_why_a_machine_that_is_seen_is_not_linked(lan: Lan, tmp_path: Path) -> None:
    secret = tmp_path / "mesh-secret"
    secret.write_text(secrets.token_hex(32))
    for host, other in ((0, 2), (1, 1)):  # multicast passes between the first two, nothing else does
        ip("-n", lan.hosts[host], "route", "add", "blackhole", f"10.77.0.{other}/32")
    for name, pool in lan.pools.items():
        pool.up(name, f"--mesh-secret-file={secret}", "--slots=1", interface=None).await_ready()
    wait_until(lambda: not examined(lan, "h1")["sightings"]["ok"], "h1 sees h2 and cannot link to it")
    rows = examined(lan, "h1")
    assert "10.77.0.2:9000" in str(rows["sightings"]["detail"])
    assert "firewall" in str(rows["sightings"]["fix"])
    assert "10.77.0.3" not in str(rows["sightings"]["detail"]), "that one is linked"
    assert "eth0 10.77.0.1: a real interface that is up" in str(rows["interfaces"]["detail"])
    assert rows["multicast"]["ok"], rows["multicast"]
    assert "own beacon heard on 10.77.0.1" in str(rows["multicast"]["detail"])


def where(lan: Lan, asked: str, name: str) -> tuple[object, object] | None:
    """State and address of a node as another one shows them."""
    rows = lan.pools[asked].call("peers", "--json").value
    return next(((row["state"], row["address"]) for row in rows if row["name"] == name), None)


def test_a_machine_that_is_given_another_address_is_found_and_works_there(lan: Lan, tmp_path: Path) -> None:
    start(lan, tmp_path)
    lan.readdress("h3", 3, 33)
    for name in ("h1", "h2", "h3"):
        wait_until(
            lambda name=name: where(lan, name, "h3") == ("alive", "10.77.0.33:9000"),
            f"{name} finds h3 at its new address",
        )
    answer = lan.pools["h1"].call("run", "--json", "-c", "print(1)", "--on", "h3").value
    assert answer["tasks"][0]["node"] == "h3"
    assert lan.pools["h3"].nodes["h3"].event_times("moved", "h3")
    assert "Traceback" not in lan.pools["h3"].nodes["h3"].log_text()
    rows = examined(lan, "h3")
    assert rows["addresses"]["detail"] == "listens on 10.77.0.33, as this machine has it"
    assert rows["multicast"]["ok"], rows["multicast"]


def test_a_node_that_starts_before_there_is_a_network_joins_when_it_comes(lan: Lan, tmp_path: Path) -> None:
    lan.cut("h3")
    secret = tmp_path / "mesh-secret"
    secret.write_text(secrets.token_hex(32))
    for name, pool in lan.pools.items():
        pool.up(name, f"--mesh-secret-file={secret}", "--slots=1", interface=None).await_ready()
    assert lan.pools["h3"].nodes["h3"].ready["address"] == "127.0.0.1:9000"
    lan.mend("h3")
    wait_until(lambda: where(lan, "h1", "h3") == ("alive", "10.77.0.3:9000"), "h1 finds h3")
    assert lan.pools["h3"].nodes["h3"].event_times("moved", "h3")
