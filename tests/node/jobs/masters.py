"""Workers, programs and reports for trying a master."""

from __future__ import annotations

from collections.abc import Sequence

from potluck.node.jobs.effects import Assign, Effect, Tell
from potluck.node.jobs.master import Master
from potluck.node.jobs.placement import Worker
from potluck.overlay.config import Jobs
from potluck.overlay.errors import Cancelled, LinkLost, NotAllowed, NotFound, WorkerLost
from potluck.overlay.ids import NodeId
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.work import Fault, Finished, Inline, Program, Report, Returned, Started

CONFIG = Jobs(window_max=4, loose_max=2)
GRACE_S = 5.0
LIBRARY = Program(bytes([9]) * 32, "library", body=Inline(b"files"))
PROGRAMS = {
    form: Program(
        bytes([n]) * 32,
        form,
        body=None if form == "kind" else Inline(b"body"),
        libraries=[LIBRARY.program_id] if form == "callable" else [],
    )
    for n, form in enumerate(("callable", "function", "kind"))
}
FORM_OF = {program.program_id: form for form, program in PROGRAMS.items()}
IDS = [NodeId(bytes([n]) * 20) for n in range(5)]
ABLE = {
    IDS[0]: ("here", Capabilities(slots=2, cpus=2, kinds=["a"], python="3.11"), True),
    IDS[1]: ("own", Capabilities(slots=1, cpus=1, kinds=["a", "b"], python="3.12"), True),
    IDS[2]: ("friendly", Capabilities(slots=3, cpus=3, kinds=["b"], python="3.11", runs_others=True), False),
    IDS[3]: ("closed", Capabilities(slots=4, cpus=4, kinds=["a", "b"], python="3.11"), False),
    IDS[4]: ("routes", Capabilities(slots=0, cpus=1, kinds=["a", "b"], python="3.11"), True),
}


def worker(node_id: NodeId, boot: int = 0) -> Worker:
    name, able, own = ABLE[node_id]
    return Worker(node_id, name, bytes([boot]) * 16, able, own=own, here=node_id == IDS[0])


def report_of(outcome: str, index: int, attempt: int, elapsed_s: float) -> Report:
    match outcome:
        case "started":
            return Started(index, attempt)
        case "ok":
            return Finished(index, attempt, value=Inline(b"v"), elapsed_s=elapsed_s)
        case "error":
            return Finished(index, attempt, fault=Fault(41, "ValueError"), elapsed_s=elapsed_s)
        case "lost":
            return Finished(index, attempt, fault=Fault(WorkerLost.wire_code, "killed"))
        case "full":
            return Returned(index, attempt, NotAllowed.wire_code, "no")
        case "unfetched":
            return Returned(index, attempt, LinkLost.wire_code, "an object did not arrive")
        case "recalled":
            return Returned(index, attempt, Cancelled.wire_code, "it was asked back")
        case _:
            return Returned(index, attempt, NotFound.wire_code, "program missing")


def submitted(master: Master, count: int, form: str = "function", **options: object) -> list[Effect]:
    master.open("j", JobOptions(**options))  # type: ignore[arg-type]
    master.submit(0.0, "j", LIBRARY, [])
    return master.submit(0.0, "j", PROGRAMS[form], [TaskSpec(n, Inline(b"x")) for n in range(count)])


def placed(effects: Sequence[Effect]) -> dict[NodeId, list[int]]:
    given: dict[NodeId, list[int]] = {}
    for effect in effects:
        if isinstance(effect, Assign):
            given.setdefault(effect.node_id, []).extend(one.index for one in effect.assignment.instructions)
    return given


def finished(effects: Sequence[Effect]) -> list[Finished]:
    tells = [effect for effect in effects if isinstance(effect, Tell)]
    return [report for tell in tells for report in tell.reports if isinstance(report, Finished)]
