"""A data directory moves into another mesh whole or not at all, and never away from others."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from potluck.overlay.errors import ConfigError, NotAllowed
from potluck.overlay.identity.joining import (
    admit,
    admit_own,
    check_may_invite,
    check_may_move,
    mesh_of,
    move,
    no_longer_alone,
    open_owner,
)
from potluck.overlay.identity.mesh import Mesh, open_identity, open_mesh
from potluck.simulations.entropy import SeededEntropy

from ...strategies.identities import key, mesh


def entropy(name: str) -> SeededEntropy:
    return SeededEntropy(1, name)


def place(data_dir: Path, *, mine: bool = False, invites: bool = False) -> Mesh:
    """In the test's mesh, for whoever owns this data directory."""
    owner, _ = open_owner(data_dir, entropy(data_dir.name))
    admission = admit_own(mesh(), "north") if mine else admit(mesh(), "north", owner.public, invites=invites)
    return mesh_of(admission, owner)


@pytest.mark.parametrize("founded", [True, False], ids=["after its first node", "before"])
@pytest.mark.parametrize("mine", [True, False], ids=["mine", "guest"])
def test_a_machine_moves_and_is_found_there_ever_after(tmp_path: Path, founded: bool, mine: bool) -> None:
    data_dir = tmp_path / "data"
    before = open_mesh(data_dir, entropy("data")) if founded else None
    new = place(data_dir, mine=mine)
    move(data_dir, new)
    again = open_mesh(data_dir, entropy("again"))
    assert (again.root_der, again.owner_chain, again.owner.public) == (new.root_der, new.owner_chain, new.owner.public)
    assert again.owner.public == mesh().owner.public or not mine
    assert not again.alone
    assert not (data_dir / "secret").exists(), "it is the secret of the mesh that was left"
    assert sorted(path.name for path in data_dir.iterdir()) == [
        ".lock",
        *(["left"] if founded else []),
        "mesh.toml",
        "owner-key",
    ]
    if before is not None:
        kept = data_dir / "left" / before.mesh_id
        assert {path.name for path in kept.iterdir()} == {"mesh.toml", "secret", "owner-key"}
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept.iterdir())
        assert open_mesh(kept, entropy("kept")).root_der == before.root_der


def test_a_node_keeps_its_key_when_its_machine_moves(tmp_path: Path) -> None:
    before = open_identity(open_mesh(tmp_path, entropy("a")), tmp_path / "nodes" / "m-a", "a", entropy("a"))
    move(tmp_path, place(tmp_path))
    after = open_identity(open_mesh(tmp_path, entropy("a")), tmp_path / "nodes" / "m-a", "a", entropy("b"))
    assert after.node_id == before.node_id
    assert after.chain != before.chain


@pytest.mark.parametrize("moved", [0, 1, 2], ids=["nothing", "the mesh", "both files"])
def test_a_crash_in_the_middle_of_a_move_is_made_good_at_the_next_start(tmp_path: Path, moved: int) -> None:
    """Once the folder `moving` is there, the move is decided."""
    open_mesh(tmp_path / "one", entropy("one"))
    new = place(tmp_path / "one", mine=True)
    open_owner(tmp_path / "two", entropy("two"))
    move(tmp_path / "two", new)
    moving = tmp_path / "one" / "moving"
    moving.mkdir()
    for number, name in enumerate(("mesh.toml", "owner-key")):
        target = tmp_path / "one" if number < moved else moving
        (target / name).write_bytes((tmp_path / "two" / name).read_bytes())
    if moved:
        (tmp_path / "one" / "secret").unlink()  # goes before anything is put in place
    assert open_mesh(tmp_path / "one", entropy("x")).root_der == new.root_der
    assert not moving.exists()
    assert not (tmp_path / "one" / "secret").exists()


def test_a_crash_before_the_move_is_decided_changes_nothing(tmp_path: Path) -> None:
    before = open_mesh(tmp_path, entropy("a"))
    part = tmp_path / "moving.part"
    part.mkdir()
    (part / "mesh.toml").write_text("half of")
    assert open_mesh(tmp_path, entropy("b")).root_der == before.root_der
    move(tmp_path, place(tmp_path))
    assert not part.exists()


def test_whoever_let_somebody_in_or_met_another_owner_is_not_moved_away(tmp_path: Path) -> None:
    open_mesh(tmp_path, entropy("a"))
    new = place(tmp_path)
    no_longer_alone(tmp_path)
    assert not open_mesh(tmp_path, entropy("a")).alone
    with pytest.raises(NotAllowed, match="in a mesh with others"):
        move(tmp_path, new)
    with pytest.raises(NotAllowed):
        check_may_move(open_owner(tmp_path, entropy("a"))[1])
    assert (tmp_path / "secret").exists()


def test_whoever_comes_anew_leaves_any_mesh_and_may_come_back_to_it_as_somebody_else(tmp_path: Path) -> None:
    before = open_mesh(tmp_path, entropy("a"))
    no_longer_alone(tmp_path)
    again = mesh_of(admit(before, "north", key(9).public, invites=False), key(9))
    move(tmp_path, again, anew=True)
    now = open_mesh(tmp_path, entropy("b"))
    assert (now.root_der, now.owner.public) == (before.root_der, key(9).public)
    assert not now.alone
    assert (tmp_path / "left" / before.mesh_id / "owner-key").exists()
    with pytest.raises(NotAllowed, match="already"):
        move(tmp_path, again, anew=True)


def test_whoever_was_given_a_secret_shares_it_with_others(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("5a" * 32)
    assert not open_mesh(tmp_path / "data", entropy("a"), tmp_path / "given").alone


def test_whoever_is_in_a_mesh_already_is_told_so(tmp_path: Path) -> None:
    own = open_mesh(tmp_path, entropy("a"))
    owner, _ = open_owner(tmp_path, entropy("a"))
    with pytest.raises(NotAllowed, match="already"):
        move(tmp_path, mesh_of(admit_own(own, "here"), owner))


def test_who_may_let_others_in(tmp_path: Path) -> None:
    check_may_invite(open_mesh(tmp_path / "founder", entropy("a")), mine=False)
    check_may_invite(place(tmp_path / "trusted", invites=True), mine=False)
    guest = place(tmp_path / "guest")
    check_may_invite(guest, mine=True)
    with pytest.raises(NotAllowed, match="may not let others in"):
        check_may_invite(guest, mine=False)


def test_a_broken_key_in_an_admission_is_one_clear_line(tmp_path: Path) -> None:
    owner, _ = open_owner(tmp_path, entropy("a"))
    admission = admit_own(mesh(), "north")
    broken = type(admission)(admission.root_der, admission.tag_key, admission.owner_chain, "north", b"no key")
    with pytest.raises((NotAllowed, ConfigError)):
        mesh_of(broken, owner)
