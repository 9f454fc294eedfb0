"""What a group of a job's tasks asks of nodes, as far as it is known by now."""

from __future__ import annotations

from ...overlay.ids import NodeId
from .placement import Requirements
from .queue import Group
from .tasks import Job


def requirements_of(job: Job, group: Group, python: str) -> Requirements:
    """`python` is the minor version here, which has pickled what does not say another."""
    programs = job.programs[group[0]]
    program, options = programs.program, job.options
    return Requirements(
        kind=group[1] or options.needs_kind,
        on=options.on,
        python=(program.python or python) if program.form == "callable" else "",
        confidential=options.confidential,
        nested=job.origin is not None,
        as_guest=job.origin is not None and job.origin.as_guest,
        resources=options.needs,
        network=options.network,
        refused_by=frozenset((*job.refused_by, *programs.impossible_at)),
    )


def refusals_of(job: Job, group: Group) -> dict[NodeId, str]:
    """What nodes have said themselves."""
    return {**job.refused_by, **job.programs[group[0]].impossible_at}
