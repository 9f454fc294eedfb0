"""Modules of a program that lies in a zip archive, as `python app.pyz` runs it."""

from __future__ import annotations

import zipfile
from pathlib import Path


def archive_of(place: Path) -> Path | None:
    """The file that what lies at `place` is in; None where that is a file or a folder by itself, or nothing."""
    if place.exists():
        return None
    return next((above for above in place.parents if above.is_file()), None)


def files_in(archive: Path, place: Path) -> dict[str, bytes]:
    """What `place` is in there: a file, or all below a folder; by their paths from what it is in. Raises OSError,
    BadZipFile."""
    inside = place.relative_to(archive).as_posix()
    above = place.relative_to(archive).parent
    with zipfile.ZipFile(archive) as packed:
        names = [name for name in packed.namelist() if name == inside or name.startswith(inside + "/")]
        return {Path(name).relative_to(above).as_posix(): packed.read(name) for name in names if name[-1] != "/"}
