"""A check that cannot fail proves nothing: nodes are broken on purpose, and the right check notices."""

from __future__ import annotations

from typing import Any

import pytest
from potluck.node.jobs.service import Jobs
from potluck.overlay.dht.store import RecordStore
from potluck.overlay.links.link import Link
from potluck.overlay.membership.detector import Detector
from potluck.overlay.membership.service import Membership
from potluck.simulations.sandbox import VirtualWorker

from .planted import Bug, broken_checks, forgetful, lying, undying


def _stammering(original: Any) -> Any:
    def tell(self: Jobs, effect: Any) -> None:
        original(self, effect)
        original(self, effect)

    return tell


def _trusting(original: Any) -> Any:
    """Nobody is ever accused of anything."""
    return lambda self, now_s, member, accusers, told_s=0.0: []


def _nervous(original: Any) -> Any:
    """Calls every linked member dead after ten seconds."""

    def tick(self: Detector, now_s: float, heard_s: Any) -> Any:
        effects = original(self, now_s, heard_s)
        for member in self.present() if 10 < now_s < 10.3 else []:
            effects += self.link_down(now_s, member.node_id, member.boot_id, left=False)
            effects += self.dial_failed(now_s, member.node_id, refused=True)
        return effects

    return tick


def _failing(original: Any) -> Any:
    def probed(self: Membership, link: Link, message: Any) -> None:
        if self._identity.name == "b1":  # nobody has business with it, so that the scenario goes on
            raise ZeroDivisionError("sabotage")
        original(self, link, message)

    return probed


@pytest.mark.parametrize(
    "owner,name,sabotage,check",
    [
        (VirtualWorker, "_value", lying, "every task finished once, with the right value"),
        (Jobs, "_tell", _stammering, "no task was accepted twice"),
        (RecordStore, "put", forgetful, "acknowledged memory is readable everywhere"),
        (Detector, "_accuse", _trusting, "the dead are known to all"),
        (Detector, "tick", _nervous, "the living are not called dead"),
        (Membership, "_probed", _failing, "no node failed"),
        (VirtualWorker, "kill", undying, "nothing is left running"),
    ],
)
def test_the_right_check_notices(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, sabotage: Bug, check: str
) -> None:
    assert check in broken_checks(monkeypatch, owner, name, sabotage, "jobs", nodes=5, seed=3, kill=0.4)
