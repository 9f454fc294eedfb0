"""A program's own classes and functions come home as themselves, and nothing over there changes them."""

from __future__ import annotations

import enum
import functools
import gc
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Generic, NewType, TypeVar

import cloudpickle
import pytest
from potluck.client.outcomes import value_of
from potluck.client.programs import Packer
from potluck.overlay.errors import ResultNotEncodable
from potluck.overlay.wire.work import Inline

WORKER = """
import pickle, sys
from potluck.node.inside.reports import outcome_of
function, arguments = pickle.load(sys.stdin.buffer)
args, kwargs = pickle.loads(arguments)
value, pickled, fault = outcome_of(pickle.loads(function)(*args, **kwargs), may_pickle=True)
assert fault is None and pickled, fault
sys.stdout.buffer.write(value.data)
"""


def come_home(function: Callable[..., object], *args: object) -> bytes:
    """Of what a process that has none of this returns."""
    packer = Packer()
    body, arguments = packer.body(function).program.body, packer.arguments(args, {})
    assert isinstance(body, Inline) and isinstance(arguments, Inline)
    sent = cloudpickle.dumps((bytes(body.data), bytes(arguments.data)))
    ran = subprocess.run([sys.executable, "-c", WORKER], input=sent, capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout


def opened(data: bytes) -> Any:
    return value_of(Inline(data), pickled=True, trusted=True)


def class_of(table: bytes) -> Any:
    class Job:
        debug = False

        def show(self) -> int:
            return len(table)

        @functools.cached_property
        def lazy(self) -> int:
            return self.show()

        @functools.lru_cache  # noqa: B019  an own class may have one
        def kept(self) -> int:
            return self.show()

    return Job


def test_a_result_is_of_the_programs_own_class_which_stays_as_the_program_has_left_it() -> None:
    own = class_of(b"")
    show = own.show
    data = come_home(lambda: own())
    own.debug = True
    assert type(opened(data)) is own
    assert own.debug and own.show is show


def test_what_a_class_refers_to_does_not_come_with_its_instances() -> None:
    own = class_of(bytes(1_000_000))
    assert len(come_home(lambda: own())) < 300
    assert len(come_home(lambda one: [one, own()], own())) < 300


def test_what_cannot_be_pickled_by_value_comes_home_and_so_do_members_of_enums_and_generics() -> None:
    class Colour(enum.Enum):
        RED = 1

        def shade(self) -> int:
            return cached(2)

    T = TypeVar("T")

    class Box(Generic[T]):
        def __init__(self, inner: T) -> None:
            self.inner = inner

    @functools.lru_cache
    def cached(n: int) -> int:
        return n

    cls = class_of(b"")
    job, red, box, kind = opened(come_home(lambda: (cls(), Colour.RED, Box[int](3), Colour)))
    assert job.lazy == job.kept() == 0
    assert red is Colour.RED and kind is Colour
    assert type(box) is Box and box.inner == 3


def by_name() -> None:
    """Of a module that travels by value for the test."""


@functools.lru_cache
def cached_by_name() -> None: ...


@functools.singledispatch
def dispatching_by_name(_one: object) -> None: ...


NewByName = NewType("NewByName", int)


class Named:
    @classmethod
    def of_class(cls) -> None: ...

    def method(self) -> None: ...


def test_functions_come_home_as_what_their_names_stand_for() -> None:
    this = sys.modules[__name__]
    several = [by_name, cached_by_name, dispatching_by_name, NewByName, Named.method, Named.of_class]
    cloudpickle.register_pickle_by_value(this)
    try:
        data = come_home(lambda: [*several, lambda: 3])
    finally:
        cloudpickle.unregister_pickle_by_value(this)
    *found, made_there = opened(data)
    assert [one is other for one, other in zip(found, several, strict=True)] == [True] * 5 + [False]
    assert found[-1] == Named.of_class
    assert made_there() == 3


def test_a_function_is_the_same_program_in_every_run_of_it() -> None:
    ids = "from potluck.client.programs import Packer\ndef f(): return g\ndef g(): return f\n"
    ids += "print(Packer().body(f).program.program_id.hex())"
    one, other = (
        subprocess.run([sys.executable, "-c", ids], capture_output=True, check=True, timeout=60).stdout for _ in "12"
    )
    assert one == other


def test_a_class_that_was_made_there_comes_by_value_and_goes_back_as_itself() -> None:
    def fresh() -> Any:
        class Fresh:
            def get(self) -> int:
                return 3

        return Fresh()

    made = opened(come_home(fresh))
    assert made.get() == 3
    assert type(opened(come_home(lambda one: one, made))) is type(made)


def test_what_is_passed_on_keeps_the_origin_it_came_with() -> None:
    own = class_of(b"")

    def twice(cls: type) -> object:
        from potluck.client.programs import Packer

        inner: Any = Packer().arguments((cls,), {})
        ((again,), _) = cloudpickle.loads(inner.data)
        return again()

    assert type(opened(come_home(twice, own))) is own


def test_a_class_that_somebody_awaits_back_is_kept_and_one_that_nobody_kept_is_named() -> None:
    def sent() -> tuple[Any, list[type], bytes]:
        own, other, classes = class_of(b""), class_of(b""), list[type]()
        Packer().arguments((other,), {}, classes)
        return Packer().body(lambda: own()), classes, come_home(lambda: own())

    body, classes, data = sent()
    gc.collect()
    assert [cls.__name__ for cls in (*body.classes, *classes)] == ["Job", "Job"]
    assert type(opened(data)) is body.classes[0]
    del body, classes
    gc.collect()
    with pytest.raises(ResultNotEncodable, match=r"class_of.<locals>.Job any more"):
        opened(data)
