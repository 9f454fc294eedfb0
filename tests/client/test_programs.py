"""What a program sends: its functions by value, its arguments as they were at the call."""

from __future__ import annotations

import collections
import functools
import os
import pickle  # noqa: TID251  what a program's own classes do
import random
import resource
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.client.programs import Packer, body_of, travels_inline
from potluck.client.uploads import PART_BYTES, Towards, upload
from potluck.overlay import parcels
from potluck.overlay.parcels import Parcel, seal
from potluck.overlay.wire.control import TO_NODE, PutPart
from potluck.overlay.wire.layout import encode_inline
from potluck.overlay.wire.work import INLINE_BYTES_MAX, Inline

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.lists(VALUES, max_size=4).map(tuple), st.dictionaries(st.text(), VALUES, max_size=3))
def test_arguments_come_out_as_they_went_in(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    inline = Packer().arguments(args, kwargs)
    assert cloudpickle.loads(inline.data, buffers=inline.buffers) == (args, kwargs)


@given(st.binary(max_size=200), st.lists(st.binary(max_size=50_000), max_size=40))
def test_what_travels_inline_never_exceeds_the_limit(data: bytes, buffers: list[bytes]) -> None:
    inline = Inline(data, buffers)
    if travels_inline(inline, inline.size_bytes):
        assert len(msgspec.msgpack.encode(inline)) <= INLINE_BYTES_MAX


def test_large_arrays_go_out_of_band_and_are_copied() -> None:
    array = np.arange(10_000)
    inline = Packer().arguments((array,), {})
    assert len(inline.data) < 1000
    array[0] = 99
    ((found,), _) = cloudpickle.loads(inline.data, buffers=inline.buffers)
    assert found[0] == 0


def test_what_is_long_and_may_change_is_copied_once_and_at_once() -> None:
    packer, array = Packer(), np.arange(1 << 20)
    packer.arguments((array[:1],), {})  # has looked at the program's modules
    tracemalloc.start()
    try:
        packed = packer.arguments((array,), {})
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(packed, Parcel) and packed.size_bytes > array.nbytes
    assert most_bytes < array.nbytes / 8, "it lies in its parcel, and nowhere else"
    array[0] = 99
    ((found,), _) = opened(packed)
    assert found[0] == 0 and (found[1:] == array[1:]).all()


@pytest.mark.parametrize("lacks", ["memory files", "descriptors"])
def test_where_parcels_are_few_or_none_what_is_long_is_held_by_value(
    lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacks == "descriptors":
        monkeypatch.setattr(parcels, "held_below", lambda: 0)
    else:
        monkeypatch.delattr(os, "memfd_create")
    array = np.arange(1 << 18)
    packed = Packer().arguments((array,), {})
    assert isinstance(packed, Inline)
    array[0] = 99
    ((found,), _) = opened(packed)
    assert found[0] == 0 and (found[1:] == array[1:]).all()


def test_of_few_descriptors_the_program_keeps_most() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        packed = [Packer().arguments((np.arange(1 << 17),), {}) for _ in range(200)]
        assert max(one.descriptor for one in packed if isinstance(one, Parcel)) < 64
        assert isinstance(packed[-1], Inline)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_cannot_be_pickled_leaves_the_buffers_beside_it_alone() -> None:
    array = np.arange(1 << 18)
    with pytest.raises(TypeError) as failed:
        Packer().arguments((array, threading.Lock()), {})
    array.resize(10, refcheck=False)
    assert failed.value


def test_what_shares_a_buffer_with_what_comes_after_is_sent_as_it_was() -> None:
    scratch = bytearray(8192)

    class Filled:
        def __init__(self, byte: int) -> None:
            self.byte = byte

        def __reduce__(self) -> Any:
            scratch[:] = bytes([self.byte]) * len(scratch)
            return bytes, (pickle.PickleBuffer(scratch),)

    ((first, second), _) = opened(Packer().arguments((Filled(1), Filled(2)), {}))
    assert (first[0], second[0]) == (1, 2)


def test_long_bytes_wait_as_they_are_and_come_out_as_bytes() -> None:
    data = bytes(range(256)) * 4096
    packed = Packer().arguments((data, 1, data, data[1:]), {"named": data})
    assert isinstance(packed, Inline)
    assert packed.buffers[0] is data and len(packed.buffers) == 2
    ((first, one, again, shorter), named) = opened(packed)
    assert type(first) is bytes and (first, one, shorter) == (data, 1, data[1:])
    assert again is first and named["named"] is first, "what is given twice is one"


@pytest.mark.parametrize("in_parcel", [True, False])
def test_to_a_node_that_takes_no_parcels_the_same_goes_in_parts(in_parcel: bool) -> None:
    inline = Inline(b"in band", [bytes(range(256)) * 5000, b"short"])
    going = upload(seal(inline) if in_parcel else inline, Towards(b"n" * 20, takes_parcels=False))
    frames = TO_NODE.frames()
    for frame in going:
        assert isinstance(frame, bytes)
        frames.feed(frame)
    parts = [TO_NODE.decode(body) for body in iter(frames.next_body, None)]
    assert all(isinstance(part, PutPart) for part in parts)
    assert b"".join(part.data for part in parts) == encode_inline(inline)
    assert [part.offset for part in parts] == [n * PART_BYTES for n in range(len(parts))]


def opened(packed: Inline | Parcel) -> Any:
    inline = packed.open() if isinstance(packed, Parcel) else packed
    return cloudpickle.loads(inline.data, buffers=inline.buffers)


def test_the_same_source_with_another_entry_is_another_program() -> None:
    one, other = (body_of("function", b"source", entry=entry) for entry in ("f", "g"))
    assert one.program.program_id != other.program.program_id


def test_a_programs_own_modules_travel_with_its_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside.py").write_text("from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\n")
    (tmp_path / "main_program.py").write_text(
        "import json, sys\n"
        "import beside\n"
        "from potluck.client.programs import Packer\n"
        "def shift(point, by):\n"
        "    return json.dumps(beside.Point(point.x + by).x)\n"
        "packer = Packer()\n"
        "body, arguments = packer.body(shift), packer.arguments((beside.Point(1), 2), {})\n"
        "(library,) = body.libraries\n"
        "parts = library.program.body.data, body.program.body.data, arguments.data\n"
        "sys.stdout.buffer.write(b'BOUNDARY'.join(parts))\n"
    )
    packed = subprocess.run(
        [sys.executable, "main_program.py"], cwd=tmp_path, capture_output=True, check=True, timeout=30
    )
    library, body, arguments = packed.stdout.split(b"BOUNDARY")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, content in msgspec.msgpack.decode(library, type=dict[str, bytes]).items():
        (elsewhere / name).write_bytes(content)
    monkeypatch.syspath_prepend(str(elsewhere))
    try:
        function, (args, _) = cloudpickle.loads(body), cloudpickle.loads(arguments)
        assert function(*args) == "3"
        assert type(args[0]) is sys.modules["beside"].Point
    finally:
        sys.modules.pop("beside", None)


def test_functions_of_installed_modules_go_by_name() -> None:
    body = Packer().body(np.linalg.norm)
    assert body.size_bytes < 200
    assert not cloudpickle.list_registry_pickle_by_value()


def test_functions_with_a_cache_come_out_with_an_empty_one_whatever_they_call() -> None:
    @functools.lru_cache(maxsize=50)
    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(10) == 55
    body = Packer().body(lambda n: (fibonacci(n), fibonacci)).program.body
    assert isinstance(body, Inline)
    value, made = cloudpickle.loads(body.data)(60)
    assert value == 1548008755920
    assert made.cache_info().currsize == made.cache_info().maxsize == 50
    assert made.__name__ == "fibonacci"
    made.cache_clear()
    depth = sys.getrecursionlimit() // 2 - 60  # as deep as here, where a call and its cache are two
    assert made(depth) > 0
    assert pickle.loads(cloudpickle.dumps(functools.cache(len).__wrapped__)) is len


def test_a_struct_of_the_program_itself_is_told_where_it_can_be() -> None:
    class Point(msgspec.Struct):
        x: int

    with pytest.raises(TypeError, match=r"Point is a msgspec.Struct.*: define it in a module"):
        Packer().arguments((Point(1),), {})


def test_what_is_made_as_the_program_runs_names_no_module_that_a_node_could_lack() -> None:
    made: dict[str, Any] = {"__name__": "made_by_exec"}
    exec("def double(n): return 2 * n", made)
    pair = collections.namedtuple("pair", "one two")
    assert Packer().body(lambda n: (made["double"](n), pair(n, n))).program.modules == []


def test_a_generator_of_the_process_travels_by_name_and_one_of_the_program_with_its_state() -> None:
    packer, own = Packer(), random.Random(7)
    drawing = random.random  # noqa: TID251 (not drawn from here)
    for function in (drawing, functools.partial(random.randint, 1), np.random.rand):
        body = packer.body(function).program.body
        assert isinstance(body, Inline)
        assert len(body.data) < 1_000, "its state has 2 500 bytes"
    body = packer.body(own.random).program.body
    assert isinstance(body, Inline)
    assert cloudpickle.loads(body.data)() == random.Random(7).random()


def test_a_function_says_which_installed_modules_it_refers_to_and_by_which_python_it_was_pickled() -> None:
    def outer(array: object) -> object:
        return np.asarray(array), msgspec, subprocess.run, Path

    program = Packer().body(outer).program
    assert program.modules == ["msgspec", "numpy"]
    assert program.python == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert Packer().body(len).program.modules == []
