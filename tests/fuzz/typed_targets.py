"""What people type and what lies in their files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import click
from potluck.cli import settings_of
from potluck.client.options import priority_of
from potluck.discovery.codes import parse
from potluck.overlay.errors import ConfigError, PotluckError, ResultNotEncodable, UsageError
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.identity.mesh import mesh_toml, read_mesh
from potluck.overlay.wire import values
from potluck.verbs import up
from potluck.verbs.answer import Session
from potluck.verbs.reading import json_of

from ..strategies.identities import key, mesh
from .target import Target

_TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Goes with the process."""
    return tempfile.TemporaryDirectory()


def _file(name: str, data: bytes) -> Path:
    path = Path(_folder().name) / name
    path.write_bytes(data)
    return path


def _code(data: bytes) -> None:
    code = parse(data.decode(**_TEXT))
    assert parse(str(code)) == code


def _json(data: bytes) -> None:
    value = json_of(data.decode(**_TEXT))
    assert values.decode_bytes(values.encode_bytes(value)) == value
    json.dumps(value, allow_nan=False)


def _size(data: bytes) -> None:
    assert isinstance(up.size(data.decode(**_TEXT)), int)


def _priority(data: bytes) -> None:
    assert isinstance(priority_of(data.decode(**_TEXT)), int)


def _mesh_file(data: bytes) -> None:
    assert read_mesh(_file("mesh.toml", data), mesh().owner).owner is mesh().owner


def _key_file(data: bytes) -> None:
    assert len(KeyPair.from_pem(data, "the key").public) == 32


def _config_file(data: bytes) -> None:
    """As `potluck up` reads it. Whatever click says becomes a line for the user."""
    _file("config.toml", data)
    session = Session({"POTLUCK_DATA_DIR": _folder().name}, lambda event, line: None)
    settings: dict[str, Any] = settings_of(session, up.command)
    context = up.command.make_context("up", [], obj=session, default_map=settings)
    apart = ("nodes", "detach", "background", "until_eof")
    up.checked(session, {name: value for name, value in context.params.items() if name not in apart})


def _lines(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


_CONFIG = """
name = "north"
interface = "lo"
port = 9001
slots = 2
memory = "2G"
disk = "1T"
handles = "a,b"
label = ["room=5", "gpu=no"]
policy = "fcfs"
sandbox = "bare"
peer = ["10.0.0.1:9000"]
mesh-secret-file = "/dev/null"
"""

TARGETS: dict[str, Target] = {
    "code": Target(
        _code,
        (UsageError,),
        _lines("7-copper-lantern", " 99 COPPER_lantern\t", "7-coper-lantern", "0-a-b", "7--x", "a b c"),
        cost=10,
    ),
    "json": Target(
        _json,
        (ValueError, ResultNotEncodable),
        _lines('{"a": [1, 2.5, null, true, "\\u00e9"]}', "1e400", "NaN", "[" * 500, "1" * 400, "-0.0", '"\\ud800"'),
    ),
    "size": Target(_size, (click.BadParameter,), _lines("512M", "2GiB", "1e3k", "nan", "inf", "-1", "", "1_0", "٣")),
    "priority": Target(_priority, (UsageError,), _lines("high", "medium", "low", "-3", "9" * 30, "")),
    "mesh_file": Target(_mesh_file, (ConfigError,), lambda: [mesh_toml(mesh()), b"root = 1", b"a = ["], cost=10),
    "key_file": Target(_key_file, (ConfigError,), lambda: [key(1).to_pem(), b"-----BEGIN PRIVATE KEY-----"], cost=2),
    "config_file": Target(
        _config_file,
        (PotluckError, click.ClickException),
        lambda: [line.encode() for line in (_CONFIG, *_CONFIG.split("\n"), "port = {a = 1}", "slots = 1979-05-27")],
        cost=50,
    ),
}
