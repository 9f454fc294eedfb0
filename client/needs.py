"""What a task asks of its node: `needs={"cpu": 2, "ram": "1G", "gpu": 1, "label": "room:12", "kind": "k"}`; and the
most it may take: `limits={"memory": "1G", "cpu": 10, "processes": 20, "disk": "1M", "output": "1M"}`. Sizes are
bytes, or text as people write it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Final

from ..overlay.errors import UsageError
from ..overlay.wire.limits import Limits
from ..overlay.wire.needs import Needs
from .sizes import size_of

COUNT_MAX: Final = (1 << 53) - 1
_KNOWN: Final = ("cpu", "ram", "gpu", "label", "kind")
_SIZES: Final = ("ram", "memory", "disk", "output")
_LIMITED: Final = ("memory", "cpu", "processes", "disk", "output")
_TEXT_CHARS_MAX: Final = 256
_LABELS_MAX: Final = 64


def resources_of(needs: Mapping[str, object]) -> Needs:
    """Raises UsageError."""
    for name in needs:
        if name not in _KNOWN:
            raise UsageError(f"needs {name!r}: one of {', '.join(_KNOWN)}")
    labels = tuple(sorted(_label(one) for one in _several(needs.get("label", ()))))
    if len(labels) > _LABELS_MAX:
        raise UsageError(f"needs: at most {_LABELS_MAX} labels")
    return Needs(_count(needs, "cpu"), _count(needs, "ram"), _count(needs, "gpu"), labels)


def limits_of(limits: Mapping[str, object]) -> Limits:
    """Raises UsageError."""
    for name, most in limits.items():
        if name not in _LIMITED:
            raise UsageError(f"limits {name!r}: one of {', '.join(_LIMITED)}")
        if most == 0:
            raise UsageError(f"limits {name} 0: more than 0; what is left out has no limit")
    cpu_s = limits.get("cpu", 0)
    if not isinstance(cpu_s, int | float) or not 0 <= cpu_s <= COUNT_MAX:
        raise UsageError(f"limits cpu {cpu_s!r}: seconds")
    memory, processes, disk, output = (_count(limits, name, "limits") for name in _LIMITED if name != "cpu")
    return Limits(memory, float(cpu_s), processes, disk, output)


def kind_of(needs: Mapping[str, object]) -> str:
    kind = needs.get("kind", "")
    if not isinstance(kind, str) or len(kind) > _TEXT_CHARS_MAX:
        raise UsageError(f"needs kind {kind!r}: the letters that instructions of the kind begin with")
    return kind


def _count(needs: Mapping[str, object], name: str, option: str = "needs") -> int:
    given = needs.get(name, 0)
    if isinstance(given, str) and name in _SIZES:
        given = _size(given, f"{option} {name}")
    try:
        number = operator.index(given)  # type: ignore[arg-type]  # what is none is refused below
    except TypeError:
        raise UsageError(f"{option} {name} {given!r}: a whole number") from None
    if not 0 <= number <= COUNT_MAX:
        raise UsageError(f"{option} {name} {given!r}: from 0 to {COUNT_MAX}")
    return number


def _size(text: str, what: str) -> int:
    try:
        return size_of(text)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from None


def _several(labels: object) -> Iterable[object]:
    if isinstance(labels, Mapping):
        return [f"{name}:{value}" if ":" not in str(name) else (name, value) for name, value in labels.items()]
    return (labels,) if isinstance(labels, str) or not isinstance(labels, Iterable) else labels


def _label(label: object) -> tuple[str, str]:
    name, colon, value = label.partition(":") if isinstance(label, str) else ("", "", "")
    if not (name and colon) or max(len(name), len(value)) > _TEXT_CHARS_MAX:
        raise UsageError(f"needs label {label!r}: write it NAME:VALUE")
    return name, value
