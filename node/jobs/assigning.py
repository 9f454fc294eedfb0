"""What a node is told of tasks: those that it is given, and those that are taken from it again."""

from __future__ import annotations

from collections.abc import Iterable

from ...overlay.ids import NodeId
from ...overlay.wire.work import CancelInstructions, Instruction, InstructionAssignment
from .batches import BATCH_COUNT_MAX
from .effects import Assign, CancelAt
from .task import Task
from .tasks import Job


def assignments(job: Job, node_id: NodeId, tasks: Iterable[Task], *, known_only: bool = False) -> list[Assign]:
    """One per program, with its body where the node does not have it yet, after what it needs."""
    by_program: dict[bytes, list[Instruction]] = {}
    for task in tasks:
        instruction = Instruction(task.index, task.arguments, task.kind, task.attempt, task.checkpoint, task.suspended)
        by_program.setdefault(task.program, []).append(instruction)
    made: list[Assign] = []
    for program_id, instructions in by_program.items():
        for library in job.programs[program_id].program.libraries:
            if node_id not in job.programs[library].known_at:
                made.append(_assignment(job, node_id, library, []))
        made.append(_assignment(job, node_id, program_id, instructions, known_only=known_only))
    return made


def cancellations(job: Job, node_id: NodeId, indexes: list[int], *, unbegun_only: bool = False) -> list[CancelAt]:
    parts = (indexes[start : start + BATCH_COUNT_MAX] for start in range(0, len(indexes), BATCH_COUNT_MAX))
    return [CancelAt(node_id, CancelInstructions(job.job_id, job.epoch, part, unbegun_only)) for part in parts]


def _assignment(
    job: Job, node_id: NodeId, program_id: bytes, instructions: list[Instruction], *, known_only: bool = False
) -> Assign:
    programs = job.programs[program_id]
    program = programs.without_body if node_id in programs.known_at else programs.program
    programs.known_at.add(node_id)
    options = job.options
    return Assign(
        node_id,
        InstructionAssignment(
            job.job_id,
            job.epoch,
            program,
            instructions,
            timeout_s=options.timeout_s,
            priority=options.priority,
            trust_results=options.trust_results,
            known_only=known_only,
            streams_output=options.streams_output or options.lasting,
            takes_input=options.takes_input,
            process_type=options.process_type,
            estimate_s=options.estimate_s,
            owner=job.origin.owner if job.origin is not None else b"",
            lineage=job.origin.lineage if job.origin is not None else None,
            limits=options.limits,
            needs=options.needs,
            network=options.network,
            at_most_once=options.at_most_once,
            confidential=options.confidential,
            lasting=options.lasting,
        ),
    )
