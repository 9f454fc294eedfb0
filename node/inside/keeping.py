"""Inside a worker: what the running task says to go on from, and what it is given back.

A state is data if it can be, else a pickle. Both are opened here alone: the sandbox that opens it serves the job whose
task has made it.
"""

from __future__ import annotations

from ...overlay.errors import LimitExceeded, ResultNotEncodable
from ...overlay.wire import values
from ...overlay.wire.inside import NodePipe
from ...overlay.wire.work import CHECKPOINT_BYTES_MAX, Checkpoint, Inline
from .programs import unpickle


class States:
    """`overlay.wire.inside.Keeper` of this process."""

    def __init__(self, pipe: NodePipe) -> None:
        self._pipe = pipe
        self._last: tuple[bytes, bool] | None = None

    def begin(self, checkpoint: Checkpoint | None) -> None:
        """Another task runs, and an earlier run of it has said this."""
        self._last = None if checkpoint is None else (checkpoint.state, checkpoint.pickled)

    def save(self, state: object) -> None:
        encoded, pickled = _encoded(state)
        if len(encoded) > CHECKPOINT_BYTES_MAX:
            raise LimitExceeded(f"a checkpoint of {len(encoded)} bytes; {CHECKPOINT_BYTES_MAX} may be")
        self._pipe.save(encoded, pickled=pickled)
        self._last = encoded, pickled

    def last(self, default: object) -> object:
        if self._last is None:
            return default
        encoded, pickled = self._last
        return unpickle(Inline(encoded)) if pickled else values.decode_bytes(encoded)


def _encoded(state: object) -> tuple[bytes, bool]:
    """And whether that is a pickle. Raises ResultNotEncodable."""
    try:
        return values.encode_bytes(state), False
    except ResultNotEncodable:
        pass
    try:
        from .homeward import pickled  # as in `reports`

        return pickled(state), True
    except Exception as error:
        kind = type(state).__qualname__
        why = f"{type(error).__name__}: {error}"
        raise ResultNotEncodable(f"a checkpoint of type {kind} cannot be kept: {why}") from error
