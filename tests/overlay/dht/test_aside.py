"""Who is set aside, and for how long, against a model that keeps everything."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from potluck.overlay.dht.aside import KEPT_MAX, PAUSE_MAX_S, PAUSE_S, Aside
from potluck.overlay.ids import NodeId

nodes = st.integers(1, 4).map(lambda n: NodeId(bytes([n]) * 20))


class AsideMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.aside = Aside()
        self.now_s = 0.0
        self.until_s: dict[NodeId, float] = {}
        self.silences: dict[NodeId, int] = {}

    @rule(pause_s=st.floats(0, 2 * PAUSE_MAX_S))
    def time_passes(self, pause_s: float) -> None:
        self.now_s += pause_s

    @rule(node_id=nodes)
    def is_silent(self, node_id: NodeId) -> None:
        self.aside.put(self.now_s, node_id)
        if self.until_s.get(node_id, 0.0) <= self.now_s:
            self.silences[node_id] = self.silences.get(node_id, 0) + 1
            length_s = min(PAUSE_S * 2 ** (self.silences[node_id] - 1), PAUSE_MAX_S)
            self.until_s[node_id] = self.now_s + length_s

    @rule(node_id=nodes)
    def is_heard(self, node_id: NodeId) -> None:
        assert self.aside.release(node_id) == (node_id in self.until_s)
        self.until_s.pop(node_id, None)
        self.silences.pop(node_id, None)

    @invariant()
    def agrees(self) -> None:
        for number in range(1, 5):
            node_id = NodeId(bytes([number]) * 20)
            assert self.aside.holds(self.now_s, node_id) == (self.until_s.get(node_id, 0.0) > self.now_s)


TestAside = AsideMachine.TestCase


def test_no_number_of_silent_contacts_fills_the_memory() -> None:
    aside = Aside()
    for number in range(2 * KEPT_MAX):
        aside.put(0.0, NodeId(number.to_bytes(20, "big")))
    assert len(aside) == KEPT_MAX
    assert not aside.holds(1.0, NodeId(bytes(20)))
