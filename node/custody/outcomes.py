"""Where in a job's log the outcome of each task stands, in four bytes a task: so a page of a long job's results is read
without the rest of the log, and a second outcome is known for one.

Tasks are numbered in turn. Entry 0 of a log opens the job, hence 0 stands for no outcome.
"""

from __future__ import annotations

from array import array


class Outcomes:
    def __init__(self) -> None:
        self._entries = array("I")

    def note(self, index: int, entry: int) -> None:
        if index >= len(self._entries):
            self._entries.frombytes(bytes(self._entries.itemsize * (index + 1 - len(self._entries))))
        self._entries[index] = entry

    def entry_of(self, index: int) -> int:
        """0 for a task that has none."""
        return self._entries[index] if index < len(self._entries) else 0

    def __contains__(self, index: int) -> bool:
        return self.entry_of(index) != 0
