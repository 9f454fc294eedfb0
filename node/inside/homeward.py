"""Inside a worker: values that are no plain data, pickled. What came with the program goes home as what it is there,
and what was made here by value."""

from __future__ import annotations

import functools
import io
import pickle  # noqa: TID251 (its buffers; nothing is opened here)
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, NewType

import cloudpickle

from ...overlay.wire.origins import at_home, origin_of

_MAY_HAVE_COME: Final = (type, FunctionType, type(functools.lru_cache(len)), NewType)


def pickled(value: object, buffer_callback: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    """Raises whatever the value's own code does, and what cloudpickle raises."""
    with io.BytesIO() as file:
        _Pickler(file, protocol=5, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    def reducer_override(self, obj: Any) -> Any:
        if not issubclass(type(obj), _MAY_HAVE_COME):
            return NotImplemented
        origin = origin_of(obj)
        return super().reducer_override(obj) if origin is None else (at_home, origin)
