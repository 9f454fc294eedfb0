"""Small files that go with a task, and those that it brings home.

What comes home is believed in nothing: it is written below the folder that was meant, under a name that was asked for,
through no link.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from ..overlay.errors import LimitExceeded, NotAllowed, Unavailable, UsageError
from ..overlay.wire.setting import (
    ENV_MAX,
    FILES_BYTES_MAX,
    GLOBS_MAX,
    Setting,
    check_name,
    check_size,
    encoded,
    matches,
)
from .programs import Body, body_of

T = TypeVar("T")

TEXT_CHARS_MAX: Final = 256
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def setting_of(env: Mapping[str, str], inputs: Iterable[str | Path], outputs: Iterable[str]) -> Setting | None:
    """None where nothing is asked for. Raises UsageError, and LimitExceeded for inputs that are too large."""
    if not isinstance(env, Mapping):
        raise UsageError(f"env {env!r}: a dict of names and values is expected")
    setting = Setting(dict(env), _contents(_several("inputs", inputs)), list(_several("outputs", outputs)))
    for option, texts in (
        ("env", (*setting.env, *setting.env.values())),
        ("inputs", setting.inputs),
        ("outputs", setting.outputs),
    ):
        for text in texts:
            _check_text(option, text)
    if setting == Setting():
        return None
    if len(setting.env) > ENV_MAX or len(setting.outputs) > GLOBS_MAX:
        raise UsageError(f"at most {ENV_MAX} variables and {GLOBS_MAX} outputs may be given")
    for name, value in setting.env.items():
        if not name or "=" in name or "\0" in name + value or len(name) > TEXT_CHARS_MAX:
            raise UsageError(f"{name!r} cannot be a variable of an environment")
    for glob in setting.outputs:
        try:
            check_name(glob)
        except NotAllowed as error:
            raise UsageError(f"outputs are below the folder of the task: {error}") from None
        if len(glob) > TEXT_CHARS_MAX:
            raise UsageError(f"an output of more than {TEXT_CHARS_MAX} letters")
    check_size(setting.inputs)
    return setting


def _several(option: str, given: Iterable[T]) -> Iterable[T]:
    if isinstance(given, str | bytes | Path) or not isinstance(given, Iterable):
        raise UsageError(f"{option} {given!r}: a list of them is expected")
    return given


def _check_text(option: str, text: object) -> None:
    if not isinstance(text, str):
        raise UsageError(f"{option}: {text!r} is no text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{option}: {text!r} is not valid text") from None


def body_of_setting(setting: Setting | None) -> tuple[Body, ...]:
    """What a program needs that is to run in it."""
    return () if setting is None else (body_of("setting", encoded(setting).data),)


def _contents(inputs: Iterable[str | Path]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for given in map(Path, inputs):
        try:
            content = _content(given)
        except OSError as error:
            raise UsageError(f"the input {given} cannot be read: {error.strerror}") from None
        if files.setdefault(given.name, content) != content:
            raise UsageError(f"two inputs are named {given.name}: they lie in one folder where the task runs")
    return files


def _content(path: Path) -> bytes:
    """Raises OSError, UsageError, LimitExceeded."""
    if path.exists() and not path.is_file():  # a pipe may never end, nor begin
        raise UsageError(f"the input {path} is no file")
    with path.open("rb") as file:
        content = file.read(FILES_BYTES_MAX + 1)
    if len(content) > FILES_BYTES_MAX:
        raise LimitExceeded(f"{path} has {path.stat().st_size} bytes; {FILES_BYTES_MAX} may go with a task")
    return content


class Home:
    """Where the outputs of a job's tasks go."""

    def __init__(self, folder: Path, globs: Iterable[str]) -> None:
        self.folder = folder
        self._globs = tuple(globs)

    @property
    def is_wanted(self) -> bool:
        return bool(self._globs)

    def wants(self, name: str) -> bool:
        """Whether it was asked for."""
        return any(matches(name, glob) for glob in self._globs)

    def bring(self, files: Mapping[str, bytes]) -> None:
        """All or, for names that nobody asked for, none. Raises NotAllowed, and Unavailable where it cannot write."""
        for name in files:
            check_name(name)
            if not self.wants(name):
                raise NotAllowed(f"an output was sent that nobody asked for: {name!r}")
        for name, content in files.items():
            try:
                self._write(name, content)
            except OSError as error:
                raise Unavailable(f"the output {name} cannot be written: {error.strerror}") from error

    def _write(self, name: str, content: bytes) -> None:
        *folders, last = name.split("/")
        with _descriptor(os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)) as top:
            self._write_below(top, folders, last, content)

    def _write_below(self, above: int, folders: list[str], last: str, content: bytes) -> None:
        if folders:
            try:
                os.mkdir(folders[0], dir_fd=above)
            except FileExistsError:
                pass  # if it is no folder, the next line says so
            with _descriptor(os.open(folders[0], _FOLDER, dir_fd=above)) as below:
                self._write_below(below, folders[1:], last, content)
            return
        fresh = f".{secrets.token_hex(8)}.potluck"
        try:
            with _descriptor(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=above)) as file:
                written = 0
                while written < len(content):
                    written += os.write(file, content[written:])
            os.replace(fresh, last, src_dir_fd=above, dst_dir_fd=above)  # of a link, the link: never what it points to
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(fresh, dir_fd=above)
            raise


@contextmanager
def _descriptor(opened: int) -> Iterator[int]:
    try:
        yield opened
    finally:
        os.close(opened)
