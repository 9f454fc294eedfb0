"""Scenario `suspicion`: slow nodes and slow links, and who is called dead for it. Engines of membership alone.

Nobody dies. A tenth of all messages is held up (each way between two nodes stalls a tenth of the time, and what is sent
meanwhile comes after), and one node of them all is stopped half of the time. It runs with stalls of up to twenty
seconds, with local health on and off side by side, and with stalls of up to one second, where not even the stopped node
may be called dead.
"""

from __future__ import annotations

import hashlib
import random
from typing import Final

import msgspec

from ..overlay.config import Membership as MembershipConfig
from ..overlay.membership.detector import Changed
from .checks import Check, check
from .detectors import Mesh, Peer, Stalls
from .entropy import named_stream

HELD_UP: Final = 0.1
LONG: Final = Stalls(HELD_UP, 0.1, 20.0)
SHORT: Final = Stalls(HELD_UP, 0.1, 1.0)
PLAYED_S: Final = 600.0


class Outcome(msgspec.Struct):
    """Who said what of whom."""

    deaths: list[str] = []
    deaths_of_stopped: list[str] = []
    suspicions: int = 0
    held_up: float = 0.0
    digest: str = ""


class Stopper:
    """Stops a node half of the time."""

    def __init__(self, mesh: Mesh, peer: Peer, stalls: Stalls, draws: random.Random) -> None:
        self._mesh = mesh
        self._peer = peer
        self._stalls = stalls
        self._draws = draws

    def run_on(self) -> None:
        self._mesh.at(self._mesh.now_s + self._stalls.draw_s(self._draws), None, self.stop)

    def stop(self) -> None:
        for_s = self._stalls.draw_s(self._draws)
        self._mesh.stop(self._peer, for_s)
        self._mesh.at(self._mesh.now_s + for_s, None, self.run_on)


def observe(nodes: int, seed: int, virtual_s: float, config: MembershipConfig, stalls: Stalls) -> Outcome:
    outcome = Outcome()
    digest = hashlib.sha256()
    stopped = f"n{nodes - 1}"

    def note(now_s: float, peer: Peer, change: Changed) -> None:
        digest.update(f"{now_s:.6f} {peer.own.name} {change.event} {change.member.name}\n".encode())
        outcome.suspicions += change.event == "suspected"
        if change.event == "died":
            said = f"{peer.own.name} said at {now_s:.2f} s that {change.member.name} had died"
            (outcome.deaths_of_stopped if change.member.name == stopped else outcome.deaths).append(said)

    mesh = Mesh(nodes, seed, config, note, stalls)
    Stopper(mesh, mesh.peers[-1], stalls, named_stream(seed, "stopper")).run_on()
    mesh.run(virtual_s)
    outcome.held_up = mesh.held_up()
    outcome.digest = digest.hexdigest()
    return outcome


def play(nodes: int, seed: int, virtual_s: float = PLAYED_S) -> tuple[list[Check], dict[str, object], str]:
    healthy = MembershipConfig()
    plain = msgspec.structs.replace(healthy, local_health=False)
    with_health = observe(nodes, seed, virtual_s, healthy, LONG)
    without = observe(nodes, seed, virtual_s, plain, LONG)
    short = observe(nodes, seed, virtual_s, healthy, SHORT)
    node_days = f"{nodes * virtual_s / 86_400:.3g} node-days"
    checks = [
        check("no healthy node is declared dead, stalls to 20 s", with_health.deaths, node_days),
        check("nobody is declared dead, stalls to 1 s", short.deaths + short.deaths_of_stopped, node_days),
    ]
    figures: dict[str, object] = {}
    for name, one in (("health_on", with_health), ("health_off", without), ("short_stalls", short)):
        figures[f"{name}_healthy_declared_dead"] = len(one.deaths)
        figures[f"{name}_stopped_declared_dead"] = len(one.deaths_of_stopped)
        figures[f"{name}_suspicions"] = one.suspicions
        figures[f"{name}_held_up"] = round(one.held_up, 4)
    digests = "".join(one.digest for one in (with_health, without, short))
    return checks, figures, hashlib.sha256(digests.encode()).hexdigest()
