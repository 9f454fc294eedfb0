"""What a node knows of its network and its mesh, judged. Pure; `now_s` is the node's running time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec

from ...discovery.heard import Failure, Heard
from ...discovery.tags import PERIOD_S
from ...overlay.ports import Address
from ..timekeeping import RIGHT_S, error_text
from .findings import Finding, well, worth_knowing, wrong

RECENTLY_S: Final = 600.0
_SHOWN_MAX: Final = 5
BANNED_REMEDY: Final = "ask who let you in, or a founder, for a new invite, and take it with `potluck join CODE --anew`"
_LENDING_FIXES: Final = {
    True: "`potluck lend`",
    False: "nothing: it lends again by itself, as it was started to (--lend-hours, --only-when-idle)",
}
_CLOCK_HIDES_S: Final = 2 * PERIOD_S
"""A beacon whose clock is this far off is no member's any more."""


class Member(msgspec.Struct, frozen=True):
    """Another node of the mesh that is linked to this one."""

    name: str
    python: str
    version: str


def several(items: Sequence[str]) -> str:
    more = len(items) - _SHOWN_MAX
    return "; ".join(items[:_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def ago(now_s: float, at_s: float) -> str:
    seconds = max(0.0, now_s - at_s)
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


def multicast(now_s: float, heard: Heard, addresses: Collection[str], echoed: Collection[str], linked: int) -> Finding:
    """`echoed`: from which of the node's addresses its own call has just come back."""
    others = [at_s for at_s in heard.members.entries.values() if now_s - at_s < RECENTLY_S]
    said = (
        f"{counted(len(others), 'other beacon')}, the last {ago(now_s, max(others))}"
        if others
        else "nobody else's beacon"
    )
    silent = sorted(set(addresses) - set(echoed))
    if silent:
        return wrong(
            "multicast",
            f"this node's own beacon is not heard on {', '.join(silent)}",
            "let UDP 9077 to the group 239.255.77.77 through the firewall; else `potluck up --peer HOST:PORT`",
        )
    detail = f"own beacon heard on {', '.join(sorted(echoed))}, {said}"
    if linked and not others:
        return worth_knowing(
            "multicast",
            f"{detail}, though {counted(linked, 'member')} are linked",
            "the switch or the Wi-Fi may hold multicast back: where members do not find each other, give --peer",
        )
    return well("multicast", detail)


def listening(name: str, address: Address, there: Sequence[str], wanted: Sequence[str]) -> Finding:
    """A node goes where its machine is. `there`: on which addresses it listens; `wanted`: on which it would; none while
    the interface that was asked for is not there."""
    if list(there) == list(wanted):
        return well("addresses", f"listens on {', '.join(there)}, as this machine has it")
    anew = f"`potluck down {name}`, then `potluck up` as before"
    if not wanted:
        return wrong(
            "addresses",
            f"the node is to be at {', '.join(there)}, which this machine does not have now",
            f"connect it to its network, and the node goes on there; to have it elsewhere: {anew}, with --interface",
        )
    missing = [f"{one}:{address.port}" for one in wanted if one not in there]
    if not missing:
        return well("addresses", f"listens on {', '.join(wanted)}")
    detail = f"the node does not listen on {', '.join(missing)}: something else may have that port"
    fix = f"end what has it, and the node listens there within seconds; or {anew}: on another port"
    return (wrong if len(missing) == len(wanted) else worth_knowing)("addresses", detail, fix)


def lending(row: Mapping[str, object]) -> Finding:
    if row["lends"]:
        return well("lending", "tasks from elsewhere run here")
    return worth_knowing(
        "lending", f"nothing from elsewhere runs here: {row['reason']}", _LENDING_FIXES[bool(row["paused"])]
    )


def zeroconf(heard: Heard, *, wanted: bool) -> Finding:
    if heard.zeroconf_fault:
        return worth_knowing("mdns", heard.zeroconf_fault, "let UDP 5353 through; the beacon works without it")
    return well("mdns", "announced on UDP 5353" if wanted else "switched off")


def port(address: Address, fault: str | None) -> Finding:
    if fault is None:
        return well("ports", f"TCP {address.port} answers at {address.host}; others must be able to reach it")
    return wrong(
        "ports",
        f"this node does not reach itself at {address}: {fault}",
        f"let TCP {address.port} through the firewall, or choose another with --port or --interface",
    )


def clock(error_s: float, neighbours: int) -> Finding:
    if abs(error_s) < RIGHT_S:
        return well("clock", f"agrees with the others ({counted(neighbours, 'neighbour')} asked)")
    detail = f"{error_text(error_s)} (so {counted(neighbours, 'neighbour')})"
    fix = "set the clock, best by NTP (`timedatectl set-ntp true`), and start the node again"
    hides = abs(error_s) > _CLOCK_HIDES_S
    return wrong("clock", detail, fix) if hides else worth_knowing("clock", detail, fix)


def _remedy(failure: Failure) -> str:
    reason = failure.reason
    if "not of this mesh" in reason:
        return "it is of another mesh: `potluck invite` there and `potluck join CODE` here, or the other way round"
    if "wire version" in reason:
        return "install the same potluck on both machines"
    if "this machine is banned" in reason:
        return BANNED_REMEDY
    if "banned" in reason:
        return "it is banned from this mesh; `potluck mesh members` says so"
    if "no potluck node" in reason:
        return "something else listens there: is that the node's port?"
    if "closed the connection" in reason:
        return (
            "it is of this mesh and ends the conversation: is this machine banned there? Ask for `mesh members` there"
        )
    if "connection refused" in reason.lower():
        return "nothing listens there: is the node up, and is that its port?"
    return "is the machine on, and does its firewall let that TCP port through?"


def _failures(now_s: float, heard: Heard, is_linked: Callable[[Address], bool], *, given: bool) -> dict[str, Failure]:
    return {
        f"{address} ({_tries(one)}, the last {ago(now_s, one.at_s)}): {one.reason}": one
        for address, one in heard.failures.entries.items()
        if one.given == given and now_s - one.at_s < RECENTLY_S and not is_linked(address)
    }


def _tries(failure: Failure) -> str:
    tries = f"{failure.times} tries" if failure.times > 1 else "1 try"
    return f"{tries} since it answered" if failure.answered else f"never answered in {tries}"


def given_peers(now_s: float, heard: Heard, is_linked: Callable[[Address], bool]) -> Finding:
    """Given by the user, or by `join`: the inviter's. Who has answered before may just be switched off."""
    failures = _failures(now_s, heard, is_linked, given=True)
    if not failures:
        return well("peers", "every address given by --peer answers, if any was")
    detail, fix = several(list(failures)), several(_remedies(failures))
    if all(one.answered for one in failures.values()):
        return worth_knowing("peers", f"not there now: {detail}", fix)
    return wrong("peers", f"not there: {detail}", fix)


def unreached(now_s: float, heard: Heard, is_linked: Callable[[Address], bool]) -> Finding:
    """Anybody on the network can make such a sighting up, so that it fails nothing."""
    failures = _failures(now_s, heard, is_linked, given=False)
    if not failures:
        return well("sightings", "every member that was seen is linked")
    return worth_knowing("sightings", several(list(failures)), several(_remedies(failures)))


def _remedies(failures: Mapping[str, Failure]) -> list[str]:
    return list(dict.fromkeys(_remedy(one) for one in failures.values()))


def strangers(now_s: float, heard: Heard, *, alone: bool) -> Finding:
    """Whoever stands alone beside another mesh has most likely not joined it yet."""
    seen = [
        f"{address} ({ago(now_s, at_s)})"
        for address, at_s in heard.strangers.entries.items()
        if now_s - at_s < RECENTLY_S
    ]
    if not seen:
        return well("other meshes", "none is seen here")
    detail = f"nodes of another mesh: {several(seen)}"
    if not alone:
        return well("other meshes", detail)
    return worth_knowing(
        "other meshes",
        detail,
        "to put this machine into theirs: `potluck invite` on one of them, `potluck join CODE` here. If they are of"
        " this mesh, a clock is more than two hours off",
    )


def bans(count: int, banned_from: str | None, same: Mapping[str, bool]) -> Finding:
    """`same`: of neighbours, whether they had the same bans as this node until they were asked."""
    if banned_from:
        return wrong("bans", f"this machine is banned from mesh {banned_from}", BANNED_REMEDY)
    others = sorted(name for name, is_same in same.items() if not is_same)
    if others:
        return worth_knowing(
            "bans",
            f"{several(others)} did not know the same bans as this node, and do now: {count}",
            "nothing, once; where it is said again and again, see whether those machines can write to their disks",
        )
    known = f"{counted(count, 'ban')} known here" + (
        f", the same to {counted(len(same), 'neighbour')} asked" if same else ""
    )
    return well("bans", f"this machine is not banned, as far as it knows; {known}")


def root(mesh_id: str, conflicts: Collection[str]) -> Finding:
    if not conflicts:
        return well("root", f"one mesh, {mesh_id}, as far as it is known here")
    return wrong(
        "root",
        f"this mesh was given two new roots: here it is {mesh_id}, elsewhere {several(sorted(conflicts))}",
        "decide for one of them. On the machines of the other, stop the nodes, move `mesh.toml` and `secret` out of the"
        " data directory, and invite them anew. If nobody of yours has rotated there, the old secret is in other hands",
    )


def versions(own: Member, others: Sequence[Member]) -> Finding:
    python = [f"{one.name} has Python {one.python}" for one in others if one.python != own.python]
    potluck = [f"{one.name} has potluck {one.version}" for one in others if one.version != own.version]
    if not python and not potluck:
        same = f", as on {counted(len(others), 'neighbour')}" if others else ""
        return well("versions", f"potluck {own.version}, Python {own.python}{same}")
    detail = several([f"here potluck {own.version}, Python {own.python}", *python, *potluck])
    fix = "functions run only on nodes of the same Python minor version: install the same one"
    return worth_knowing("versions", detail, fix if python else "bring them to one version when it suits you")
