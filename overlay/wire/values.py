"""Python values as data: nothing in an encoding can make the reader run code.

Plain scalars, lists and dicts are msgpack. Everything else that is still only data (tuple, set, Decimal, datetime,
NumPy arrays, Arrow tables, ...) is a msgpack extension around further msgpack, so that each comes back as exactly the
type it was. Types are compared exactly: an OrderedDict, a namedtuple or an IntEnum carries meaning that would be lost,
so it is not data.

An encoding is an `Inline`: large arrays lie beside the msgpack in `buffers`, uncopied.
"""

from __future__ import annotations

import datetime as dt
import math
import pathlib
import re
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from typing import Any, Final

import msgspec
from msgspec.msgpack import Ext

from ..errors import RemoteProtocolError, ResultNotEncodable
from .work import Inline

DEPTH_MAX: Final = 100
"""Of containers inside containers; also what stops a container that holds itself."""
AGAIN_MAX: Final = 1_000_000
"""Times that a container is met which has been met before."""
OUT_OF_BAND_BYTES_MIN: Final = 64 << 10
BUFFERS_MAX: Final = 4096
"""As `work.Buffers` allows; further arrays go in-band."""

_TUPLE, _SET, _FROZENSET, _DICT = 1, 2, 3, 4
_COMPLEX, _BIG_INT, _DECIMAL, _BYTEARRAY, _RANGE, _SLICE = 5, 6, 7, 8, 9, 10
_DATETIME, _DATE, _TIME, _TIMEDELTA, _UUID, _PATH = 11, 12, 13, 14, 15, 16
_ARRAY, _ARRAY_SCALAR, _ARROW_TABLE, _ARROW_BATCH = 17, 18, 19, 20
"""Permanent numbers on the wire."""

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
_LEAVES: Final = frozenset(
    {complex, Decimal, range, slice, uuid.UUID, dt.datetime, dt.date, dt.time, dt.timedelta, dt.timezone}
    | {pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath}
)
"""Nobody can change them, and they hold nothing: two are as good as one."""
REMEDY: Final = "use plain data (numbers, text, lists, dicts, arrays), or Executor(trust_results=True)"
"""What to do about a result that is not."""

_encoder = msgspec.msgpack.Encoder()
_decode = msgspec.msgpack.decode


def encode(value: object, *, once: bool = False) -> Inline:
    """Raises ResultNotEncodable, naming the type that is not data and what to do about it. `once`: also for an object
    that is held twice, of which there would be two."""
    buffers: list[Any] = []
    return Inline(_encode(value, buffers, once=once), buffers)


def encode_bytes(value: object) -> bytes:
    """The same without buffers, for places that hold one byte string."""
    return _encode(value, None)


def decode(inline: Inline, *, arrays: bool = True) -> object:
    """Raises RemoteProtocolError for whatever is not an encoding, and nothing else.

    `arrays=False` refuses NumPy and Arrow values, for processes that should not import them on a peer's word.
    """
    unpacking = _Unpacking(inline.buffers, arrays)
    try:
        return _decode(inline.data, ext_hook=unpacking.extension)
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise RemoteProtocolError(f"a value does not parse: {error}") from error
    except MemoryError as error:
        raise RemoteProtocolError("a value does not fit in memory") from error


def decode_bytes(data: bytes, *, arrays: bool = True) -> object:
    return decode(Inline(data), arrays=arrays)


def _encode(value: object, buffers: list[Any] | None, *, once: bool = False) -> bytes:
    try:
        try:
            return _encoder.encode(_Packing(buffers, once=once).pack(value, 0))
        except OverflowError:  # an integer beyond 64 bits where the quick look did not see it
            if buffers is not None:
                buffers.clear()
            return _encoder.encode(_Packing(buffers, once=once, careful=True).pack(value, 0))
    except UnicodeEncodeError as error:
        raise ResultNotEncodable(f"a str with a lone surrogate is not plain data: {REMEDY}") from error
    except (OverflowError, ValueError) as error:
        raise ResultNotEncodable(f"a {_name(type(value))} too large for plain data: {error}") from error


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class _Packing:
    """Turns one value into what msgspec encodes without further thought. Arrays go to `buffers` unless it is None."""

    def __init__(self, buffers: list[Any] | None, *, once: bool = False, careful: bool = False) -> None:
        self.buffers = buffers
        self.careful = careful
        self._again_max = 0 if once else AGAIN_MAX
        self._again = 0
        self._met: set[int] = set()

    def pack(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _SCALARS:
            if kind is int and not -(1 << 63) <= value < 1 << 64:
                return Ext(_BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
            return value
        if depth >= DEPTH_MAX:
            raise ResultNotEncodable(f"a value nested {DEPTH_MAX} levels deep, or one that holds itself: {REMEDY}")
        if kind not in _LEAVES:
            self._meet(value)
        if kind is list:
            return self.items(value, depth)
        if kind is dict:
            return self.mapping(value, depth)
        packer = _PACKERS.get(kind) or _foreign_packer(kind)
        if packer is None:
            raise ResultNotEncodable(f"a value of type {_name(kind)} is not plain data: {REMEDY}")
        return packer(self, value, depth + 1)

    def _meet(self, value: object) -> None:
        """What is held in several places is written in each of them, and few objects can be held in very many."""
        if id(value) not in self._met:
            self._met.add(id(value))
        elif type(value) is not tuple or value:  # there is only one empty tuple
            self._again += 1
            if self._again > self._again_max:
                raise ResultNotEncodable(f"a value that holds its parts in more places than one: {REMEDY}")

    def items(self, values: Any, depth: int) -> Any:
        if not self.careful and _SCALARS.issuperset(map(type, values)):
            return values
        return [self.pack(value, depth + 1) for value in values]

    def mapping(self, value: dict[Any, Any], depth: int) -> Any:
        plain_keys = _SCALARS.issuperset(map(type, value))
        if plain_keys and not self.careful:
            if _SCALARS.issuperset(map(type, value.values())):
                return value
            return {key: self.pack(item, depth + 1) for key, item in value.items()}
        flat = [self.pack(part, depth + 1) for pair in value.items() for part in pair]
        return Ext(_DICT, _encoder.encode(flat))

    def sequence(self, code: int, values: Any, depth: int) -> Ext:
        packed = self.items(values, depth)
        return Ext(code, _encoder.encode(packed if type(packed) is list else list(packed)))

    def bulk(self, data: memoryview) -> int | memoryview:
        """The number of the buffer that holds `data`, or `data` itself to go in-band."""
        if self.buffers is None or data.nbytes < OUT_OF_BAND_BYTES_MIN or len(self.buffers) >= BUFFERS_MAX:
            return data
        self.buffers.append(data)
        return len(self.buffers) - 1


Packer = Callable[[_Packing, Any, int], Ext]


def _pack_time_zone(zone: dt.tzinfo | None) -> Any:
    if zone is None:
        return None
    if type(zone) is not dt.timezone:
        raise ResultNotEncodable(f"a time zone of type {_name(type(zone))} is not plain data: use a fixed offset")
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # pickle's own hook: (offset[, name])
    return [offset // dt.timedelta(microseconds=1), *name]


def _pack_datetime(packing: _Packing, value: dt.datetime, depth: int) -> Ext:
    day = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
    return Ext(_DATETIME, _encoder.encode([*day, value.fold, _pack_time_zone(value.tzinfo)]))


def _pack_time(packing: _Packing, value: dt.time, depth: int) -> Ext:
    parts = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return Ext(_TIME, _encoder.encode([*parts, _pack_time_zone(value.tzinfo)]))


def _pack_path(packing: _Packing, value: pathlib.PurePath, depth: int) -> Ext:
    kind = type(value)
    windows = issubclass(kind, pathlib.PureWindowsPath)
    concrete = issubclass(kind, pathlib.Path)
    return Ext(_PATH, _encoder.encode([windows, concrete, str(value).encode("utf-8", "surrogateescape")]))


def _pack_array(packing: _Packing, value: Any, depth: int) -> Ext:
    dtype = value.dtype
    if dtype.hasobject or dtype.kind not in _ARRAY_KINDS or not dtype.itemsize:
        raise ResultNotEncodable(f"a NumPy array of dtype {dtype} is not plain data: {REMEDY}")
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    flat = value.reshape(-1, order="F" if fortran else "C")
    data = memoryview(flat.view("u1")) if flat.size else memoryview(b"")
    return Ext(_ARRAY, _encoder.encode([_pack_dtype(packing, dtype), value.shape, fortran, packing.bulk(data)]))


def _pack_array_scalar(packing: _Packing, value: Any, depth: int) -> Ext:
    dtype = value.dtype
    if dtype.hasobject or dtype.kind not in _ARRAY_KINDS:
        raise ResultNotEncodable(f"a NumPy scalar of dtype {dtype} is not plain data: {REMEDY}")
    return Ext(_ARRAY_SCALAR, _encoder.encode([_pack_dtype(packing, dtype), value.tobytes()[: dtype.itemsize]]))


def _pack_dtype(packing: _Packing, dtype: Any) -> Any:
    if dtype.fields is None:
        return dtype.str
    return packing.pack(sys.modules["numpy"].lib.format.dtype_to_descr(dtype), 1)


def _arrow_packer(code: int) -> Packer:
    def pack(packing: _Packing, value: Any, depth: int) -> Ext:
        arrow = sys.modules["pyarrow"]
        sink = arrow.BufferOutputStream()
        with arrow.ipc.new_stream(sink, value.schema) as writer:
            writer.write(value)
        return Ext(code, _encoder.encode(packing.bulk(memoryview(sink.getvalue()))))

    return pack


def _foreign_packer(kind: type) -> Packer | None:
    """For types of libraries that are only looked up where the value's own process has them loaded already."""
    library = kind.__module__.partition(".")[0]
    module: Any = sys.modules.get(library)
    if module is None:
        return None
    if library == "numpy":
        if kind is module.ndarray:
            return _pack_array
        return _pack_array_scalar if issubclass(kind, module.generic) else None
    if library == "pyarrow":
        return {module.Table: _arrow_packer(_ARROW_TABLE), module.RecordBatch: _arrow_packer(_ARROW_BATCH)}.get(kind)
    return None


_PACKERS: Final[dict[type, Packer]] = {
    tuple: lambda packing, value, depth: packing.sequence(_TUPLE, value, depth),
    set: lambda packing, value, depth: packing.sequence(_SET, value, depth),
    frozenset: lambda packing, value, depth: packing.sequence(_FROZENSET, value, depth),
    complex: lambda packing, value, depth: Ext(_COMPLEX, _encoder.encode([value.real, value.imag])),
    Decimal: lambda packing, value, depth: Ext(_DECIMAL, str(value).encode()),
    bytearray: lambda packing, value, depth: Ext(_BYTEARRAY, bytes(value)),
    range: lambda packing, value, depth: packing.sequence(_RANGE, [value.start, value.stop, value.step], depth),
    slice: lambda packing, value, depth: packing.sequence(_SLICE, [value.start, value.stop, value.step], depth),
    dt.datetime: _pack_datetime,
    dt.date: lambda packing, value, depth: Ext(_DATE, _encoder.encode([value.year, value.month, value.day])),
    dt.time: _pack_time,
    dt.timedelta: lambda packing, value, depth: Ext(
        _TIMEDELTA, _encoder.encode([value.days, value.seconds, value.microseconds])
    ),
    uuid.UUID: lambda packing, value, depth: Ext(_UUID, value.bytes),
    pathlib.PosixPath: _pack_path,
    pathlib.PurePosixPath: _pack_path,
    pathlib.WindowsPath: _pack_path,
    pathlib.PureWindowsPath: _pack_path,
}

_ARRAY_KINDS: Final = "biufcmMSUV"
_ARRAY_DTYPE: Final = re.compile(rf"[<>|][{_ARRAY_KINDS}][0-9]{{1,10}}(\[[0-9]{{0,6}}[a-zA-Z]{{1,7}}\])?")
_ARRAY_DIMENSIONS_MAX: Final = 64


class _Unpacking:
    """Rebuilds the extensions of one encoding. Any fault is an ordinary error, which `decode` wraps."""

    def __init__(self, buffers: list[bytes], arrays: bool) -> None:
        self.buffers = buffers
        self.arrays = arrays
        self.depth = 0

    def extension(self, code: int, data: memoryview) -> Any:
        unpack = _UNPACKERS.get(code)
        if unpack is None:
            raise ValueError(f"extension {code} is not known here")
        if self.depth > DEPTH_MAX:
            raise ValueError("nested too deep")
        self.depth += 1
        try:
            return unpack(self, data)
        finally:
            self.depth -= 1

    def items(self, data: memoryview, count: int | None = None) -> list[Any]:
        values = _decode(data, ext_hook=self.extension)
        if type(values) is not list or (count is not None and len(values) != count):
            raise ValueError("an extension holds the wrong number of items")
        return values

    def bulk(self, place: object) -> bytes | memoryview:
        if type(place) is bytes:
            return place
        if type(place) is not int or not 0 <= place < len(self.buffers):
            raise ValueError("an array names a buffer that is not there")
        return self.buffers[place]

    def library(self, name: str) -> Any:
        if not self.arrays:
            raise ValueError("arrays are not taken here")
        try:
            return import_module(name)
        except ImportError as error:
            raise ValueError(f"it needs {name}, which is not installed here") from error


def _unpack_dict(unpacking: _Unpacking, data: memoryview) -> dict[Any, Any]:
    flat = unpacking.items(data)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _unpack_time_zone(packed: Any) -> dt.timezone | None:
    if packed is None:
        return None
    offset_us, *name = packed
    offset = dt.timedelta(microseconds=offset_us)
    return dt.timezone(offset, *name) if name or offset else dt.UTC


def _unpack_datetime(unpacking: _Unpacking, data: memoryview) -> dt.datetime:
    *parts, fold, zone = unpacking.items(data, 9)
    return dt.datetime(*parts).replace(tzinfo=_unpack_time_zone(zone), fold=fold)


def _unpack_time(unpacking: _Unpacking, data: memoryview) -> dt.time:
    *parts, fold, zone = unpacking.items(data, 6)
    return dt.time(*parts).replace(tzinfo=_unpack_time_zone(zone), fold=fold)


def _unpack_timedelta(unpacking: _Unpacking, data: memoryview) -> dt.timedelta:
    days, seconds, microseconds = unpacking.items(data, 3)
    return dt.timedelta(days, seconds, microseconds)


def _unpack_path(unpacking: _Unpacking, data: memoryview) -> pathlib.PurePath:
    windows, concrete, text = unpacking.items(data, 3)
    if type(text) is not bytes:
        raise ValueError("a path is made of bytes")
    kind: type[pathlib.PurePath] = pathlib.PureWindowsPath if windows else pathlib.PurePosixPath
    if concrete and windows == (sys.platform == "win32"):
        kind = pathlib.Path
    return kind(text.decode("utf-8", "surrogateescape"))


def _unpack_decimal(unpacking: _Unpacking, data: memoryview) -> Decimal:
    return Decimal(bytes(data).decode("ascii"))


def _unpack_range(unpacking: _Unpacking, data: memoryview) -> range:
    start, stop, step = unpacking.items(data, 3)
    return range(start, stop, step)


def _unpack_slice(unpacking: _Unpacking, data: memoryview) -> slice:
    start, stop, step = unpacking.items(data, 3)
    return slice(start, stop, step)


def _unpack_complex(unpacking: _Unpacking, data: memoryview) -> complex:
    real, imaginary = unpacking.items(data, 2)
    if type(real) is not float or type(imaginary) is not float:
        raise ValueError("a complex number is made of two floats")
    return complex(real, imaginary)


def _unpack_dtype(numpy: Any, packed: Any) -> Any:
    if type(packed) is str:
        if not _ARRAY_DTYPE.fullmatch(packed):
            raise ValueError("an array of a dtype that is not data")
        return numpy.dtype(packed)
    if type(packed) is not list:
        raise ValueError("an array without a dtype")
    _check_dtype_fields(packed)
    return numpy.lib.format.descr_to_dtype(packed)


def _check_dtype_fields(packed: list[Any]) -> None:
    """Every leaf of a structured dtype is one of ours, whatever else NumPy would understand."""
    for _name_or_title, kind, *shape in packed:
        if type(kind) is list:
            _check_dtype_fields(kind)
        elif type(kind) is not str or not _ARRAY_DTYPE.fullmatch(kind):
            raise ValueError("an array of a dtype that is not data")
        if shape and not (type(shape[0]) is tuple and all(type(side) is int for side in shape[0])):
            raise ValueError("an array of a dtype that is not data")


def _unpack_array(unpacking: _Unpacking, data: memoryview) -> Any:
    numpy = unpacking.library("numpy")
    packed_dtype, shape, fortran, place = unpacking.items(data, 4)
    dtype = _unpack_dtype(numpy, packed_dtype)
    content = unpacking.bulk(place)
    if len(shape) > _ARRAY_DIMENSIONS_MAX or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError("an array of an impossible shape")
    # Judged before anything is built, so that a shape which lies costs nothing.
    if dtype.hasobject or not dtype.itemsize or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError("an array whose shape does not fit its content")
    flat = numpy.frombuffer(content, dtype="u1")
    writable = flat if flat.flags.writeable else flat.copy()  # what lies in a parcel is this process's alone
    return writable.view(dtype).reshape(shape, order="F" if fortran else "C")


def _unpack_array_scalar(unpacking: _Unpacking, data: memoryview) -> Any:
    numpy = unpacking.library("numpy")
    packed_dtype, content = unpacking.items(data, 2)
    dtype = _unpack_dtype(numpy, packed_dtype)
    if dtype.hasobject or type(content) is not bytes or dtype.itemsize != len(content):
        raise ValueError("a NumPy scalar whose content does not fit its dtype")
    if not content:
        return numpy.zeros((), dtype)[()]
    return numpy.frombuffer(content, dtype)[0]


def _open_arrow(unpacking: _Unpacking, data: memoryview, read: Callable[[Any], Any]) -> Any:
    arrow = unpacking.library("pyarrow")
    content = unpacking.bulk(_decode(data))
    try:
        with arrow.ipc.open_stream(arrow.py_buffer(content)) as reader:
            value = read(reader)
        value.validate(full=True)
    except (arrow.ArrowException, OSError, StopIteration) as error:
        raise ValueError(f"not Arrow data: {error}") from error
    return value


_UNPACKERS: Final[dict[int, Callable[[_Unpacking, memoryview], Any]]] = {
    _TUPLE: lambda unpacking, data: tuple(unpacking.items(data)),
    _SET: lambda unpacking, data: set(unpacking.items(data)),
    _FROZENSET: lambda unpacking, data: frozenset(unpacking.items(data)),
    _DICT: _unpack_dict,
    _COMPLEX: _unpack_complex,
    _BIG_INT: lambda unpacking, data: int.from_bytes(data, "big", signed=True),
    _DECIMAL: _unpack_decimal,
    _BYTEARRAY: lambda unpacking, data: bytearray(data),
    _RANGE: _unpack_range,
    _SLICE: _unpack_slice,
    _DATETIME: _unpack_datetime,
    _DATE: lambda unpacking, data: dt.date(*unpacking.items(data, 3)),
    _TIME: _unpack_time,
    _TIMEDELTA: _unpack_timedelta,
    _UUID: lambda unpacking, data: uuid.UUID(bytes=bytes(data)),
    _PATH: _unpack_path,
    _ARRAY: _unpack_array,
    _ARRAY_SCALAR: _unpack_array_scalar,
    _ARROW_TABLE: lambda unpacking, data: _open_arrow(unpacking, data, lambda reader: reader.read_all()),
    _ARROW_BATCH: lambda unpacking, data: _open_arrow(unpacking, data, lambda reader: reader.read_next_batch()),
}
