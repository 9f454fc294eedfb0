"""Control groups as folders, where the kernel refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from potluck.node.sandboxes import cgroups


def test_a_group_that_cannot_be_set_up_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its controller is there, and not for us: each of a node's tries would leave one."""

    def refused(folder: Path | None, name: str, number: int) -> None:
        if name == "cpu.weight":
            raise PermissionError(13, name)

    monkeypatch.setattr(cgroups, "_write", refused)
    (tmp_path / "one").mkdir()
    group = cgroups.Group(tmp_path / "two", {"cpu": tmp_path / "one" / "group"})
    with pytest.raises(PermissionError):
        group.make()
    assert [path.name for path in tmp_path.rglob("*")] == ["one"]
