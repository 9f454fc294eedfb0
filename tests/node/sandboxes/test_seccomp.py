"""The filter of system calls: against a model of the kernel's machine, and against the kernel."""

from __future__ import annotations

import errno
import platform
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.inside.seccomp import (
    ALLOW,
    CONFINING,
    FAMILIES,
    KILL,
    MACHINES,
    REFUSED,
    UNCOUNTED,
    Instruction,
    Machine,
    encoded,
    filter_for,
)

from .test_sandboxes import bubblewrap_or_skip, run

OWN_ONLY = {"prlimit64": (302, 261)}
NEW_USER_NAMESPACE = 0x1000_0000
ORDINARY_FORK = 0x0120_0011


def judged(program: list[Instruction], audit: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel's interpreter answers, for the codes that are used; it runs forward only, and to an end."""
    data = struct.pack("=iIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    accumulator, at = 0, 0
    while True:
        one = program[at]
        at += 1
        if one.code == 0x06:
            return one.operand
        if one.code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, one.operand)
            continue
        holds = {
            0x15: accumulator == one.operand,
            0x35: accumulator >= one.operand,
            0x45: bool(accumulator & one.operand),
        }[one.code]
        at += one.if_true if holds else one.if_false


def refusal(number: int) -> int:
    return 0x0005_0000 | number


machines = st.sampled_from(list(MACHINES.values()))
words = st.integers(0, (1 << 64) - 1)


@given(machines, st.integers(0, 500), words, words, st.booleans())
def test_what_is_in_the_table_is_refused_and_nothing_else(
    machine: Machine, number: int, first: int, second: int, counted: bool
) -> None:
    table = REFUSED if counted else REFUSED | UNCOUNTED
    verdict = judged(filter_for(machine, FAMILIES, table, {}), machine.audit, number, (first, second))
    if number in {numbers[machine.column] for numbers in table.values()}:
        assert verdict == refusal(errno.EPERM)
    elif number == machine.clone3:
        assert verdict == refusal(errno.ENOSYS)
    elif number not in (machine.clone, machine.socket, machine.ioctl):
        assert verdict == ALLOW


@given(machines, words)
def test_sockets_are_of_the_families_that_may_be(machine: Machine, family: int) -> None:
    program = filter_for(machine, FAMILIES, REFUSED, {})
    for one in (family, *FAMILIES):
        expected = ALLOW if one & 0xFFFF_FFFF in FAMILIES else refusal(errno.EAFNOSUPPORT)
        assert judged(program, machine.audit, machine.socket, (one,)) == expected


@given(machines, words)
def test_clone_makes_processes_and_no_namespaces(machine: Machine, flags: int) -> None:
    program = filter_for(machine, FAMILIES, REFUSED, {})
    assert judged(program, machine.audit, machine.clone, (flags & ~0x7E02_0000,)) == ALLOW
    assert judged(program, machine.audit, machine.clone, (flags | NEW_USER_NAMESPACE,)) == refusal(errno.EPERM)
    assert judged(program, machine.audit, machine.clone, (ORDINARY_FORK,)) == ALLOW


@given(machines, words)
def test_own_limits_may_be_set_and_those_of_others_not(machine: Machine, process: int) -> None:
    program = filter_for(machine, (), REFUSED, OWN_ONLY)
    number = OWN_ONLY["prlimit64"][machine.column]
    assert judged(program, machine.audit, number, (0,)) == ALLOW
    assert (judged(program, machine.audit, number, (process,)) == ALLOW) == (process & 0xFFFF_FFFF == 0)


@given(machines, words, words)
def test_nobody_types_into_a_terminal(machine: Machine, descriptor: int, asked: int) -> None:
    program = filter_for(machine, FAMILIES, REFUSED, {})
    typing = asked & 0xFFFF_FFFF in (0x5412, 0x541C)
    assert (judged(program, machine.audit, machine.ioctl, (descriptor, asked)) == ALLOW) != typing
    assert judged(program, machine.audit, machine.ioctl, (descriptor, 0x5412)) == refusal(errno.EPERM)


@given(machines, st.integers(0, (1 << 32) - 1), st.integers(0, 500))
def test_calls_of_another_architecture_end_the_process(machine: Machine, audit: int, number: int) -> None:
    if audit != machine.audit:
        assert judged(filter_for(machine, FAMILIES, REFUSED, {}), audit, number) == KILL
    if machine.has_x32:
        assert judged(filter_for(machine, FAMILIES, REFUSED, {}), machine.audit, number | 0x4000_0000) == refusal(
            errno.ENOSYS
        )


def test_the_filter_is_as_short_as_the_kernel_and_a_pipe_take() -> None:
    for machine in MACHINES.values():
        program = filter_for(machine, (), REFUSED | CONFINING, OWN_ONLY)
        assert len(program) <= 4096 and len(encoded(program)) == 8 * len(program) <= 4096


CALLS = """
import ctypes, socket

def task(numbers, families):
    libc = ctypes.CDLL(None, use_errno=True)
    said = {}
    for name, number in numbers.items():
        ctypes.set_errno(0)
        said[name] = ctypes.get_errno() if libc.syscall(number, -1, -1, -1, -1, -1, -1) < 0 else 0
    for family in families:
        try:
            socket.socket(family, socket.SOCK_RAW if family == 17 else socket.SOCK_STREAM).close()
            said[str(family)] = 0
        except OSError as error:
            said[str(family)] = error.errno
    return said
"""


def test_the_kernel_refuses_what_the_table_says() -> None:
    machine = MACHINES.get(platform.machine())
    if machine is None:
        pytest.skip("there is no table for this machine")
    numbers = {name: one[machine.column] for name, one in REFUSED.items() if one[machine.column] is not None}
    refused = {str(int(one)): errno.EAFNOSUPPORT for one in (16, 17, 38, 40)}
    allowed = {str(int(one)): 0 for one in (socket.AF_UNIX, socket.AF_INET)}
    said = run(bubblewrap_or_skip(), CALLS, numbers, list(map(int, [*refused, *allowed])))
    assert said == dict.fromkeys(numbers, errno.EPERM) | refused | allowed


def test_what_programs_do_every_day_goes_on() -> None:
    source = """
import concurrent.futures, multiprocessing, os, socket, subprocess, sys, tempfile, threading
from multiprocessing import shared_memory

def double(x):
    return 2 * x

def task():
    done = []
    with multiprocessing.get_context("fork").Pool(2) as pool:
        done.append(pool.map(abs, [-1, 2]))
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        done.append(list(pool.map(abs, [-3])))
    memory = shared_memory.SharedMemory(create=True, size=1 << 20)
    memory.buf[0] = 7
    done.append(memory.buf[0])
    memory.close()
    memory.unlink()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()):
            done.append("loopback")
    one, other = socket.socketpair()
    os.mkfifo("/tmp/pipe")
    done.append(subprocess.run(["sh", "-c", "echo from a shell | cat"], capture_output=True, text=True).stdout)
    thread = threading.Thread(target=done.append, args=["thread"])
    thread.start()
    thread.join()
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    os.nice(1)
    return done
"""
    expected = [[1, 2], [3], 7, "loopback", "from a shell\n", "thread"]
    assert run(bubblewrap_or_skip(), source) == expected
