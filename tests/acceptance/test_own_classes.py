"""Classes and functions of the program itself, which Python pickles by a name that no worker knows, or not at all; and
results whose parts are held in several places."""

from __future__ import annotations

import pytest

from .harness import Pool

pytestmark = pytest.mark.processes

PROGRAM = """
import dataclasses, functools, gc, sys, types, typing
import potluck

@dataclasses.dataclass(slots=True)
class Point:
    x: int

class Base:
    __slots__ = ("open", "__hidden")
    def __init__(self): self.open, self.__hidden = 1, 2
    def both(self): return self.open, self.__hidden

class Derived(Base):
    __slots__ = "one"

class Loose:
    __slots__ = ("q", "__dict__", "__weakref__")

def slotted():
    for bare in (Point(1), Derived()):
        try:
            bare.undeclared = 1
        except AttributeError:
            continue
        raise SystemError("a class has lost its slots")
    derived, loose = Derived(), Loose()
    derived.one, loose.q, loose.z = 3, 4, 5
    return Point(1), derived, loose

class Lazy:
    def __init__(self, x): self.x = x
    @functools.cached_property
    def double(self): return self.x * 2

@functools.singledispatch
def shown(x): return "object"
@shown.register
def _(x: int): return f"int, {shown([x])}"
@shown.register(list)
def _(x): return "list"

class Showing:
    @functools.singledispatchmethod
    def show(self, x): return "object"
    @show.register
    def _(self, x: int): return "int"

Metres = typing.NewType("Metres", int)
TABLE = list(range(100_000))

@functools.cache
def looked_up(n): return TABLE[n]

class Job:
    debug = False
    def __init__(self, size: Metres): self.size = size
    def show(self): return debugging, looked_up(self.size), shown(self)
    @functools.cached_property
    def lazy(self): return self.show()

debugging = "off"

def working(n): return Job(n)

def kept():
    potluck.checkpoint(Job(3))
    return potluck.checkpointed()

def parent():
    with potluck.Executor() as pool:
        future = pool.submit(working, 1)
        Job.debug = True
        job = future.result()
        return type(job) is Job, Job.debug, job

def shared():
    part = [1.0] * 1000
    tree = ("leaf",)
    for _ in range(60):
        tree = (tree, tree)
    return {"one": part, "other": part, "rows": [part] * 20_000, "tree": tree}

class Own(Exception):
    pass

def inner():
    raise Own("m", 1)

def catches():
    with potluck.Executor() as pool:
        try:
            pool.submit(inner).result()
        except Own as error:
            return error.args

def passes_on():
    with potluck.Executor() as pool:
        return pool.submit(inner).result()

class Pair(typing.NamedTuple):
    one: int
    other: str = "other"
    def both(self): return self.one, self.other

class More(Pair):
    def both(self): return [*super().both(), "more"]

T = typing.TypeVar("T")

class OfAny(typing.NamedTuple, typing.Generic[T]):
    it: T

by_hand = types.ModuleType("by_hand")
exec("class It: pass\\ndef made(): return It()", vars(by_hand))
exec("class Wrong(Exception): pass\\ndef fails(): raise Wrong", vars(by_hand))
sys.modules["by_hand"] = by_hand

def of_nobodys(pool):
    class Local:
        pass
    return pool.submit(lambda: Local()), pool.submit(lambda one: one, Local())

def main():
    global debugging
    with potluck.Executor() as pool:
        future = pool.submit(working, 5)
        Job.debug = True
        job = future.result(60)
        debugging = "on"
        assert type(job) is Job and Job.debug and job.lazy == ("on", 5, "object")
        assert future.result_bytes < 300, future.result_bytes
        assert pool.submit(kept).result(60).size == 3
        assert pool.submit(lambda: [working, looked_up, shown]).result(60) == [working, looked_up, shown]
        futures = of_nobodys(pool)
        gc.collect()
        assert [type(future.result(60)).__name__ for future in futures] == ["Local", "Local"]
        Job.debug = False
        *same, job = pool.submit(parent).result(60)
        assert same == [True, True] and type(job) is Job and not Job.debug
        assert pool.submit(catches).result(60) == ("m", 1)
        for task in (inner, passes_on):
            try:
                pool.submit(task).result(60)
            except Own as error:
                assert error.args == ("m", 1)
            else:
                raise SystemExit("nothing was raised")
        held = pool.submit(shared).result(60)
        assert held["one"] is held["other"] is held["rows"][-1] and held["tree"][0] is held["tree"][1]
        point, derived, loose = pool.submit(slotted).result(60)
        assert point == Point(1) and type(point) is Point
        assert (type(derived), derived.both(), derived.one) == (Derived, (1, 2), 3)
        assert (loose.q, loose.z) == (4, 5) and not hasattr(derived, "__dict__")
        assert pool.submit(lambda: (Pair(1).both(), More(2).both())).result(60) == ((1, "other"), [2, "other", "more"])
        for pair in (Pair(1), More(2), OfAny[int](3)):
            (same, it) = pool.submit(lambda one: (one, hasattr(one, "__dict__")), pair).result(60)
            assert (same, type(same), it) == (pair, type(pair), type(pair) is More)
        for task in (by_hand.made, lambda: by_hand.made()):
            assert type(pool.submit(task).result(60)) is by_hand.It
        assert type(pool.submit(by_hand.fails).exception(60)) is by_hand.Wrong
        lazy = Lazy(4)
        lazy.double
        assert pool.submit(lambda one, other: (one.double, other.double), lazy, Lazy(5)).result(60) == (8, 10)
        assert list(pool.map(shown, [3, "", []])) == ["int, list", "object", "list"]
        assert pool.submit(lambda it: (it.show(1), it.show("")), Showing()).result(60) == ("int", "object")
        assert pool.submit(lambda: (Metres(3), Metres.__name__)).result(60) == (3, "Metres")
    print("all travelled")

if __name__ == "__main__":
    main()
"""


def test_what_only_the_program_has_travels_however_python_would_pickle_it(nodes: Pool) -> None:
    nodes.up("c1", "--slots=2").await_ready()
    done = nodes.script(PROGRAM, "c1")
    assert (done.code, done.out) == (0, "all travelled\n"), done.err
