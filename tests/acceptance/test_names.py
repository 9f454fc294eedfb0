"""Two machines of the same name: none of them is taken for the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import Pool, wait_until
from .test_pairing import machines

__all__ = ["machines"]
pytestmark = pytest.mark.processes


def test_whoever_names_two_nodes_is_asked_which(machines: tuple[Pool, Pool], tmp_path: Path) -> None:
    secret = tmp_path / "given"
    secret.write_text("5a" * 32)
    for machine in machines:
        machine.up("twin", "--slots=1", f"--mesh-secret-file={secret}")
    ids = []
    for machine in machines:
        node = machine.nodes["twin"]
        node.await_ready()
        wait_until(lambda node=node: node.event_times("joined", "twin") != [], "they have met")
        ids.append(node.ready["node_id"])
    here, _ = machines
    for command in (["run", "-c", "print(1)", "--on"], ["audit"]):
        refused = here.call(*command, "twin", "--json")
        assert refused.code == 2
        assert refused.value["error"]["kind"] == "UsageError"
        message = refused.value["error"]["message"]
        assert "2 members are named twin: say which by its node id" in message
        assert all(one[:12] in message for one in ids)

    def entries(node_id: str) -> int:
        found = here.call("audit", node_id[:12], "--json").value
        assert found["node_id"] == node_id
        count: int = found["entries"]
        return count

    for one in ids:
        assert entries(one) == 0
        assert here.call("run", "-c", "print(1)", "--on", one[:12]).code == 0
        wait_until(lambda one=one: entries(one) == 1, "it ran there")
