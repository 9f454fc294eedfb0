"""What is said to a detector, and what it does about it."""

from __future__ import annotations

import random
from collections.abc import Iterable

from potluck.overlay.config import Links, Membership
from potluck.overlay.ids import NodeId
from potluck.overlay.membership.detector import Changed, Detector, Effect
from potluck.overlay.membership.exchange import Self, Tell
from potluck.overlay.membership.members import LIFE
from potluck.overlay.wire.gossip import MemberNews, PeerExchange, Status

CONFIG = Membership()
OWN = NodeId(bytes(20))
OWN_BOOT = bytes(16)
IDS = [NodeId(bytes([n]) * 20) for n in range(1, 5)]
STRANGER = NodeId(bytes([99]) * 20)
BOOTS = [bytes([n + 1]) * 16 for n in range(3)]
PATIENCE_S = CONFIG.probe_interval_s + CONFIG.probe_timeout_s + CONFIG.indirect_timeout_s


def news(
    node_id: NodeId,
    boot: int = 0,
    status: Status = Status.ALIVE,
    refuted: int = 0,
    accusers: Iterable[NodeId] = (),
) -> MemberNews:
    """A later boot has a higher incarnation, as nodes count them."""
    incarnation = (boot + 1) * LIFE + refuted
    boot_id = OWN_BOOT if node_id == OWN else BOOTS[boot]
    address = ("10.0.0.1", 9000 + node_id[0])
    return MemberNews(node_id, f"n{node_id[0]}", *address, boot_id, incarnation, status, list(accusers))


def make(config: Membership = CONFIG, now_s: float = 0.0) -> Detector:
    detector = Detector(Self(OWN, "me", OWN_BOOT), config, Links(), random.Random(7))
    detector.begin(now_s, 1)
    return detector


def tell(detector: Detector, now_s: float, *items: MemberNews, sender: NodeId = STRANGER) -> list[Effect]:
    return detector.exchanged(now_s, sender, PeerExchange(list(items)), {sender: now_s})


def events(effects: Iterable[Effect]) -> list[str]:
    return [effect.event for effect in effects if isinstance(effect, Changed)]


def told(effects: Iterable[Effect], to: NodeId | None = None) -> list[MemberNews]:
    return [
        item
        for effect in effects
        if isinstance(effect, Tell) and to in (None, effect.to)
        for item in effect.message.members
    ]


def run(detector: Detector, until_s: float, heard_s: dict[NodeId, float] | None = None) -> list[tuple[float, Effect]]:
    """Ticks when it wants them, until a time; what it did and when."""
    story: list[tuple[float, Effect]] = []
    while (now_s := detector.due_s) <= until_s:
        story += [(now_s, effect) for effect in detector.tick(now_s, heard_s or {})]
        detector.check()
        assert detector.due_s > now_s, "a tick that is due again at once would never let time pass"
    return story


def changes(story: Iterable[tuple[float, Effect]]) -> list[tuple[float, str]]:
    return [(at_s, effect.event) for at_s, effect in story if isinstance(effect, Changed)]
