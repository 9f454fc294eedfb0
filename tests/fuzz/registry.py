"""Every target by name."""

from __future__ import annotations

from . import member_target, stranger_target, trust_targets, typed_targets, wire_targets
from .target import Target

TARGETS: dict[str, Target] = {
    **wire_targets.TARGETS,
    **stranger_target.TARGETS,
    **trust_targets.TARGETS,
    **typed_targets.TARGETS,
    **member_target.TARGETS,
}
