"""Names of files that go with tasks, and which of them a glob asks for."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.errors import LimitExceeded, NotAllowed, RemoteProtocolError
from potluck.overlay.wire.setting import (
    FILES_BYTES_MAX,
    Setting,
    WithFiles,
    check_name,
    encoded,
    files_in,
    matches,
    setting_in,
)
from potluck.overlay.wire.work import Inline

NAMES = st.text("a./\\\0*?", max_size=8)


@given(NAMES)
def test_a_name_that_is_let_through_stays_in_its_folder(name: str) -> None:
    try:
        check_name(name)
    except NotAllowed:
        return
    landed = posixpath.normpath(posixpath.join("/some/folder", name))
    assert landed == f"/some/folder/{name}"


@pytest.mark.parametrize("name", ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/", "a\\b", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(NotAllowed):
        check_name(name)


@pytest.mark.parametrize(
    ("glob", "wanted", "others"),
    [
        ("*.csv", ["a.csv", "b.c.csv"], ["d/a.csv", ".csv", ".a.csv", "a.csvx", "a.csv\n"]),
        ("out/*", ["out/a"], ["out/.a", "out/b/c", "out", "a"]),
        ("**", ["a", "a/b", "a/b/c"], [".a", "a/.b", ".a/b"]),
        ("out/**", ["out/a", "out/b/c"], ["out", "a", "out/.x", "outer/a"]),
        ("**/x.txt", ["x.txt", "a/x.txt", "a/b/x.txt"], ["a/yx.txt", ".a/x.txt"]),
        ("?.[a]", ["x.[a]"], ["xy.[a]", "x.a"]),
        (".*", [".a"], ["a", "a/.b"]),
    ],
)
def test_globs_mean_what_they_mean_in_a_shell(glob: str, wanted: list[str], others: list[str]) -> None:
    assert [name for name in [*wanted, *others] if matches(name, glob)] == wanted


@given(st.lists(st.sampled_from(["a", "b", ".c"]), min_size=1, max_size=4).map("/".join))
def test_a_name_without_wildcards_asks_for_itself_alone(name: str) -> None:
    assert matches(name, name)
    assert not matches(name + "/a", name) and not matches("a/" + name, name)


def test_what_comes_back_is_looked_at_before_it_is_believed() -> None:
    good = WithFiles(Inline(b"value"), {"a/b": b"content"})
    assert files_in(encoded(good)) == good
    with pytest.raises(NotAllowed):
        files_in(encoded(WithFiles(Inline(b""), {"../a": b""})))
    with pytest.raises(LimitExceeded):
        files_in(encoded(WithFiles(Inline(b""), {"a": bytes(FILES_BYTES_MAX + 1)})))


@given(st.binary(max_size=40))
def test_nonsense_is_an_error_of_ours(data: bytes) -> None:
    for read in (files_in, setting_in):
        try:
            read(Inline(data))
        except (RemoteProtocolError, NotAllowed, LimitExceeded):
            pass


def test_a_setting_survives_its_way() -> None:
    setting = Setting({"A": "1"}, {"a": b"x"}, ["*.txt"])
    assert setting_in(encoded(setting)) == setting
    assert Setting({"A": "1"}).is_plain and not setting.is_plain
