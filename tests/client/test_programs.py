"""What a program sends: its functions by value, its arguments as they were at the call."""

from __future__ import annotations

import functools
import random
import subprocess
import sys
from pathlib import Path

import cloudpickle
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.client.programs import Packer, body_of, size_of, travels_inline
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
    if travels_inline(inline, size_of(inline)):
        assert len(msgspec.msgpack.encode(inline)) <= INLINE_BYTES_MAX


def test_large_arrays_go_out_of_band_and_are_copied() -> None:
    array = np.arange(10_000)
    inline = Packer().arguments((array,), {})
    assert len(inline.data) < 1000
    array[0] = 99
    ((found,), _) = cloudpickle.loads(inline.data, buffers=inline.buffers)
    assert found[0] == 0


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
