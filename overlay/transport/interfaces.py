"""Which of this machine's IPv4 addresses a node uses, and why."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

import psutil

from ..errors import ConfigError

_VIRTUAL = ("docker", "br-", "virbr", "veth", "cni", "flannel", "podman", "lxc")
"""Bridges of containers and virtual machines: their addresses mean nothing to other machines."""

LOOPBACK = "127.0.0.1"


class Choice(NamedTuple):
    name: str
    address: str
    used: bool
    why: str


def choose(interface: str | None) -> list[str]:
    """Addresses to listen, announce and multicast on: those of `interface` (a name or an address), or every
    real one that is up, or the loopback of a machine without a network. Raises ConfigError for an unknown one."""
    return [one.address for one in explain(interface) if one.used]


def explain(interface: str | None) -> list[Choice]:
    """Every address of this machine; the used ones in the order of their use. Raises ConfigError as `choose` does."""
    addresses = _addresses()
    if interface is not None:
        return _chosen(interface, addresses)
    choices = [Choice(name, ip, *_judged(name, ip)) for name, ip in addresses]
    if any(one.used for one in choices):
        return choices
    others = [one for one in choices if one.address != LOOPBACK]
    return [*others, Choice("lo", LOOPBACK, True, "no real interface is up: only this machine is reached")]


def _chosen(interface: str, addresses: list[tuple[str, str]]) -> list[Choice]:
    choices = [
        Choice(name, ip, True, "chosen by --interface")
        if interface in (name, ip)
        else Choice(name, ip, False, "another was chosen by --interface")
        for name, ip in addresses
    ]
    if any(one.used for one in choices):
        return choices
    if is_local(interface):  # every address of 127.0.0.0/8 is usable without being listed
        return [*choices, Choice("lo", interface, True, "chosen by --interface")]
    known = ", ".join(f"{name} {ip}" for name, ip in addresses)
    raise ConfigError(f"interface {interface!r}: this machine has {known}")


def _judged(name: str, address: str) -> tuple[bool, str]:
    if name.startswith(_VIRTUAL):
        return False, "a bridge of containers or virtual machines, which nobody else reaches"
    if is_local(address):
        return False, "only this machine reaches it"
    return True, "a real interface that is up"


def _addresses() -> list[tuple[str, str]]:
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    return [
        (name, entry.address)
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family is socket.AF_INET and name in up
    ]


def is_local(text: str) -> bool:
    try:
        return ipaddress.IPv4Address(text).is_loopback
    except ValueError:
        return False
