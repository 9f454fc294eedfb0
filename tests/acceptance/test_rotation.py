"""A mesh goes on under a new root: who is kept follows by itself, who is away finds back, nobody else does."""

from __future__ import annotations

import pytest

from .harness import Pool, wait_until
from .owners import alive, await_alive, let_in, machines, up

__all__ = ["machines"]
pytestmark = pytest.mark.processes


def mesh_of(machine: Pool) -> str:
    mesh: str = machine.call("status", "--json").value["mesh"]
    return mesh


def in_mesh(machine: Pool, mesh: str) -> bool:
    answer = machine.call("status", "--json")
    return answer.code == 0 and answer.value["mesh"] == mesh


def turn_off(machine: Pool, name: str) -> None:
    machine.nodes[name].interrupt()
    assert machine.nodes[name].process.wait(10) == 0


def test_a_member_that_was_off_returns_and_a_banned_one_does_not(machines: list[Pool]) -> None:
    one, two, three = machines
    for machine, name in zip(machines, ("north", "south", "west"), strict=True):
        up(machine, name)
    let_in(one, two)
    let_in(one, three)
    await_alive(one, "north", "south", "west")
    old = mesh_of(one)
    assert one.call("mem", "set", "kept", "1").code == 0
    refused = two.call("mesh", "rotate", "--json")
    assert (refused.code, refused.value["error"]["kind"]) == (1, "NotAllowed")
    assert "only a founder" in refused.err
    turn_off(two, "south")
    assert one.call("mesh", "ban", "west", "--yes").code == 0
    rotated = one.call("mesh", "rotate", "--json").value
    assert rotated["left_out"] == ["west"]
    assert mesh_of(one) == rotated["root"] != old
    assert one.call("mem", "get", "--json", "kept").value["value"] == 1
    up(two, "south")
    wait_until(lambda: in_mesh(two, rotated["root"]), "south has its new certificate")
    await_alive(one, "north", "south")
    assert two.call("mem", "get", "--json", "kept").value["value"] == 1
    members = {row["name"]: row for row in one.call("mesh", "members", "--json").value}
    assert set(members) == {"north", "south"}
    assert members["south"]["invited_by"] == members["north"]["owner"]
    # the banned one restarts, finds the others, and stays where it was
    turn_off(three, "west")
    up(three, "west")
    wait_until(lambda: "nothing of a new root" in three.nodes["west"].log_text(), "west was turned away at a door")
    assert "whoever rotated this mesh has not kept you" in three.nodes["west"].log_text()
    assert mesh_of(three) == old
    assert alive(three) == {"west"}
    # and the new root is a root like the first
    again = one.call("mesh", "rotate", "--json").value["root"]
    wait_until(lambda: in_mesh(two, again), "south follows at once")
    await_alive(two, "north", "south")


@pytest.mark.nightly
def test_a_founder_is_left_behind_and_the_old_secret_opens_nothing(machines: list[Pool]) -> None:
    one, two, three = machines
    up(one, "north")
    secret = one.data_dir / "secret"
    up(two, "south", f"--mesh-secret-file={secret}")
    up(three, "west", f"--mesh-secret-file={secret}")
    await_alive(one, "north", "south", "west")
    old = mesh_of(one)
    refused = one.call("mesh", "ban", "west", "--yes", "--json")
    assert (refused.code, refused.value["error"]["kind"]) == (1, "NotAllowed")
    assert "mesh rotate" in refused.err
    rotated = one.call("mesh", "rotate", "--without", "west", "--json").value
    assert rotated["left_out"] == ["west"]
    wait_until(lambda: in_mesh(two, rotated["root"]), "south follows at once")
    await_alive(one, "north", "south")
    await_alive(three, "west")
    assert mesh_of(three) == old
    assert not (two.data_dir / "secret").exists(), "one founder is left"
    assert two.call("mesh", "rotate").code == 1
    # a machine that is given the new secret is a founder of the new root and finds the others
    turn_off(three, "west")
    for name in ("mesh.toml", "secret", "owner-key"):
        (three.data_dir / name).unlink()
    up(three, "west", f"--mesh-secret-file={one.data_dir / 'secret'}")
    await_alive(two, "north", "south", "west")
    assert mesh_of(three) == rotated["root"]


def test_machines_that_were_given_a_secret_follow_and_their_scripts_go_on_working(machines: list[Pool]) -> None:
    one, two, _ = machines
    secret = one.folder / "given"
    secret.write_text("5c" * 32)
    secret.chmod(0o600)
    up(one, "north", f"--mesh-secret-file={secret}")
    up(two, "south", f"--mesh-secret-file={secret}")
    await_alive(one, "north", "south")
    rotated = one.call("mesh", "rotate", "--json")
    assert rotated.code == 0, rotated.err
    wait_until(lambda: in_mesh(two, rotated.value["root"]), "south follows at once")
    await_alive(one, "north", "south")
    for machine, name in ((one, "north"), (two, "south")):
        turn_off(machine, name)
        up(machine, name, f"--mesh-secret-file={secret}")
        assert in_mesh(machine, rotated.value["root"])
    secret.write_text("6d" * 32)
    turn_off(two, "south")
    refused = two.call("up", "--interface=127.0.0.1", "--name=south", f"--mesh-secret-file={secret}")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "belongs to another mesh" in refused.err


def test_a_machine_that_was_given_a_secret_follows_when_it_joins_another_mesh(machines: list[Pool]) -> None:
    one, two, _ = machines
    secret = two.folder / "given"
    secret.write_text("5c" * 32)
    secret.chmod(0o600)
    up(one, "north")
    up(two, "south", f"--mesh-secret-file={secret}")
    code = one.call("invite", "--json").value["code"]
    joined = two.call("join", "--anew", "--interface", "127.0.0.1", code)
    assert joined.code == 0, joined.err
    await_alive(two, "north", "south")
    assert mesh_of(two) == mesh_of(one)


def root_check(machine: Pool) -> dict[str, object]:
    answer = machine.call("doctor", "--json")
    return next((row for row in answer.value if row["check"] == "root"), {"ok": None, "detail": ""})


@pytest.mark.nightly
def test_two_rotations_of_one_root_are_both_visible_afterwards(machines: list[Pool]) -> None:
    one, two, _ = machines
    up(one, "north")
    up(two, "south", f"--mesh-secret-file={one.data_dir / 'secret'}")
    await_alive(one, "north", "south")
    roots = {}
    turn_off(two, "south")
    roots["north"] = one.call("mesh", "rotate", "--json").value["root"]
    assert root_check(one)["ok"]
    turn_off(one, "north")
    up(two, "south")
    roots["south"] = two.call("mesh", "rotate", "--json").value["root"]
    up(one, "north")
    for machine, other in ((one, "south"), (two, "north")):
        wait_until(lambda machine=machine: root_check(machine)["ok"] is False, "the other rotation is seen")
        assert roots[other] in str(root_check(machine)["detail"])
    assert mesh_of(one) == roots["north"], "the first that it saw"
    assert mesh_of(two) == roots["south"]
