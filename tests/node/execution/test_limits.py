"""Limits of tasks: which is passed, and that passing one ends that task, by name, and no other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import psutil
import pytest
import trio
from _pytest.mark import ParameterSet
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.execution.limits import Begun, exceeded
from potluck.node.execution.overseeing import LOOK_INTERVAL_S, LOOK_SHARE, Attention, Overseer
from potluck.node.sandboxes.bare import BareSandbox
from potluck.node.sandboxes.bubblewrap import BubblewrapSandbox
from potluck.node.sandboxes.cgroups import Hierarchy
from potluck.node.sandboxes.docker import DockerSandbox
from potluck.node.sandboxes.supervised import Sizes
from potluck.overlay.errors import LimitExceeded
from potluck.overlay.ports import Sandbox
from potluck.overlay.wire.limits import Limits, Usage
from potluck.overlay.wire.work import Fault
from potluck.overlay.wire.worker import TaskFinished

from ..sandboxes.sandbox_suite import call
from ..sandboxes.test_docker import docker_or_skip
from ..sandboxes.test_sandboxes import bubblewrap_or_skip
from .service_world import Master, service
from .test_workers import RUNNING, Hostile

counts = st.integers(0, 1 << 40)
limits = st.builds(Limits, counts, st.floats(width=32), counts, counts, counts)


@given(limits, limits)
def test_nobody_is_given_more_than_anybody_has_set(one: Limits, other: Limits) -> None:
    both = one.within(other)
    assert both == other.within(one)
    for name in Limits.__struct_fields__:
        set_ = [value for value in (getattr(one, name), getattr(other, name)) if value > 0]
        assert getattr(both, name) == min(set_, default=0)


@given(limits, st.builds(Usage, counts, st.just(0), st.floats(0, 1e6), counts, st.just(0), counts), counts)
def test_what_is_within_every_limit_passes_none_and_what_is_not_passes_one(most: Limits, now: Usage, out: int) -> None:
    taken = (now.memory_bytes, now.cpu_s, now.processes, now.disk_bytes, out)
    named = zip(
        ("memory", "CPU time", "processes", "scratch disk", "output"), taken, Limits.__struct_fields__, strict=True
    )
    passed = [name for name, used, limit in named if 0 < getattr(most, limit) < used]
    error = exceeded(most, Begun(Usage(), 0), now, out)
    assert bool(error) == bool(passed)
    if error is not None:
        assert str(error).startswith(passed[0])


MEMORY = "def task():\n    held = []\n    while True:\n        held.append(b'x' * (4 << 20))"
SHARED = """
import mmap
def task():
    held = []
    while True:
        held.append(mmap.mmap(-1, 4 << 20))
        held[-1].write(b"x" * (4 << 20))
"""
UNNAMED = """
import os, time
def task():
    file = os.memfd_create("x")
    for _ in range(60):
        os.write(file, b"x" * (4 << 20))
    time.sleep(600)
"""
CHILDREN = """
import os, time
def task():
    for _ in range(4):
        if not os.fork():
            held = b"x" * (60 << 20)
            time.sleep(600)
    time.sleep(600)
"""
IN_MEMORY = """
import time
def task():
    with open("/dev/shm/filled", "wb") as file:
        for _ in range(300):
            file.write(b"x" * (1 << 20))
    time.sleep(600)
"""
CPU = "def task():\n    while True: pass"
CPU_OF_CHILDREN = """
import os, signal
def task():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        if not os.fork():
            for _ in range(200_000): pass
            os._exit(0)
"""
FORKS = """
import os, time
def task():
    for _ in range(60):
        if not os.fork():
            time.sleep(600)
    time.sleep(600)
"""
DISK = """
def task():
    with open("filled", "wb") as file:
        for _ in range(40):
            file.write(b"x" * (1 << 20))
    import time
    time.sleep(600)
"""
OUTPUT = "def task():\n    while True: print('x' * 1000)"
MUCH_AT_ONCE = "def task():\n    print('x' * 100_000)"

MEMORY_BYTES = 160 << 20
Case = tuple[str, Limits, str]
ANYWHERE: dict[str, Case] = {
    "memory": (MEMORY, Limits(memory_bytes=MEMORY_BYTES), "memory"),
    "shared memory": (SHARED, Limits(memory_bytes=MEMORY_BYTES), "memory"),
    "memory of children": (CHILDREN, Limits(memory_bytes=MEMORY_BYTES), "memory"),
    "memory without a name": (UNNAMED, Limits(memory_bytes=MEMORY_BYTES), "memory"),
    "CPU time": (CPU, Limits(cpu_s=0.5), "CPU time"),
    "processes": (FORKS, Limits(processes=20), "processes"),
    "output": (OUTPUT, Limits(output_bytes=1 << 20), "output"),
    "output in no time": (MUCH_AT_ONCE, Limits(output_bytes=10_000), "output"),
}
IN_A_SANDBOX: dict[str, Case] = {
    "memory in files": (IN_MEMORY, Limits(memory_bytes=MEMORY_BYTES), "memory"),
    "disk": (DISK, Limits(disk_bytes=16 << 20), "scratch disk"),
}
COUNTED: dict[str, Case] = {
    "CPU time of those that are not waited for": (CPU_OF_CHILDREN, Limits(cpu_s=0.5), "CPU time")
}


def counted() -> Hierarchy:
    found = Hierarchy.find()
    if found is None:
        pytest.skip("no control groups may be made here")
    return found


class Refused(Hostile):
    """A worker whose tasks have been refused processes, which no kernel counts back."""

    def usage(self) -> Usage:  # type: ignore[override]
        return Usage(processes_refused=3)


def test_what_a_task_was_refused_is_not_laid_to_the_next_one() -> None:
    tasks = [
        msgspec.structs.replace(RUNNING, key=key, job=msgspec.structs.replace(RUNNING.job, limits=Limits(processes=20)))
        for key in (1, 2)
    ]
    process = Refused(b"", again=False, reads=True)
    overseer = Overseer(Attention(), lambda: tasks[0], lambda: 0, lambda task, cpu_s, memory_bytes: None)
    failed = TaskFinished(1, fault=Fault(41, "it could not fork"))

    async def play() -> None:
        assert "processes" in str(overseer.ended(process, failed))
        del tasks[0]
        assert overseer.look(process) is None
        await trio.lowlevel.checkpoint()

    trio.run(play)


@given(st.integers(1, 2_000), st.floats(0, 1))
def test_looking_takes_its_share_of_a_nodes_time_however_many_are_looked_at(many: int, look_s: float) -> None:
    attention = Attention()
    with ExitStack() as watched:
        for _ in range(many):
            watched.enter_context(attention.given())
        rest_s = attention.rest_s(look_s)
    assert rest_s >= LOOK_INTERVAL_S
    assert many * look_s / (rest_s + look_s) <= 1 / LOOK_SHARE + 1e-9
    assert attention.rest_s(1.0) == LOOK_INTERVAL_S, "nobody is looked at any more"


def sandbox(kind: str) -> Sandbox:
    if kind == "bare, watched":
        return BareSandbox()
    if kind == "bare, counted":
        return BareSandbox(counted())
    if kind == "docker":
        docker_or_skip()
        return DockerSandbox.find(Sizes(shared_memory_bytes=400 << 20))
    bubblewrap_or_skip()
    sizes = Sizes(shared_memory_bytes=400 << 20)
    return BubblewrapSandbox.find(sizes, counted() if kind == "bubblewrap, counted" else None)


ALWAYS = ("memory of children", "memory without a name", "CPU time")
"""The way of counting matters most for these; of the rest a sample is enough, but where counting is exact."""


def cases() -> Iterator[ParameterSet]:
    for kind, held in {
        "bare, watched": ANYWHERE,
        "bare, counted": ANYWHERE | COUNTED,
        "bubblewrap, watched": ANYWHERE | IN_A_SANDBOX,
        "bubblewrap, counted": ANYWHERE | IN_A_SANDBOX | COUNTED,
        "docker": ANYWHERE | IN_A_SANDBOX | COUNTED,
    }.items():
        for name, case in held.items():
            now = kind == "bubblewrap, counted" or (name in ALWAYS and kind != "docker")
            yield pytest.param(kind, *case, id=f"{kind}: {name}", marks=() if now else pytest.mark.nightly)


def groups_of(pid: int) -> list[str]:
    """Those of others come and go meanwhile, which a walk passes over."""
    groups = (name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    return [name for name in groups if name.startswith(f"potluck-{pid}-")]


@pytest.mark.parametrize(("kind", "source", "most", "said"), list(cases()))
def test_a_task_that_takes_more_than_it_may_is_ended_alone(kind: str, source: str, most: Limits, said: str) -> None:
    @service(slots=2, sandboxes=[sandbox(kind)])
    async def play(master: Master) -> None:
        master.assign("import time\ndef task():\n    time.sleep(1)\n    return 'fine'", call(), job="other")
        master.assign(source, call(), limits=most, first=1)
        fault = (await master.last(1)).fault
        assert fault is not None and fault.code == LimitExceeded.wire_code, fault
        assert fault.message.startswith(said)
        assert "its limit is" in fault.message
        assert await master.value(0) == "fine"
        master.assign("def task(): return 'next'", call(), limits=most, first=2)
        assert await master.value(2) == "next"

    play()
    assert not groups_of(os.getpid())


def test_a_scratch_that_is_full_is_named() -> None:
    bubblewrap_or_skip()

    @service(slots=1, sandboxes=[BubblewrapSandbox.find(Sizes(scratch_bytes=8 << 20))])
    async def play(master: Master) -> None:
        master.assign(DISK, call())
        fault = (await master.last(0)).fault
        assert fault.code == LimitExceeded.wire_code
        assert fault.message.startswith("scratch disk")

    play()


def test_folders_of_both_versions_of_control_groups_are_found(tmp_path: Path) -> None:
    one, two = tmp_path / "memory", tmp_path / "unified"
    session = two / "user.slice" / "session.scope"
    for folder in (one / "mine", session):
        folder.mkdir(parents=True)
    (session / "cgroup.subtree_control").write_text("")
    (session.parent / "cgroup.subtree_control").write_text("memory pids\n")
    proc = tmp_path / "proc"
    proc.mkdir()
    mounts = [f"1 0 0:1 / {two} rw - cgroup2 cgroup2 rw"]
    groups = ["0::/user.slice/session.scope"]

    def found() -> Hierarchy | None:
        (proc / "mountinfo").write_text("\n".join(mounts))
        (proc / "cgroup").write_text("\n".join(groups))
        return Hierarchy.find(proc)

    beside = found()
    assert beside is not None and beside.guarantees == {"cpu": False, "processes": True}
    group = beside.make()
    (folder,) = session.parent.glob("potluck-*")
    (folder / "cgroup.kill").write_text("")
    group.kill(apart=17)
    assert (folder / "cgroup.kill").read_text() == "1"
    (folder / "cgroup.kill").unlink()
    group.set_apart(17)
    (apart,) = session.parent.glob("potluck-*-apart")
    assert (apart / "cgroup.procs").read_text() == "17"
    (apart / "cgroup.procs").unlink()
    group.remove()
    assert not list(session.parent.glob("potluck-*"))
    (session.parent / "cgroup.subtree_control").write_text("\n")
    assert found() is None
    mounts.append(f"2 0 0:2 / {one} rw - cgroup cgroup rw,memory")
    groups.append("4:memory:/mine")
    first = found()
    assert first is not None and first.guarantees == {"cpu": False, "processes": False}
    first.make().remove()
    assert not list((one / "mine").iterdir())


def test_a_group_left_by_a_node_that_had_this_processs_number_is_no_obstacle() -> None:
    groups = counted()
    for one in (left := groups.make())._folders():
        stem, _, number = one.name.rpartition("-")
        (one.parent / f"{stem}-{int(number) + 1}").mkdir()
    try:
        made = groups.make()
        made.remove()
    finally:
        for one in left._folders():
            stem, _, number = one.name.rpartition("-")
            (one.parent / f"{stem}-{int(number) + 1}").rmdir()
        left.remove()


@pytest.mark.parametrize("inner", ["", "potluck-10-1"], ids=["plain", "with those of a node in its sandbox"])
def test_groups_of_nodes_that_are_gone_are_removed(inner: str) -> None:
    groups = counted()
    left = groups.make()
    abandoned = psutil.Popen(["true"])
    abandoned.wait()
    for folder in left._folders():
        (folder.rename(folder.with_name(f"potluck-{abandoned.pid}-1")) / inner).mkdir(exist_ok=True)
    groups.remove_abandoned()
    assert not groups_of(abandoned.pid)
