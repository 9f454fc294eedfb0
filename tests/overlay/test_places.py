"""Where nodes lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.errors import ConfigError
from potluck.overlay.places import SUN_PATH_BYTES_MAX, control_socket_path, machine_id, node_dir, node_names

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)


@given(NAMES, NAMES, st.text("abc/", max_size=300))
def test_a_socket_path_always_fits_and_tells_nodes_apart(one: str, other: str, where: str) -> None:
    data_dir = Path("/data") / where.strip("/")
    paths = [control_socket_path(Path("/run/user/1000/potluck"), data_dir, name) for name in (one, other)]
    assert all(len(os.fsencode(path)) <= SUN_PATH_BYTES_MAX for path in paths)
    assert (paths[0] == paths[1]) == (one == other)
    assert paths[0] != control_socket_path(Path("/run/user/1000/potluck"), data_dir / "else", one)


def test_a_runtime_folder_with_too_long_a_path_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="too long"):
        control_socket_path(Path("/" + "x" * 100), Path("/data"), "ant")


def test_names_are_read_from_what_nodes_left(tmp_path: Path) -> None:
    assert node_names(tmp_path) == []
    for number, text in enumerate(['name = "bee"', 'name = "ant"', "name = 3", "no = TOML = ", 'name = "ant"']):
        folder = node_dir(tmp_path, machine_id("host", str(number)), "x")
        folder.mkdir(parents=True)
        (folder / "node.toml").write_text(text)
    assert node_names(tmp_path) == ["ant", "bee"]


def test_a_machine_keeps_its_id_and_shares_it_with_none() -> None:
    assert machine_id("a", "1\n") == machine_id("a", "1")
    assert len({machine_id("a", "1"), machine_id("a", "2"), machine_id("b", "1")}) == 3
