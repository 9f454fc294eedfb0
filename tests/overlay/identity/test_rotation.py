"""A new root keeps whom it means to keep, is believed only from the old one, and is reached whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.errors import ConfigError, LimitExceeded, NotAllowed, RemoteProtocolError
from potluck.overlay.identity.bans import BanSet, make_ban
from potluck.overlay.identity.certificates import DEPTH_MAX, issue, owners_of, verify_chain
from potluck.overlay.identity.joining import open_owner
from potluck.overlay.identity.mesh import found, mesh_toml, open_mesh, root_key
from potluck.overlay.identity.privacy import write_private
from potluck.overlay.identity.rotation import (
    Succession,
    adopt,
    conflicts_in,
    make_rotation,
    new_secret,
    note_conflict,
    rotations_to,
)
from potluck.overlay.ids import owner_id_of
from potluck.overlay.wire.rotation import KEPT_MAX, Rotation
from potluck.simulations.entropy import SeededEntropy

from ...strategies.identities import key, mesh, node_at, place, root

ROOT = mesh().root_der
OLD_SECRET = SeededEntropy(1, "secret").token(32)
PATHS = [(1,), (1, 2), (1, 2, 3), (5,), (5, 6), (5, 6, 2), (7,)]
"""1, 5 and 7 are founders; 1 rotates."""
some_paths = st.lists(st.sampled_from(PATHS), unique=True)


def secret(number: int = 1) -> bytes:
    return new_secret(mesh(), SeededEntropy(number, "new secret").token(32))


def rotation(
    known: Collection[tuple[int, ...]] = PATHS,
    banned: Collection[tuple[int, ...]] = (),
    without: Collection[int] = (),
    number: int = 1,
) -> Rotation:
    chains = [place(*path).owner_chain for path in known]
    bans = [make_ban(place(*path).owner_chain, root(), ROOT) for path in banned]
    return make_rotation(mesh(), secret(number), root(), chains, bans, {key(1000 + one).public for one in without})


@given(
    known=some_paths,
    banned=st.lists(st.sampled_from([path for path in PATHS if len(path) > 1]), unique=True),
    without=st.sets(st.sampled_from([5, 7])),
)
def test_who_is_below_a_kept_founder_and_not_banned_is_kept_known_or_not(
    known: list[tuple[int, ...]], banned: list[tuple[int, ...]], without: set[int]
) -> None:
    made = rotation(known, banned, without)
    succession = Succession(made, ROOT)
    founders = ({1} | {path[0] for path in known}) - without
    bans = BanSet(made.root)
    bans.learn(made.bans)
    for path in PATHS:
        node = node_at(*path)
        new_place = succession.place_of(node.chain[1:])
        assert (new_place is not None) == (
            path[0] in founders and not any(path[: len(fallen)] == fallen for fallen in banned)
        )
        if new_place is not None:
            proved = verify_chain((node.chain[0], *new_place), made.root, node.chain[0])
            assert proved.owner_id == node.owner_id
            assert not bans.is_owner_banned(new_place)
            rotator = owner_id_of(mesh().owner.public)
            assert (owners_of((b"", *new_place))[-1]) == rotator, "nobody else is let in by the new root itself"


def test_a_founder_that_was_kept_holds_no_secret_and_can_be_banned_afterwards() -> None:
    made = rotation()
    chain = Succession(made, ROOT).place_of(place(5).owner_chain)
    assert chain is not None
    bans = BanSet(made.root)
    bans.learn([make_ban(chain, mesh().owner, made.root)])
    assert bans.is_owner_banned(chain)


def test_the_holder_of_the_old_secret_is_not_kept_by_what_it_can_issue() -> None:
    thief = msgspec.structs.replace(found(OLD_SECRET, key(77)))
    assert thief.root_der == ROOT
    succession = Succession(rotation(), ROOT)
    assert succession.place_of(thief.owner_chain) is None
    for victim in (1, 5):  # nobody's key is its own
        again = issue(root(), key(1000 + victim).public, may_issue=True)
        stolen = issue(thief.owner, key(9).public, may_issue=False)
        kept = succession.place_of((again,))
        assert kept is not None
        with pytest.raises(NotAllowed):
            verify_chain((stolen, *kept), succession.rotation.root, stolen)


def test_who_may_not_invite_still_may_not() -> None:
    guest = issue(root(), key(1008).public, may_issue=True, may_invite=False)
    made = make_rotation(mesh(), secret(), root(), [(guest,)], [])
    kept = Succession(made, ROOT).place_of((guest,))
    assert kept is not None
    below = issue(key(1008), key(1009).public, may_issue=True)
    assert Succession(made, ROOT).place_of((below, guest)) is None


def test_a_chain_that_would_be_too_deep_is_not_kept() -> None:
    path = (5, *range(10, 10 + DEPTH_MAX - 2))
    assert len(place(*path).owner_chain) == DEPTH_MAX - 1
    succession = Succession(rotation(), ROOT)
    assert succession.place_of(place(*path).owner_chain) is None
    assert succession.place_of(place(*path[:-1]).owner_chain) is not None


@given(data=st.data())
def test_a_record_that_the_old_root_has_not_signed_is_nobodys(data: st.DataObject) -> None:
    real, other = rotation(banned=[(1, 2)]), rotation(number=2)
    byte = data.draw(st.integers(0, 63))
    changes: list[dict[str, Any]] = [
        {"signature": bytes(value ^ (n == byte) for n, value in enumerate(real.signature))},
        {"root": other.root},
        {"kept": real.kept[:-1]},
        {"kept": other.kept},
        {"bans": []},
        {"former_root": other.root},
    ]
    with pytest.raises(RemoteProtocolError):
        Succession(msgspec.structs.replace(real, **data.draw(st.sampled_from(changes))), ROOT)
    with pytest.raises(RemoteProtocolError):
        Succession(real, mesh(2).root_der)


def test_a_record_too_long_to_tell_is_not_made() -> None:
    banned = make_ban(place(1, 2).owner_chain, root(), ROOT)
    assert len(make_rotation(mesh(), secret(), root(), [], [banned] * 9000).bans) == 1, "what is said twice"
    many = [(issue(root(), key(20_000 + n).public, may_issue=True),) for n in range(KEPT_MAX)]
    with pytest.raises(LimitExceeded):
        make_rotation(mesh(), secret(), root(), many, [])
    assert len(make_rotation(mesh(), secret(), root(), many[1:], []).kept) == KEPT_MAX


# The data directory


def founder(folder: Path) -> Path:
    (folder / "given").write_bytes(OLD_SECRET.hex().encode())
    data_dir = folder / "data"
    data_dir.mkdir()
    write_private(data_dir / "owner-key", key(1001).to_pem())
    assert open_mesh(data_dir, SeededEntropy(1, "founder"), folder / "given").root_der == ROOT
    return data_dir


def guest(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    write_private(folder / "owner-key", key(1002).to_pem())
    write_private(folder / "mesh.toml", mesh_toml(place(1, 2)))
    return folder


def test_whoever_rotates_is_the_founder_of_the_new_root_and_can_hand_its_secret_on(tmp_path: Path) -> None:
    data_dir, made = founder(tmp_path), rotation()
    adopt(data_dir, made, secret())
    after = open_mesh(data_dir, SeededEntropy(2, "x"))
    assert (after.root_der, after.tag_key, after.owner.public) == (made.root, mesh().tag_key, mesh().owner.public)
    assert rotations_to(data_dir, made.root) == (made,)
    new_root = root_key(data_dir, after)
    assert new_root is not None
    second = make_rotation(after, new_secret(after, bytes(32)), new_root, [], [])
    provisioned = open_mesh(tmp_path / "other", SeededEntropy(3, "x"), data_dir / "secret")
    assert (provisioned.root_der, provisioned.tag_key) == (made.root, mesh().tag_key)
    adopt(data_dir, second, new_secret(after, bytes(32)))
    assert rotations_to(data_dir, second.root) == (second, made)
    assert (data_dir / "left" / mesh().mesh_id / "secret").exists()


def test_whoever_follows_keeps_its_owner_and_has_no_secret(tmp_path: Path) -> None:
    data_dir, made = guest(tmp_path / "guest"), rotation()
    adopt(data_dir, made)
    adopt(data_dir, made)
    owner, after = open_owner(data_dir, SeededEntropy(2, "x"))
    assert after is not None
    assert (after.root_der, owner.public) == (made.root, key(1002).public)
    assert root_key(data_dir, after) is None


def test_who_is_not_kept_stays_where_it_was(tmp_path: Path) -> None:
    data_dir = guest(tmp_path / "guest")
    for unkept in (rotation(banned=[(1, 2)]),):
        with pytest.raises(NotAllowed, match="not kept"):
            adopt(data_dir, unkept)
    assert open_mesh(data_dir, SeededEntropy(2, "x")).root_der == ROOT
    assert rotations_to(data_dir, ROOT) == ()


def test_the_first_record_wins_and_another_is_noted(tmp_path: Path) -> None:
    data_dir, made, other = guest(tmp_path / "guest"), rotation(), rotation(number=2)
    adopt(data_dir, made)
    with pytest.raises(RemoteProtocolError):
        adopt(data_dir, other)
    assert not note_conflict(data_dir, made)
    assert conflicts_in(data_dir) == ()
    assert note_conflict(data_dir, other)
    assert note_conflict(data_dir, rotation(number=3))
    assert conflicts_in(data_dir) == (other,)
    with pytest.raises(RemoteProtocolError):
        note_conflict(data_dir, msgspec.structs.replace(other, signature=bytes(64)))
    assert open_mesh(data_dir, SeededEntropy(2, "x")).root_der == made.root


def test_a_broken_record_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / f"rotation-{mesh().mesh_id}"
    path.write_bytes(b"\xc1")
    with pytest.raises(ConfigError, match="rotation-"):
        rotations_to(tmp_path, ROOT)


class Killed(BaseException):
    """As by SIGKILL: nothing of the process runs after it but what unwinds here."""


def kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Before the step-th change of the disk, and there is no further one."""
    done = 0

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            if done == step:
                raise Killed
            done += 1
            return real(*args, **kwargs)

        patch.setattr(os, name, counted)

    for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync"):
        wrap(name)


@pytest.mark.parametrize("rotates", [True, False])
def test_whenever_it_is_killed_the_next_start_finds_the_old_place_whole_or_the_new_one(
    tmp_path: Path, rotates: bool
) -> None:
    made, seen = rotation(), set[bytes]()
    for step in range(100):
        folder = tmp_path / str(step)
        folder.mkdir()
        data_dir = founder(folder) if rotates else guest(folder / "data")
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, step)
            try:
                adopt(data_dir, made, secret() if rotates else None)
                finished = True
            except Killed:
                finished = False
        after = open_mesh(data_dir, SeededEntropy(2, "x"))
        assert after.root_der in (ROOT, made.root)
        assert (root_key(data_dir, after) is not None) == rotates
        assert rotations_to(data_dir, after.root_der) == ((made,) if after.root_der == made.root else ())
        assert not (data_dir / "moving").exists()
        seen.add(after.root_der)
        adopt(data_dir, made, secret() if rotates else None)
        assert open_mesh(data_dir, SeededEntropy(2, "x")).root_der == made.root
        if finished:
            break
    assert finished
    assert seen == {ROOT, made.root}
