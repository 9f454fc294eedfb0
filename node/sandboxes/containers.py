"""A Docker engine of this machine, as far as sandboxes need one: connecting, the image, beginning and removing.

The image holds empty folders and links alone: what a task sees of the machine is mounted into it, so that no image goes
out of date, and no registry is asked. Containers bear a label with the node that has made them; the engine removes each
when its first process has ended, and what a killed node has left the next one does.

The engine's package is imported here and nowhere else, when an engine is asked for. Its calls block: each is bounded in
time, and made in a thread where a node runs.
"""

from __future__ import annotations

import hashlib
import io
import os
import socket
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import psutil

from ...overlay.errors import SandboxUnavailable
from .visible import SYSTEM

CALL_TIMEOUT_S: Final = 20.0
_LABEL: Final = "potluck.node"
_REPOSITORY: Final = "potluck-sandbox"
_FOLDERS: Final = ("dev", "etc", "proc", "scratch", "sys", "tmp", "usr")
_SYSTEM_SOCKET: Final = "/var/run/docker.sock"
_TRIED: Final = "exit status {status}: {said}"
_SAID_CHARS: Final = 300


class EngineLimits(msgspec.Struct, frozen=True):
    """What this engine can hold containers to."""

    memory: bool
    cpu: bool
    processes: bool


class ContainerEngine:
    """Made by `connect`. Every method raises SandboxUnavailable."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self._owner = _process_label(os.getpid())
        with _explained("ask the engine what it can"):
            known = api.info()
        self.limits = EngineLimits(
            memory=bool(known.get("MemoryLimit")),
            cpu=bool(known.get("CPUShares")),
            processes=bool(known.get("PidsLimit")),
        )

    @classmethod
    def connect(cls) -> ContainerEngine:
        """To the one that `DOCKER_HOST` names, else to the machine's."""
        address = os.environ.get("DOCKER_HOST") or f"unix://{_SYSTEM_SOCKET}"
        parts = urlsplit(address)
        if parts.scheme != "unix":
            raise SandboxUnavailable(f"docker: DOCKER_HOST is {address}, and a worker is reached on this machine only")
        _check_door(parts.path)
        try:
            import docker
        except ImportError as error:
            raise SandboxUnavailable(
                "docker: the package `docker`, which speaks with its engine, is not installed"
            ) from error
        with _explained("speak with the engine"):
            return cls(docker.APIClient(base_url=address, version="auto", timeout=int(CALL_TIMEOUT_S)))

    def prepare_image(self) -> str:
        """Its name. Made if the engine does not have it yet."""
        content = _empty_root()
        tag = hashlib.sha256(content).hexdigest()[:16]
        with _explained("make the image"):
            if not self._api.images(f"{_REPOSITORY}:{tag}"):
                self._api.import_image_from_data(content, repository=_REPOSITORY, tag=tag)
        return f"{_REPOSITORY}:{tag}"

    def begin(self, container: Mapping[str, Any]) -> str:
        """Its number in the engine. Nothing is left of one that cannot begin."""
        with _explained("make a container"):
            made: str = self._api.create_container_from_config({**container, "Labels": {_LABEL: self._owner}})["Id"]
        try:
            with _explained("begin a container"):
                self._api.start(made)
        except SandboxUnavailable:
            self.remove(made)
            raise
        return made

    def outcome(self, container: str) -> str:
        """Waits until it has ended: empty if well, else how, with the last that it has said."""
        with _explained("wait for a container"):
            status = self._api.wait(container, timeout=CALL_TIMEOUT_S)["StatusCode"]
            if not status:
                return ""
            said = self._api.logs(container, tail=5).decode(errors="replace").strip()
            return _TRIED.format(status=status, said=said[-_SAID_CHARS:])

    def remove(self, container: str) -> None:
        """Ends it first. One that has gone already is fine."""
        import docker.errors

        with _explained("remove a container"):
            try:
                self._api.remove_container(container, force=True)
            except docker.errors.NotFound:
                pass
            except docker.errors.APIError as error:
                if error.status_code != 409:  # the engine is about to remove it itself
                    raise

    def remove_abandoned(self) -> None:
        """Of nodes that run no more."""
        with _explained("list the containers"):
            found = self._api.containers(all=True, filters={"label": _LABEL})
        for container in found:
            owner = container["Labels"][_LABEL]
            if owner != _process_label(int(owner.partition("-")[0])):
                with suppress(SandboxUnavailable):
                    self.remove(container["Id"])

    def close(self) -> None:
        self._api.close()


def _process_label(pid: int) -> str:
    """Tells a process from a later one of the same number."""
    try:
        return f"{pid}-{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""


def _check_door(path: str) -> None:
    """Says in few words why nobody answers there, if nobody does."""
    with socket.socket(socket.AF_UNIX) as trial:
        trial.settimeout(CALL_TIMEOUT_S)
        try:
            trial.connect(path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise SandboxUnavailable(f"docker: no engine runs at {path}") from error
        except PermissionError as error:
            raise SandboxUnavailable(f"docker: this user may not use the engine at {path}") from error
        except OSError as error:
            raise SandboxUnavailable(f"docker: the engine at {path} does not answer: {error}") from error


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """The package lets errors of three libraries through; they have these two in common."""
    import docker.errors

    try:
        yield
    except (docker.errors.DockerException, OSError) as error:
        raise SandboxUnavailable(f"docker: cannot {what}: {error}") from error


def _empty_root() -> bytes:
    """A file system of folders to mount to, and of the system's links."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in _FOLDERS:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for path in _links(SYSTEM):
            entry = tarfile.TarInfo(path.name)
            entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
            archive.addfile(entry)
    return content.getvalue()


def _links(paths: Sequence[str]) -> list[Path]:
    return [path for path in map(Path, paths) if path.is_symlink()]
