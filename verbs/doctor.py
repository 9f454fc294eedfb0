"""`potluck doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..overlay.errors import ConfigError, NoNode
from ..overlay.wire.control import AskDoctor, AskStatus
from .answer import Answer, Session, verb
from .asking import ask_json, connected
from .reading import sandbox_option

if TYPE_CHECKING:
    from ..node.doctor.findings import Finding


@verb("doctor", summary="Say what is wrong here, and what to do about it.")
@click.option(
    "--interface", metavar="IP|IFNAME", envvar=["POTLUCK_INTERFACE"], help="The one to look at while no node runs."
)
@sandbox_option("The one to look at.")
def command(session: Session, interface: str | None, sandbox: str) -> Answer:
    """Say what is wrong here, and what to do about it. Asks the running node; checks what it can without one."""
    from ..node.doctor import machine

    data_dir = session.surroundings.data_dir
    own = [machine.sandbox(sandbox), machine.files(data_dir), machine.disk(data_dir), machine.gpus()]
    rows = [*_of_node(session, interface), *(finding.as_dict() for finding in own)]
    failed = any(not row["ok"] and row["matters"] for row in rows)
    return Answer(rows, "\n".join(_lines(rows)), exit_code=int(failed))


def _of_node(session: Session, interface: str | None) -> list[dict[str, Any]]:
    try:
        with connected(session) as connection:
            rows: list[dict[str, Any]] = ask_json(connection, AskDoctor)
            return [*rows, *_of_its_mesh(session, ask_json(connection, AskStatus))]
    except NoNode as error:
        if session.node or session.surroundings.node:
            raise
        from ..node.doctor.findings import worth_knowing

        absent = worth_knowing("node", str(error), "`potluck up`")
        return [finding.as_dict() for finding in (absent, *_of_network(interface))]


def _of_its_mesh(session: Session, status: dict[str, Any]) -> list[dict[str, Any]]:
    """A node that did not follow when its data directory was moved."""
    from ..node.doctor.findings import wrong
    from ..overlay.identity.mesh import present_mesh

    try:
        mesh = present_mesh(session.surroundings.data_dir)
    except (ConfigError, OSError):
        return []  # told with the files
    if mesh is None or mesh.mesh_id == status["mesh"]:
        return []
    detail = f"{status['name']} runs in mesh {status['mesh']}, and this machine has joined {mesh.mesh_id} meanwhile"
    return [
        wrong("mesh", detail, f"`potluck down {status['name']}`, then `potluck up --name {status['name']}`").as_dict()
    ]


def _of_network(interface: str | None) -> list[Finding]:
    import trio

    from ..node.doctor import machine
    from ..overlay.config import Discovery
    from ..overlay.transport.interfaces import choose

    seen = machine.interfaces(interface)
    try:
        addresses = choose(interface)
    except ConfigError:
        return [seen]
    heard = trio.run(machine.multicast_alone, addresses, Discovery())
    return [seen, heard, trio.run(machine.port, addresses), machine.versions()]


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    """One for each check, and below it what to do."""
    width = max(len(row["check"]) for row in rows)
    lines = []
    for row in rows:
        mark = "ok  " if row["ok"] else "BAD " if row["matters"] else "note"
        lines.append(f"{mark}  {row['check'].ljust(width)}  {row['detail']}")
        if row["fix"]:
            lines.append(f"{' ' * (8 + width)}→ {row['fix']}")
    return lines
