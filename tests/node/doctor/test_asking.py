"""Which addresses a node is judged by."""

from __future__ import annotations

import pytest
from potluck.node.doctor.asking import _addresses_now
from potluck.overlay.transport import interfaces
from potluck.overlay.transport.interfaces import LOOPBACK


@pytest.mark.parametrize(
    ("real", "interface", "wanted"),
    [
        (["10.0.0.9"], None, ["10.0.0.9"]),
        (["10.0.0.9"], LOOPBACK, [LOOPBACK]),
        (["10.0.0.9"], "10.0.0.8", []),
        ([], None, [LOOPBACK]),
    ],
    ids=["a network", "stays alone", "its address is gone", "no network"],
)
def test_it_is_held_against_where_it_would_start_now(
    monkeypatch: pytest.MonkeyPatch, real: list[str], interface: str | None, wanted: list[str]
) -> None:
    here = [("lo", LOOPBACK), *(("eth0", address) for address in real)]
    monkeypatch.setattr(interfaces, "_addresses", lambda: here)
    assert list(_addresses_now(interface)) == wanted
