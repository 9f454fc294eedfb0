"""What a task finds around it, and which files it leaves: a program of form `setting`, and the answer to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ..errors import LimitExceeded, NotAllowed
from .codec import ShortText, decoded
from .work import Inline

FILES_BYTES_MAX: Final = 1 << 20
"""Of all inputs together, and of all outputs of a task."""
FILES_MAX: Final = 1024
ENV_MAX: Final = 256
GLOBS_MAX: Final = 64

Files = Annotated[dict[ShortText, bytes], Meta(max_length=FILES_MAX)]


class Setting(msgspec.Struct, frozen=True, array_like=True):
    """Of all tasks of a job. `inputs` lie in the folder that each finds empty but for them; when it has succeeded, the
    files there that match any of `outputs` go home."""

    env: Annotated[dict[ShortText, str], Meta(max_length=ENV_MAX)] = {}
    inputs: Files = {}
    outputs: Annotated[list[ShortText], Meta(max_length=GLOBS_MAX)] = []

    @property
    def is_plain(self) -> bool:
        """Whether the worker's own folder will do."""
        return not (self.inputs or self.outputs)


class WithFiles(msgspec.Struct, frozen=True, array_like=True):
    """What `Finished.value` holds where it says `with_files`."""

    value: Inline
    files: Files


_SPECIAL: Final = {"*": "[^/]*", "?": "[^/]"}
_setting: Final = msgspec.msgpack.Decoder(Setting)
_with_files: Final = msgspec.msgpack.Decoder(WithFiles)


def encoded(part: Setting | WithFiles) -> Inline:
    return Inline(msgspec.msgpack.encode(part))


def setting_in(body: Inline) -> Setting:
    """Raises RemoteProtocolError."""
    return decoded(_setting, body.data, "a setting")


def files_in(value: Inline) -> WithFiles:
    """Raises RemoteProtocolError, and NotAllowed for names that lead out of a folder."""
    both = decoded(_with_files, value.data, "a result with files")
    check_size(both.files)
    for name in both.files:
        check_name(name)
    return both


def check_size(files: dict[str, bytes]) -> None:
    """Raises LimitExceeded."""
    size_bytes = sum(map(len, files.values()))
    if size_bytes > FILES_BYTES_MAX:
        raise LimitExceeded(f"{len(files)} files of {size_bytes} bytes in all; {FILES_BYTES_MAX} may go with a task")
    if len(files) > FILES_MAX:
        raise LimitExceeded(f"{len(files)} files; {FILES_MAX} may go with a task")


def check_name(name: str) -> None:
    """Raises NotAllowed unless it names something within the folder that it is relative to."""
    if not name or "\0" in name or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise NotAllowed(f"the name {name!r} leads out of its folder")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise NotAllowed(f"the name {name!r} is no text") from None


def matches(name: str, glob: str) -> bool:
    """As a shell has it: `*` and `?` stop at a slash and do not begin with a dot, `**` stands for any folders."""
    return _pattern(glob).fullmatch(name) is not None


@lru_cache(GLOBS_MAX)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile("".join(_parts(glob)), re.DOTALL)


def _parts(glob: str) -> Iterator[str]:
    parts = glob.split("/")
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            yield r"(?:(?!\.)[^/]+/)*" + (r"(?!\.)[^/]+" if last else "")
            continue
        visible = "" if part.startswith(".") else r"(?!\.)"
        yield visible + "".join(_SPECIAL.get(letter, re.escape(letter)) for letter in part) + ("" if last else "/")
