"""Identifiers. A node's id is not chosen but follows from its public key (design: Kademlia id = 160 bits)."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NewType

from .errors import ConfigError, UsageError

NodeId = NewType("NodeId", bytes)
OwnerId = NewType("OwnerId", bytes)
JobId = NewType("JobId", str)

ID_BYTES = 20
ID_DIGITS_MIN = 8
"""The beginning of an id by which a person names a node is no shorter."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def node_id_of(public_key: bytes) -> NodeId:
    """First 160 bits of SHA-256 of the raw Ed25519 public key."""
    return NodeId(_digest(public_key))


def owner_id_of(public_key: bytes) -> OwnerId:
    return OwnerId(_digest(public_key))


def is_called(node_id: NodeId, name: str, said: str) -> bool:
    """Whether somebody means this node: by its name, or by the beginning of its id."""
    return name == said or (len(said) >= ID_DIGITS_MIN and node_id.hex().startswith(said.lower()))


def check_one(said: str, node_ids: Collection[NodeId]) -> None:
    """`node_ids`: of all that are called so. Raises UsageError for several."""
    if len(node_ids) > 1:
        ids = ", ".join(node_id.hex()[:12] for node_id in node_ids)
        raise UsageError(f"{len(node_ids)} members are named {said}: say which by its node id: {ids}")


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
