"""What happened in one run, as one HTML file that needs nothing else: a lane for each node, with its lives, what befell
it, and what its programs, or its overlay, looked up and did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from typing import Any, Final, Protocol

from .events import Event, Span
from .programs import Deed

_PLACE: Final = "/*DATA*/"
_TEMPLATE: Final = "picture.html"

Story = dict[str, Any]
"""What the page shows, as JSON."""


class Lived(Protocol):
    """A machine or an overlay."""

    @property
    def name(self) -> str: ...

    @property
    def lives(self) -> Sequence[Span]: ...

    @property
    def pauses(self) -> Sequence[Span]: ...


def story_of(nodes: Sequence[Lived], events: Sequence[Event], until_s: float, deeds: Iterable[Deed]) -> Story:
    lanes = {node.name: number for number, node in enumerate(nodes)}
    return {
        "until_s": until_s,
        "lanes": [
            {"name": node.name, "lives": _times(node.lives, until_s), "pauses": _times(node.pauses, until_s)}
            for node in nodes
        ],
        "faults": list(_faults(events, until_s)),
        "operations": [
            [lanes[deed.node], deed.called_s, _time(deed.returned_s), deed.kind, deed.key, deed.error] for deed in deeds
        ],
        "events": [[event.at_s, lanes[event.node], event.event, event.detail] for event in _of(events, lanes)],
    }


def page(story: Story, answer: dict[str, object]) -> str:
    """`answer` is what `--json` prints."""
    title = f"{answer['scenario']}, seed {answer['seed']}, {answer['nodes']} nodes"
    data = {**story, "title": title, "replay": answer["replay"], "checks": answer["checks"]}
    template = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    # Inside a script element nothing but its end tag means anything.
    return template.replace(_PLACE, json.dumps(data).replace("</", "<\\/"))


def _times(spans: Sequence[Span], until_s: float) -> list[list[float]]:
    return [[span.began_s, min(span.ended_s, until_s)] for span in spans]


def _time(time_s: float) -> float | None:
    return None if time_s == math.inf else time_s


def _faults(events: Sequence[Event], until_s: float) -> Iterator[dict[str, object]]:
    """Each from where the log says that it began to where it says that it is over."""
    open_now: dict[tuple[str, str], list[dict[str, object]]] = {}
    for event in events:
        if event.event == "fault":
            kind, _, rest = event.detail.partition(" ")
            whom = rest.partition(" for ")[0].split()
            fault = {"kind": kind, "whom": whom, "began": event.at_s, "ended": until_s, "detail": event.detail}
            open_now.setdefault((event.node, kind), []).append(fault)
            yield fault
        elif event.event == "over" and (begun := open_now.get((event.node, event.detail))):
            begun.pop(0)["ended"] = event.at_s


def _of(events: Sequence[Event], lanes: dict[str, int]) -> Iterator[Event]:
    return (event for event in events if event.node in lanes and event.event not in ("fault", "over"))
