"""Identifiers. A node's id is not chosen but follows from its public key (design: Kademlia id = 160 bits)."""

from __future__ import annotations

import re
from typing import NewType

from .errors import ConfigError

NodeId = NewType("NodeId", bytes)
OwnerId = NewType("OwnerId", bytes)
JobId = NewType("JobId", str)

ID_BYTES = 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def node_id_of(public_key: bytes) -> NodeId:
    """First 160 bits of SHA-256 of the raw Ed25519 public key."""
    return NodeId(_digest(public_key))


def owner_id_of(public_key: bytes) -> OwnerId:
    return OwnerId(_digest(public_key))


def distance(one: bytes, other: bytes) -> int:
    """XOR metric (Maymounkov & Mazières, Kademlia, 2002, §2.1)."""
    return int.from_bytes(one, "big") ^ int.from_bytes(other, "big")


def key_id(namespace: str, key: bytes) -> bytes:
    """Where in the id space a record lives."""
    return _digest(namespace.encode() + b"\0" + key)


def _digest(data: bytes) -> bytes:
    from hashlib import sha256  # loads OpenSSL, which the program inside a sandbox does without

    return sha256(data).digest()[:ID_BYTES]


def checked_name(name: str) -> str:
    """The name of a node: letters, digits, dot, dash and underscore, at most 63 characters."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"name {name!r}: use up to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        )
    return name


def leading_letters(text: str) -> str:
    """The kind of an instruction or of a node by its name: `b1` → `b`."""
    match = re.match(r"[A-Za-z]+", text)
    return match.group().lower() if match else ""
