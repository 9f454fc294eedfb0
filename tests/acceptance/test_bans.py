"""A member is shut out: at once, for ever, everywhere, with all it holds and has issued."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from potluck.overlay.identity.certificates import issue, to_pem
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.identity.mesh import Mesh, read_mesh
from potluck.overlay.ids import node_id_of
from potluck.overlay.session.session import NEED_BYTES, Session
from potluck.overlay.session.states import Role
from potluck.overlay.wire.bans import Bans
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.opening import ConnectAck, ConnectRequest, Handshake, HandshakeResponse

from .harness import NodeProcess, Pool, wait_until
from .owners import alive, await_alive, let_in, machines, up

__all__ = ["machines"]
pytestmark = pytest.mark.processes

BAN_S = 5.0


def await_gone(since_s: float, node: NodeProcess, gone: str) -> None:
    wait_until(lambda: bool(node.event_times("died", gone)), f"{gone} is gone at {node.name}: {node.events}")
    assert node.event_times("died", gone)[-1] - since_s < BAN_S


def banned(machine: Pool) -> set[str]:
    return {row["name"] for row in machine.call("mesh", "members", "--json").value if row["banned"]}


def test_whoever_is_banned_is_out_within_seconds_everywhere_also_where_a_node_was_off(machines: list[Pool]) -> None:
    one, two, three = machines
    north, south, west = up(one, "north"), up(two, "south"), up(three, "west")
    let_in(one, two, "--may-invite")
    let_in(one, three)
    await_alive(one, "north", "south", "west")
    await_alive(three, "north", "south", "west")
    west.interrupt()
    assert west.process.wait(10) == 0
    assert two.call("mem", "set", "from-south", "1").code == 0
    refused = one.call("mesh", "ban", "south", "--json")
    assert (refused.code, refused.value["error"]["kind"]) == (2, "UsageError"), "nobody is there to ask"
    assert "Go on? [y/N]" in (told := said_no(one, "mesh", "ban", "south")) and "nobody was banned" in told
    began_s = time.monotonic()
    assert one.call("mesh", "ban", "south", "--yes", "--json").value == {"banned": ["south"]}
    await_gone(began_s, north, "south")
    assert banned(one) == {"south"}
    assert alive(one) == {"north"}
    # one that was off: it may find the banned first, until it meets somebody who knows
    west = up(three, "west")
    wait_until(lambda: "north" in alive(three), "west is back")
    met_s = west.event_times("joined", "north")[-1]
    wait_until(lambda: banned(three) == {"south"}, "west knows")
    assert time.monotonic() - met_s < BAN_S + 2
    wait_until(lambda: alive(three) == {"north", "west"}, "south is out at west")
    for node in (north, west):
        assert_no_further_than_the_handshake(two, node.ready["port"])
    assert south.process.poll() is None
    assert one.call("mem", "get", "from-south").code == 1, "what it wrote is dropped"
    assert one.call("run", "--json", "-c", "def main(): return 7", "--function", "main", "--on", "south").code == 1


def said_no(machine: Pool, *words: str) -> str:
    """By a person at a terminal, to whom the verb says so much."""
    here, there = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "potluck", *words],
            env=machine.environment,
            stdin=there,
            stderr=subprocess.PIPE,
            text=True,
        ) as asked:
            os.write(here, b"n\n")
            _, told = asked.communicate(timeout=30)
    finally:
        os.close(here)
        os.close(there)
    assert asked.returncode == 1
    return told


def assert_no_further_than_the_handshake(machine: Pool, port: int) -> None:
    """With the certificates of a banned machine, and with those that it can issue."""
    owner = KeyPair.from_pem((machine.data_dir / "owner-key").read_bytes(), "owner")
    mesh = read_mesh(machine.data_dir / "mesh.toml", owner)
    node = KeyPair.from_pem(next(machine.data_dir.glob("nodes/*/key")).read_bytes(), "node")
    fresh, friend = KeyPair.from_seed(bytes(32)), KeyPair.from_seed(b"\1" * 32)
    friend_chain = (issue(owner, friend.public, may_issue=True), *mesh.owner_chain)
    for key, chain in (
        (node, (issue(owner, node.public, may_issue=False), *mesh.owner_chain)),
        (fresh, (issue(owner, fresh.public, may_issue=False), *mesh.owner_chain)),
        (fresh, (issue(friend, fresh.public, may_issue=False), *friend_chain)),
    ):
        heard = say_hello(machine.folder, mesh, key, chain, port)
        assert [type(message) for message in heard] == [ConnectAck, Bans], "it is told what shuts it out"
        assert len(heard[1].bans) == 1  # type: ignore[attr-defined]


def say_hello(folder: Path, mesh: Mesh, key: KeyPair, chain: tuple[bytes, ...], port: int) -> list[Message]:
    """Everything a node says to whoever presents this chain, up to the end of the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=mesh.root_der)
    (folder / "raw.pem").write_bytes(key.to_pem() + to_pem(chain))
    context.load_cert_chain(folder / "raw.pem")
    session, heard = Session(Role.INITIATOR), list[Message]()
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), BAN_S)) as tls:
        tls.sendall(session.send(ConnectRequest(node_id_of(key.public), "raw", 1)))
        while chunk := _receive(tls):
            session.receive_bytes(chunk)
            while (message := session.next_event()) is not NEED_BYTES:
                heard.append(message)
                if isinstance(message, ConnectAck):
                    tls.sendall(session.send(_handshake(chain)))
                if isinstance(message, HandshakeResponse):
                    return heard
    return heard


def _receive(tls: ssl.SSLSocket) -> bytes:
    try:
        return tls.recv(65536)
    except (ssl.SSLEOFError, ConnectionResetError):
        return b""


def _handshake(chain: tuple[bytes, ...]) -> Any:
    return Handshake(list(chain), bytes(32), bytes(16), 0.0, Capabilities())


def test_who_let_somebody_in_bans_it_while_it_is_off_and_hears_clearly_whom_it_may_not_ban(
    machines: list[Pool],
) -> None:
    one, two, three = machines
    up(one, "north")
    up(two, "south")
    let_in(one, two, "--may-invite")
    let_in(two, three)
    up(three, "west")
    await_alive(two, "north", "south", "west")
    answer = two.call("mesh", "ban", "north", "--yes", "--json")
    assert (answer.code, answer.value["error"]["kind"]) == (1, "NotAllowed")
    assert "the one who let you in" in answer.err
    assert len(answer.err.splitlines()) == 1
    three.nodes["west"].interrupt()
    assert three.nodes["west"].process.wait(10) == 0
    assert two.call("mesh", "ban", "west", "--yes", "--json").value == {"banned": ["west"]}
    wait_until(lambda: banned(one) == {"west"}, "north hears of it")
    assert one.call("mesh", "ban", "south", "--yes", "--json").value == {"banned": ["south", "west"]}


def bans_check(machine: Pool) -> dict[str, Any]:
    rows: list[dict[str, Any]] = machine.call("doctor", "--json").value
    return next(row for row in rows if row["check"] == "bans")


def test_what_runs_for_a_banned_owner_ends_everywhere_though_its_job_would_last(machines: list[Pool]) -> None:
    one, two, _ = machines
    up(one, "north")
    up(two, "south")
    let_in(one, two)
    await_alive(one, "north", "south")
    assert two.call("run", "--detach", "--on", "north", "-c", "import time; time.sleep(600)").code == 0
    wait_until(lambda: [row["state"] for row in one.call("ps", "--json").value] == ["RUNNING"], "it runs at north")
    assert one.call("mesh", "ban", "south", "--yes").code == 0
    wait_until(lambda: one.call("ps", "--json").value == [], "it has ended there", 5)


def test_a_banned_machine_is_told_so_and_comes_back_with_one_command_and_its_data(machines: list[Pool]) -> None:
    one, two, _ = machines
    up(one, "north")
    south = up(two, "south")
    let_in(one, two)
    await_alive(one, "north", "south")
    assert two.call("mem", "set", "from-south", "1").code == 0
    assert one.call("mesh", "ban", "south", "--yes").code == 0
    wait_until(lambda: bool(south.event_times("banned", "south")), "south is told")
    found = bans_check(two)
    assert not found["ok"]
    assert "--anew" in found["fix"]
    assert two.call("doctor").code == 1
    assert two.call("status", "--json").value["banned"]
    assert "BANNED" in two.call("status").out
    code = one.call("invite", "--json").value["code"]
    refused = two.call("join", code)
    assert refused.code == 1
    assert "--anew" in refused.err
    rejoined = two.call("join", "--anew", code)
    assert rejoined.code == 0, f"it looks where its node is: {rejoined}"
    await_alive(one, "north", "south")
    assert bans_check(two)["ok"]
    assert not two.call("status", "--json").value["banned"]
    assert two.call("mem", "set", "again", "2").code == 0
    wait_until(lambda: one.call("mem", "get", "from-south").code == 0, "its data came along")
