"""Which of this machine's IPv4 addresses a node uses."""

from __future__ import annotations

import ipaddress
import socket

import psutil

from ..errors import ConfigError

_VIRTUAL = ("docker", "br-", "virbr", "veth", "cni", "flannel", "podman", "lxc")
"""Bridges of containers and virtual machines: their addresses mean nothing to other machines."""

LOOPBACK = "127.0.0.1"


def choose(interface: str | None) -> list[str]:
    """Addresses to listen, announce and multicast on: those of `interface` (a name or an address), or every
    real one that is up, or the loopback of a machine without a network. Raises ConfigError for an unknown one."""
    addresses = _addresses()
    if interface is None:
        real = [ip for name, ip in addresses if not name.startswith(_VIRTUAL) and not _is_local(ip)]
        return real or [LOOPBACK]
    matching = [ip for name, ip in addresses if interface in (name, ip)]
    if not matching and _is_local(interface):
        return [interface]  # every address of 127.0.0.0/8 is usable without being listed
    if not matching:
        known = ", ".join(f"{name} {ip}" for name, ip in addresses)
        raise ConfigError(f"interface {interface!r}: this machine has {known}")
    return matching


def _addresses() -> list[tuple[str, str]]:
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    return [
        (name, entry.address)
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family is socket.AF_INET and name in up
    ]


def _is_local(text: str) -> bool:
    try:
        return ipaddress.IPv4Address(text).is_loopback
    except ValueError:
        return False
