"""Settings are checked once and whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.config import Config, Dht, Discovery, Execution, Jobs, Links, Membership, loopback
from potluck.overlay.errors import ConfigError, UsageError
from potluck.overlay.ids import check_one, checked_name, distance, is_called, key_id, leading_letters, node_id_of
from potluck.overlay.places import control_socket_path, node_dir, node_names

HOME = Path("/nowhere")
GROUPS = {"discovery": Discovery, "links": Links, "membership": Membership, "dht": Dht, "jobs": Jobs}
DURATIONS = [
    (group, item.name)
    for group, cls in GROUPS.items()
    for item in msgspec.structs.fields(cls)
    if item.name.endswith("_s")
]

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
wrong = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["", "-a", "a b", "x" * 64, "a/b", "a\n", ".."]),
        "port": st.sampled_from([-1, 65_536, 1 << 40]),
        "slots": st.integers(-100, -1),
        "memory_bytes": st.integers(-100, -1),
        "disk_bytes": st.integers(-100, -1),
        "sandbox": st.sampled_from(["", "Bare", "none"]),
        "peers": st.sampled_from(["host", ":9000", "host:", "host:0", "host:65536", "host:9k", "host:٣"]).map(
            lambda peer: (peer,)
        ),
    },
)


@given(faults=wrong, durations=st.lists(st.sampled_from(DURATIONS), unique_by=lambda one: one[0], max_size=3))
def test_every_fault_is_listed_at_once(faults: dict[str, Any], durations: list[tuple[str, str]]) -> None:
    groups = {group: msgspec.structs.replace(GROUPS[group](), **{name: -1.0}) for group, name in durations}  # type: ignore[type-var]
    settings: dict[str, Any] = {"name": "a", "data_dir": HOME, "runtime_dir": HOME, **faults, **groups}
    if not faults and not groups:
        Config(**settings)
        return
    with pytest.raises(ConfigError) as caught:
        Config(**settings)
    assert len(caught.value.faults) == len(faults) + len(groups)
    assert all("\n" not in fault for fault in caught.value.faults)
    for group, name in durations:
        assert f"{group}.{name} -1.0: cannot be negative" in caught.value.faults


@given(name=names, port=st.none() | st.integers(0, 65_535), peer_port=st.integers(1, 65_535))
def test_sensible_settings_are_taken(name: str, port: int | None, peer_port: int) -> None:
    config = Config(name, HOME, HOME, port=port, peers=(f"[::1]:{peer_port}", f"host.lan:{peer_port}"))
    assert loopback(config).interface == "127.0.0.1"
    assert checked_name(name) == name


def test_the_groups_know_each_other() -> None:
    assert {type(getattr(Config("a", HOME, HOME), name)) for name in (*GROUPS, "execution")} == {
        *GROUPS.values(),
        Execution,
    }


@given(one=st.binary(min_size=20, max_size=20), other=st.binary(min_size=20, max_size=20), bits=st.integers(0, 159))
def test_distance_is_a_metric_that_prefers_longer_common_prefixes(one: bytes, other: bytes, bits: int) -> None:
    assert distance(one, other) == distance(other, one)
    assert (distance(one, other) == 0) == (one == other)
    flipped = (int.from_bytes(one, "big") ^ (1 << bits)).to_bytes(20, "big")
    assert distance(one, flipped) == 1 << bits


@given(key=st.binary(), public_key=st.binary(min_size=32, max_size=32))
def test_ids_are_160_bits_and_tell_namespaces_apart(key: bytes, public_key: bytes) -> None:
    assert len(node_id_of(public_key)) == len(key_id("mem", key)) == 20
    assert key_id("mem", key) != key_id("node", key)


@pytest.mark.parametrize(
    ("text", "kind"), [("b1", "b"), ("Build-7", "build"), ("7b", ""), ("", ""), ("abc", "abc"), ("ä1", "")]
)
def test_the_kind_of_an_instruction_is_its_leading_letters(text: str, kind: str) -> None:
    assert leading_letters(text) == kind


def test_nodes_on_this_machine_are_found_by_what_they_left(tmp_path: Path) -> None:
    for name, text in {"b": 'name = "b"', "a": 'name = "a"', "bad": "name = ", "odd": "name = 3"}.items():
        folder = node_dir(tmp_path, "m", name)
        folder.mkdir(parents=True)
        (folder / "node.toml").write_text(text)
    binary = node_dir(tmp_path, "m", "binary")
    binary.mkdir()
    (binary / "node.toml").write_bytes(b"\xff\xfe")
    assert node_names(tmp_path) == ["a", "b"]
    assert node_names(tmp_path / "absent") == []


@given(data_dir=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=300), name=names)
def test_the_path_of_a_control_socket_is_short_whatever_the_data_directory(data_dir: str, name: str) -> None:
    path = control_socket_path(Path("/run/user/1000/potluck"), HOME / data_dir, name)
    assert len(str(path)) <= 107
    assert path != control_socket_path(Path("/run/user/1000/potluck"), HOME / data_dir, name + "x")


def test_a_runtime_folder_too_deep_for_a_socket_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="too long"):
        control_socket_path(Path("/" + "d" * 100), HOME, "a")


def test_a_node_is_meant_by_its_name_or_the_beginning_of_its_id_and_by_nothing_that_another_is() -> None:
    one, other = node_id_of(b"one"), node_id_of(b"other")
    for said in ("ant", one.hex(), one.hex()[:8], one.hex()[:12].upper()):
        assert is_called(one, "ant", said)
    for said in ("", "an", one.hex()[:7], other.hex()[:12]):
        assert not is_called(one, "ant", said)
    check_one("ant", [])
    check_one("ant", [one])
    with pytest.raises(UsageError, match=f"2 members are named ant: .* {one.hex()[:12]}, {other.hex()[:12]}"):
        check_one("ant", [one, other])
