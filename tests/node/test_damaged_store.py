"""A database that the disk does not give back as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from potluck.node.daemon import BOOTS
from potluck.node.process import begin_anew_without_state
from potluck.node.store import SqliteStore
from potluck.overlay.errors import ConfigError


def write(path: Path) -> None:
    async def written() -> None:
        store = SqliteStore(path)
        for number in range(300):
            store.put("t", b"%d" % number, bytes(100))
        await store.commit()
        await store.aclose()

    trio.run(written)


def read(path: Path) -> None:
    store = SqliteStore(path)
    try:
        store.get("t", b"7")
        list(store.scan("t"))
    finally:
        trio.run(store.aclose)


@pytest.mark.parametrize("start", [0, 4096], ids=["its head", "its pages"])
def test_it_is_said_in_one_line_with_what_to_do(tmp_path: Path, start: int) -> None:
    path = tmp_path / "node" / "state.db"
    path.parent.mkdir()
    write(path)
    read(path)
    content = bytearray(path.read_bytes())
    content[start::7] = bytes(0x55 ^ one for one in content[start::7])
    path.write_bytes(bytes(content))
    with pytest.raises(ConfigError, match=f"move {path.parent} away, and the node begins anew") as raised:
        read(path)
    assert "\n" not in str(raised.value)


def test_whose_disk_is_full_is_not_told_to_give_up_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    write(path)
    path.write_bytes(path.read_bytes()[:5000])  # as SQLite finds it that can make no journal beside it
    monkeypatch.setattr("potluck.node.store.shutil.disk_usage", lambda _folder: SimpleNamespace(free=4096))
    with pytest.raises(ConfigError, match="no space is left on its disk, make room there"):
        read(path)


UNDER_A_LIMIT = """
import os, resource, sys
from pathlib import Path
import trio
from potluck.node.store import SqliteStore
from potluck.overlay.errors import ConfigError

def start():
    SqliteStore(Path(sys.argv[1]))

open_now = len(os.listdir("/proc/self/fd")) - 1
which, most = LIMITS
resource.setrlimit(which, (most, most))
try:
    start()
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("limit", "advice"),
    [("resource.RLIMIT_NOFILE, open_now + 1", "`ulimit -n`"), ("resource.RLIMIT_FSIZE, 4096", "`ulimit -f`")],
    ids=["open files", "long files"],
)
def test_whose_process_is_limited_is_not_told_to_give_up_what_is_there(tmp_path: Path, limit: str, advice: str) -> None:
    command = [sys.executable, "-c", UNDER_A_LIMIT.replace("LIMITS", limit), str(tmp_path / "state.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert advice in done.stdout and "move" not in done.stdout, done


def test_what_was_large_and_is_gone_is_given_back_to_the_disk(tmp_path: Path) -> None:
    async def grow_and_shrink() -> None:
        path = tmp_path / "state.db"
        store = SqliteStore(path)
        for number in range(60):
            store.put("t", bytes([number]), bytes(1 << 20))
        await store.commit()
        assert path.stat().st_size + journal_bytes(path) > 60 << 20
        for number in range(60):
            store.delete("t", bytes([number]))
        for number in range(8):
            store.put("t", b"other", bytes([number]))
            await store.commit()
        assert path.stat().st_size < 24 << 20 and journal_bytes(path) <= 16 << 20
        await store.aclose()

    trio.run(grow_and_shrink)


def journal_bytes(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


@pytest.mark.parametrize("how", ["gone", "emptied"])
def test_a_node_whose_state_is_gone_is_another_node(tmp_path: Path, how: str) -> None:
    state, key = tmp_path / "state.db", tmp_path / "key"

    def start(*, counts: bool = True) -> None:
        async def started() -> None:
            store = SqliteStore(state)
            begin_anew_without_state(tmp_path, store)
            if counts:
                store.put(*BOOTS, b"1")
            await store.aclose()

        trio.run(started)

    start()
    key.touch()
    start()
    assert key.exists()
    if how == "gone":
        state.unlink()
    else:
        state.write_bytes(b"")
    start(counts=False)
    assert not key.exists()
