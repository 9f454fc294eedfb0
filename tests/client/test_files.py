"""Files that go with tasks are read once, and what comes home stays in the folder that was meant."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.client.files import Home, setting_of
from potluck.overlay.errors import LimitExceeded, NotAllowed, Unavailable, UsageError
from potluck.overlay.wire.setting import FILES_BYTES_MAX

PARTS = st.sampled_from(["a", "b", "..", ".", "", "link", "file", "/tmp", "\0"])
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@given(st.dictionaries(NAMES, st.binary(max_size=3), max_size=4))
def test_whatever_a_node_sends_nothing_outside_is_touched(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as made:
        outside, inside = Path(made, "outside"), Path(made, "outside", "home")
        (outside / "secret").mkdir(parents=True)
        (outside / "a").write_bytes(b"theirs")
        inside.mkdir()
        (inside / "link").symlink_to(outside / "secret")
        (inside / "file").symlink_to(outside / "a")
        try:
            Home(inside, ["**"]).bring(files)
        except (NotAllowed, Unavailable):
            pass
        else:
            for name, content in files.items():
                assert (inside / name).read_bytes() == content
        assert (outside / "a").read_bytes() == b"theirs"
        assert not list((outside / "secret").iterdir())
        assert {path.name for path in outside.iterdir()} == {"a", "secret", "home"}
        assert not list(inside.glob(".*.potluck"))


def test_only_what_was_asked_for_is_written_and_all_of_it_or_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path, ["*.csv", "out/**"])
    home.bring({"a.csv": b"1", "out/x/y": b"2"})
    assert tree(tmp_path) == {"a.csv": b"1", "out/x/y": b"2"}
    with pytest.raises(NotAllowed, match="nobody asked for"):
        home.bring({"b.csv": b"", "job.py": b"evil"})
    assert tree(tmp_path) == {"a.csv": b"1", "out/x/y": b"2"}
    home.bring({"a.csv": b"newer"})
    assert (tmp_path / "a.csv").read_bytes() == b"newer"


def test_inputs_are_taken_as_they_are_now(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"now")
    setting = setting_of({"A": "1"}, [tmp_path / "in.txt"], ["*.txt"])
    (tmp_path / "in.txt").write_bytes(b"later")
    assert setting is not None and setting.inputs == {"in.txt": b"now"}
    assert setting_of({}, [], []) is None


def test_what_makes_no_sense_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(FILES_BYTES_MAX + 1))
    (tmp_path / "half").write_bytes(bytes(FILES_BYTES_MAX // 2 + 1))
    (tmp_path / "other").write_bytes(bytes(FILES_BYTES_MAX // 2 + 1))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder" / "half").write_bytes(b"another")
    with pytest.raises(LimitExceeded, match="big has 1048577 bytes"):
        setting_of({}, [tmp_path / "big"], [])
    with pytest.raises(LimitExceeded, match="2 files"):
        setting_of({}, [tmp_path / "half", tmp_path / "other"], [])
    with pytest.raises(UsageError, match="two inputs are named half"):
        setting_of({}, [tmp_path / "half", tmp_path / "folder" / "half"], [])
    for env, inputs, outputs in (
        ({"": "x"}, [], []),
        ({"A=B": "x"}, [], []),
        ({"A": "\0"}, [], []),
        ({}, [tmp_path / "none"], []),
        ({}, [tmp_path / "folder"], []),
        ({}, [tmp_path / "pipe"], []),
        ({}, ["/dev/zero"], []),
        ({}, "data.csv", []),
        ({}, 3, []),
        ({}, [], "*.csv"),
        ({}, [], [1]),
        ({}, [], ["\udce9"]),
        ({"A": 1}, [], []),
        ({"A": "\udce9"}, [], []),
        ({}, [], ["../x"]),
        ({}, [], ["/x"]),
        ({}, [], [""]),
    ):
        with pytest.raises(UsageError):
            setting_of(env, inputs, outputs)


@pytest.mark.parametrize(
    ("env", "outputs", "said"),
    [("A=1", [], "env 'A=1'"), ({"A": 1}, [], "env: 1 is no text"), ({}, [2], "outputs: 2 is no text")],
)
def test_what_is_no_setting_is_refused_by_the_name_of_its_option(env: Any, outputs: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        setting_of(env, [], outputs)
