"""A lasting job that is waited for, when nobody is left who could tell of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from potluck.overlay.errors import LinkLost
from potluck.verbs.answer import Session
from potluck.verbs.following import told_elsewhere


def test_who_cannot_wait_on_is_told_the_name_of_the_job(tmp_path: Path) -> None:
    environment = {"POTLUCK_DATA_DIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    session = Session(environment, lambda _event, _line: None)
    with pytest.raises(LinkLost, match="the job goes on: `potluck job abc`"):
        told_elsewhere(session, "abc", LinkLost("the node is gone"), None, patience_s=0.1)
