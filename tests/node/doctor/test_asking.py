"""Which addresses a node is judged by."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from potluck.node.doctor.asking import _addresses_now
from potluck.overlay.transport import interfaces
from potluck.overlay.transport.interfaces import LOOPBACK


@pytest.mark.parametrize(
    ("real", "interface", "started_on", "now"),
    [
        (["10.0.0.9"], None, [LOOPBACK], ["10.0.0.9"]),
        (["10.0.0.9"], LOOPBACK, [LOOPBACK], [LOOPBACK]),
        (["10.0.0.9"], "10.0.0.8", ["10.0.0.8"], []),
        ([], None, [LOOPBACK], [LOOPBACK]),
        ([], None, ["10.0.0.8"], []),
    ],
    ids=["network came later", "stays alone", "its address is gone", "never a network", "its network is gone"],
)
def test_it_is_held_against_where_it_would_start_now(
    monkeypatch: pytest.MonkeyPatch,
    real: list[str],
    interface: str | None,
    started_on: Sequence[str],
    now: list[str],
) -> None:
    here = [("lo", LOOPBACK), *(("eth0", address) for address in real)]
    monkeypatch.setattr(interfaces, "_addresses", lambda: here)
    assert list(_addresses_now(interface, started_on)) == now
