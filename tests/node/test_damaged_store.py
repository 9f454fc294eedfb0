"""A database that the disk does not give back as it was."""

from __future__ import annotations

from pathlib import Path

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
