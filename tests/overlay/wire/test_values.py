"""A value comes back as exactly what it was, or is refused; bytes never become anything but data."""

from __future__ import annotations

import datetime as dt
import enum
import math
import pathlib
import subprocess
import sys
import uuid
from collections import OrderedDict, namedtuple
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.msgpack import Ext
from potluck.overlay.errors import RemoteProtocolError, ResultNotEncodable
from potluck.overlay.wire import values
from potluck.overlay.wire.layout import decode_inline, encode_inline
from potluck.overlay.wire.work import Inline


def same(one: Any, other: Any) -> bool:
    """Equal, of exactly the same types all the way down, NaN and signed zero included."""
    if type(one) is not type(other):
        return False
    if type(one) is float:
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if type(one) is complex:
        return same(one.real, other.real) and same(one.imag, other.imag)
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict:
        return len(one) == len(other) and all(map(same, one.items(), other.items()))
    if type(one) is slice:
        return same((one.start, one.stop, one.step), (other.start, other.stop, other.step))
    if type(one) is Decimal:
        return str(one) == str(other)
    if type(one) in (dt.datetime, dt.time):
        return one == other and one.fold == other.fold and repr(one.tzinfo) == repr(other.tzinfo)
    if type(one) in (set, frozenset):
        return one == other and sorted(map(canonical, one)) == sorted(map(canonical, other))
    return bool(one == other)


def canonical(value: object) -> str:
    """A text that does not depend on the order in which sets are walked."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(canonical, value))})"
    return f"tuple({list(map(canonical, value))})" if isinstance(value, tuple) else repr(value)


def through_the_wire(value: object) -> Any:
    return values.decode(decode_inline(encode_inline(values.encode(value))))


zones = st.none() | st.builds(
    dt.timezone,
    st.integers(-86_399_999_999, 86_399_999_999).map(lambda us: dt.timedelta(microseconds=us)),
)
hashable: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text()
        | st.binary()
        | st.complex_numbers(allow_nan=False)
        | st.decimals(allow_nan=False)
        | st.datetimes(timezones=zones)
        | st.dates()
        | st.times(timezones=zones)
        | st.timedeltas()
        | st.uuids()
        | st.builds(range, st.integers(), st.integers(), st.integers(min_value=1))
        | st.text(st.characters(codec="utf-8", exclude_characters="\0")).map(pathlib.Path)
        | st.text(st.characters(codec="utf-8")).map(pathlib.PurePosixPath)
        | st.text(st.characters(codec="utf-8")).map(pathlib.PureWindowsPath)
        | st.tuples(hashable, hashable)
        | st.frozensets(hashable, max_size=4)
    )
)
data = st.recursive(
    hashable | st.floats() | st.decimals() | st.binary().map(bytearray) | st.slices(9) | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.sets(hashable, max_size=5)
        | st.dictionaries(hashable, inner, max_size=5)
    ),
    max_leaves=20,
)


@given(data)
@example([1, 2**70])
@example({"a": -(2**63) - 1})
@example({(1, 2): [1], "x": {2**200}})
@example(dt.datetime(2024, 10, 27, 2, 30, fold=1))
@example(dt.UTC.utcoffset(None))
@example(dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "Zulu")))
def test_data_comes_back_as_exactly_what_it_was(value: object) -> None:
    assert same(through_the_wire(value), value)


@given(data)
def test_an_encoding_in_one_byte_string_is_the_same_value(value: object) -> None:
    assert same(values.decode_bytes(values.encode_bytes(value)), value)


@given(st.binary(max_size=200), st.lists(st.binary(max_size=20), max_size=3))
def test_any_bytes_are_a_value_or_one_kind_of_error(content: bytes, buffers: list[bytes]) -> None:
    try:
        values.decode(Inline(content, buffers))
    except RemoteProtocolError:
        pass


extensions = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=9)
        | st.builds(
            lambda code, content: Ext(code, msgspec.msgpack.encode(content)),
            st.integers(0, 22),
            inner | st.lists(inner, min_size=2, max_size=9),
        )
        | st.builds(Ext, st.integers(-128, 127), st.binary(max_size=12))
    ),
    max_leaves=12,
)


@given(extensions, st.lists(st.binary(max_size=20), max_size=3))
def test_any_extensions_are_a_value_or_one_kind_of_error(content: object, buffers: list[bytes]) -> None:
    try:
        values.decode(Inline(msgspec.msgpack.encode(content), buffers))
    except RemoteProtocolError:
        pass


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (OrderedDict(a=1), "collections.OrderedDict"),
        (namedtuple("Point", "x y")(1, 2), "Point"),
        (Colour.RED, "Colour"),
        (Text("a"), "Text"),
        ([1, object()], "object"),
        ({"a": {1: {Colour.RED}}}, "Colour"),
        (dt.datetime(2024, 1, 1, tzinfo=type("Odd", (dt.tzinfo,), {})()), "Odd"),
        (lambda: 1, "function"),
        ("\ud800", "surrogate"),
        (["\ud800"], "surrogate"),
        ({"\udfff": (1,)}, "surrogate"),
    ],
)
def test_what_is_not_data_is_refused_by_name_with_the_remedy(value: object, named: str) -> None:
    with pytest.raises(ResultNotEncodable, match=named) as refused:
        values.encode(value)
    assert "plain data" in str(refused.value)


@pytest.mark.parametrize("container", [list, tuple, dict])
def test_values_nested_too_deep_are_refused(container: type) -> None:
    value: Any = 0
    for _ in range(5_000):
        value = {0: value} if container is dict else container([value])
    with pytest.raises(ResultNotEncodable, match="nested"):
        values.encode(value)


def test_what_is_one_object_can_be_told_from_two_that_are_equal() -> None:
    part, day = [1], dt.date(2026, 1, 1)
    for twice in ([part, part], {"a": part, "b": (part,)}, ((part,), [[part]])):
        assert values.decode(values.encode(twice)) == twice
        with pytest.raises(ResultNotEncodable, match="in more places than one"):
            values.encode(twice, once=True)
    for apart in ([[1], [1]], [(), ()], [day, day, "a" * 99], [[1], {2: [1]}]):
        assert values.decode(values.encode(apart, once=True)) == apart


def test_few_objects_that_are_held_in_very_many_places_are_refused() -> None:
    value: Any = ("leaf",)
    for _ in range(40):
        value = (value, value)
    with pytest.raises(ResultNotEncodable, match="in more places than one"):
        values.encode(value)


def test_a_container_that_holds_itself_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(ResultNotEncodable, match="holds itself"):
        values.encode(value)


@pytest.mark.parametrize("layer", [b"\x91", b"\x81\x00", b"\xc7"])
def test_bytes_nested_too_deep_are_refused(layer: bytes) -> None:
    content = b"\xc0"
    if layer == b"\xc7":
        for _ in range(3_000):
            content = msgspec.msgpack.encode(Ext(1, b"\x91" + content))
    else:
        content = layer * 100_000 + content
    with pytest.raises(RemoteProtocolError):
        values.decode_bytes(content)


class TestArrays:
    numpy = pytest.importorskip("numpy")

    @pytest.mark.parametrize("large", [False, True])
    @pytest.mark.parametrize(
        "dtype", ["?", "i1", "<i8", ">i4", "u2", "f2", "f8", "c16", "M8[ns]", "m8[25s]", "S3", "U5", "V7"]
    )
    def test_an_array_comes_back_with_its_dtype_shape_and_content(self, dtype: str, large: bool) -> None:
        numpy = self.numpy
        count = 65_536 if large else 24
        array = numpy.arange(count * numpy.dtype(dtype).itemsize, dtype="u1") % 2
        array = (
            numpy.ascontiguousarray(array).view(dtype) if dtype[0] != "U" else numpy.array(["ab", "c"] * (count // 2))
        )
        array = array.reshape(2, -1, 2)
        for value in (array, numpy.asfortranarray(array), array[:, ::2]):
            back = through_the_wire(value)
            assert type(back) is numpy.ndarray
            assert (back.dtype, back.shape) == (value.dtype, value.shape)
            assert back.tobytes() == value.tobytes()
            assert back.flags.writeable
        assert back.flags.f_contiguous or back.flags.c_contiguous

    @pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 1, 1)])
    def test_empty_and_scalar_shapes_survive(self, shape: tuple[int, ...]) -> None:
        back = through_the_wire(self.numpy.ones(shape))
        assert back.shape == shape

    def test_structured_arrays_keep_their_fields(self) -> None:
        dtype = self.numpy.dtype([("a", "<i4"), ("b", [("x", "<f8", (2, 3)), ("y", "S4")])])
        array = self.numpy.zeros(5, dtype)
        array["a"] = range(5)
        back = through_the_wire([array])[0]
        assert back.dtype == dtype
        assert (back == array).all()

    def test_large_arrays_lie_outside_the_message_uncopied(self) -> None:
        array = self.numpy.zeros(100_000)
        inline = values.encode({"a": array, "b": [array[:10]]})
        assert len(inline.data) < 300
        array[0] = 5
        assert values.decode(inline)["a"][0] == 5

    def test_scalars_keep_their_types(self) -> None:
        for value in (
            self.numpy.float32(1.5),
            self.numpy.float64(2),
            self.numpy.bool_(True),
            self.numpy.int64(-1),
            self.numpy.str_("x"),
            self.numpy.str_(""),
            self.numpy.datetime64("2024-01-01"),
        ):
            back = through_the_wire((value,))[0]
            assert type(back) is type(value)
            assert back == value

    def test_arrays_of_objects_and_subclasses_are_refused(self) -> None:
        numpy = self.numpy
        for value in (
            numpy.array([object()]),
            numpy.zeros(2, [("a", "O")]),
            numpy.ma.masked_array([1, 2]),
            numpy.rec.array([(1, 2)]),
        ):
            with pytest.raises(ResultNotEncodable):
                values.encode(value)

    @pytest.mark.parametrize("dtype", ["|O", "<i4,<i4", "|S0", "float64", "O", "<V99999999999"])
    def test_an_array_of_an_odd_dtype_is_refused(self, dtype: str) -> None:
        content = msgspec.msgpack.encode([dtype, [1], False, b"12345678"])
        with pytest.raises(RemoteProtocolError):
            values.decode_bytes(msgspec.msgpack.encode(Ext(17, content)))

    @pytest.mark.parametrize("shape", [[1 << 40], [-1], [1 << 62, 1 << 62], [True], [0] * 65, [2], "8", [0]])
    def test_a_shape_that_lies_costs_nothing(self, shape: object) -> None:
        content = msgspec.msgpack.encode(["<f8", shape, False, b"12345678"])
        with pytest.raises(RemoteProtocolError):
            values.decode_bytes(msgspec.msgpack.encode(Ext(17, content)))

    def test_arrays_are_refused_where_they_are_not_wanted(self) -> None:
        with pytest.raises(RemoteProtocolError):
            values.decode(values.encode([self.numpy.zeros(3)]), arrays=False)


def test_tables_come_back_equal() -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": list(range(50_000)), "b": ["x", None] * 25_000}, metadata={"k": "v"})
    batch = table.to_batches()[0]
    back = through_the_wire([table, batch, table.slice(0, 0)])
    assert [type(value) for value in back] == [arrow.Table, arrow.RecordBatch, arrow.Table]
    assert back[0].equals(table, check_metadata=True)
    assert back[1].equals(batch)


@given(st.binary(max_size=100), st.integers(0, 400))
def test_broken_tables_are_one_kind_of_error(noise: bytes, position: int) -> None:
    arrow = pytest.importorskip("pyarrow")
    sound = values.encode_bytes(arrow.table({"a": [1, 2, 3], "b": ["x", "y", None]}))
    broken = sound[:position] + noise + sound[position + len(noise) :]
    try:
        values.decode_bytes(broken)
    except RemoteProtocolError:
        pass


def test_libraries_are_imported_only_when_an_array_arrives() -> None:
    program = (
        "import sys; from potluck.overlay.wire import values;"
        "values.decode(values.encode([1, (2,), {3}]));"
        "assert not {'numpy', 'pyarrow', 'pickle', 'trio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


def test_uuid_subclasses_are_not_mistaken_for_uuids() -> None:
    with pytest.raises(ResultNotEncodable):
        values.encode(type("Token", (uuid.UUID,), {})(int=1))
