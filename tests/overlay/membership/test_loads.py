"""The latest load report of each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.membership.loads import Loads
from potluck.overlay.wire.capabilities import LoadReport
from potluck.overlay.wire.gossip import LoadNews

from .stories import BOOTS, IDS


@given(reports=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), max_size=20))
def test_a_load_report_is_replaced_by_later_ones_only(reports: list[tuple[int, int]]) -> None:
    loads = Loads()
    latest: tuple[int, int] | None = None
    for boot, sequence in reports:
        newer = loads.heard(1.0, [LoadNews(IDS[0], BOOTS[boot], LoadReport(sequence))])
        expected = latest is None or latest[0] != boot or sequence > latest[1]
        assert newer == ([IDS[0]] if expected else [])
        latest = (boot, sequence) if expected else latest
    if latest is not None:
        assert loads.known[IDS[0]].report.sequence == latest[1]
    loads.forget(IDS[0])
    assert not loads.known
