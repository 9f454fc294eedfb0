"""Inside a worker: the environment and the folder that tasks of a job with a setting find, and the files they leave."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from ...overlay.errors import LimitExceeded, PotluckError
from ...overlay.wire.setting import FILES_BYTES_MAX, Setting, WithFiles, check_name, check_size, encoded, matches
from ...overlay.wire.work import Fault
from .reports import Outcome

_WALKED_MAX: Final = 100_000
"""Files a task may leave and still have them searched for its outputs."""


class TaskFolder:
    """Fresh for each task, with its inputs, and gone with it."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def __enter__(self) -> TaskFolder:
        self._before = Path.cwd()
        from tempfile import mkdtemp  # with much else, which most tasks do without

        self._path = Path(mkdtemp(prefix="task-", dir=self._before))
        for name, content in self._setting.inputs.items():
            (self._path / name).write_bytes(content)
        os.chdir(self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.chdir(self._before)
        from shutil import rmtree

        rmtree(self._path, ignore_errors=True)

    def run(self, task: Callable[[], Outcome]) -> Outcome:
        """With the value of a task that succeeds goes what it leaves of outputs, if any are wanted."""
        value, pickled, fault = task()
        if value is None or fault is not None or not self._setting.outputs:
            return value, pickled, fault
        try:
            return encoded(WithFiles(value, self._outputs())), pickled, None
        except PotluckError as error:
            return None, False, Fault(error.wire_code, f"the outputs do not come home: {error}")
        except OSError as error:
            return None, False, Fault(LimitExceeded.wire_code, f"the outputs cannot be read: {error}")

    def _outputs(self) -> dict[str, bytes]:
        """Raises LimitExceeded, NotAllowed. An input that is as it was is no output."""
        files: dict[str, bytes] = {}
        size_bytes = 0
        for name, path in self._files():
            if any(matches(name, glob) for glob in self._setting.outputs):
                check_name(name)
                size_bytes += path.stat().st_size
                if size_bytes > FILES_BYTES_MAX:
                    raise LimitExceeded(f"more than {FILES_BYTES_MAX} bytes in all, with {name}")
                content = path.read_bytes()
                if self._setting.inputs.get(name) != content:
                    files[name] = content
        check_size(files)
        return files

    def _files(self) -> Iterator[tuple[str, Path]]:
        """Regular files only: what a link points to is not of this folder."""
        walked = 0
        for folder, _folders, names in os.walk(self._path):
            for name in sorted(names):
                path = Path(folder, name)
                walked += 1
                if walked > _WALKED_MAX:
                    raise LimitExceeded(f"the task left more than {_WALKED_MAX} files to be searched")
                if path.is_file() and not path.is_symlink():
                    yield path.relative_to(self._path).as_posix(), path
