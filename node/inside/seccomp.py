"""Which system calls a task may make: a filter as the kernel runs it (seccomp, classic BPF), made from a table.

Whatever is not in the table is allowed. Refused is what a program of a user does not need and what leads out of a
sandbox, or to parts of the kernel where mistakes were found again and again: other processes' memory, mounts, further
namespaces, keys, modules, clocks, priorities of real time, tracing, io_uring, and every kind of socket but three.
Refused calls fail as they do for want of a privilege, so that programs that can do without go on.

    load the architecture             not ours: the process is ended
    load the number of the call       of the x32 kind: ENOSYS
    each refused number               EPERM; `clone3` ENOSYS, so that programs take `clone`, whose flags can be seen
    clone                             EPERM if it asks for a new namespace
    socket                            EAFNOSUPPORT, but for the families that may be
    ioctl                             EPERM for what types into a terminal
    all others                        allowed
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from ...overlay.errors import SandboxUnavailable

ALLOW: Final = 0x7FFF_0000
KILL: Final = 0x8000_0000
_ERRNO: Final = 0x0005_0000

_LOAD, _EQUAL, _GREATER_OR_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _MACHINE_AT, _FIRST_AT, _SECOND_AT = 0, 4, 16, 24
"""Offsets in `struct seccomp_data`; of arguments the low half."""
_X32: Final = 0x4000_0000
_NEW_NAMESPACES: Final = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000
"""Mount, cgroup, uts, ipc, user, pid and network, as flags of `clone`."""
_SET_SECCOMP: Final = 22
_FILTER: Final = 2
_TYPING: Final = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX."""

# Number on x86-64 and on AArch64; None where there is no such call.
REFUSED: Final[dict[str, tuple[int | None, int | None]]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "syslog": (103, 116),
    "reboot": (169, 142),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "personality": (135, 92),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
}

UNCOUNTED: Final[dict[str, tuple[int | None, int | None]]] = {
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
}
"""Memory that no process has mapped or open, and that lies in no folder: refused where no control group counts it."""

CONFINING: Final[dict[str, tuple[int | None, int | None]]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setpriority": (141, 140),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_secret": (447, 447),
}
"""What needs no namespace of its own to be harmless inside bubblewrap, and is not inside Landlock alone."""
_OWN_ONLY: Final[dict[str, tuple[int, int]]] = {"prlimit64": (302, 261), "sched_setaffinity": (203, 122)}
"""There: of this very process, which is number 0."""


class Machine(msgspec.Struct, frozen=True):
    """How one architecture numbers what is looked at closely; `column` is its own in the table."""

    audit: int
    column: int
    clone: int
    clone3: int
    socket: int
    ioctl: int
    has_x32: bool = False


MACHINES: Final = {
    "x86_64": Machine(0xC000_003E, 0, 56, 435, 41, 16, has_x32=True),
    "aarch64": Machine(0xC000_00B7, 1, 220, 435, 198, 29),
}


class Instruction(NamedTuple):
    code: int
    if_true: int
    if_false: int
    operand: int


Table = Mapping[str, tuple[int | None, int | None]]


def filter_for(machine: Machine, families: Iterable[int], refused: Table, own_only: Table) -> list[Instruction]:
    """Only sockets of these families may be made; calls of `own_only` have no other process for a first argument."""
    made = [
        Instruction(_LOAD, 0, 0, _MACHINE_AT),
        Instruction(_EQUAL, 1, 0, machine.audit),
        Instruction(_RETURN, 0, 0, KILL),
        Instruction(_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine.has_x32:
        made += [Instruction(_GREATER_OR_EQUAL, 0, 1, _X32), _refusal(errno.ENOSYS)]
    made += [Instruction(_EQUAL, 0, 1, machine.clone3), _refusal(errno.ENOSYS)]
    for numbers in refused.values():
        if (number := numbers[machine.column]) is not None:
            made += [Instruction(_EQUAL, 0, 1, number), _refusal(errno.EPERM)]
    made += _only_for(machine.clone, _FIRST_AT, [Instruction(_ANY_BIT, 0, 1, _NEW_NAMESPACES), _refusal(errno.EPERM)])
    allowed = [Instruction(_EQUAL, 0, 1, family) for family in families]
    looked_at = [one for test in allowed for one in (test, Instruction(_RETURN, 0, 0, ALLOW))]
    made += _only_for(machine.socket, _FIRST_AT, [*looked_at, _refusal(errno.EAFNOSUPPORT)])
    typing = [one for number in _TYPING for one in (Instruction(_EQUAL, 0, 1, number), _refusal(errno.EPERM))]
    made += _only_for(machine.ioctl, _SECOND_AT, typing)
    for numbers in own_only.values():
        if (number := numbers[machine.column]) is not None:
            made += _only_for(number, _FIRST_AT, [Instruction(_EQUAL, 1, 0, 0), _refusal(errno.EPERM)])
    return [*made, Instruction(_RETURN, 0, 0, ALLOW)]


def _refusal(number: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, _ERRNO | number)


def _only_for(number: int, argument_at: int, then: Sequence[Instruction]) -> list[Instruction]:
    """`then` finds the argument loaded; whatever it does not decide is allowed."""
    body = [Instruction(_LOAD, 0, 0, argument_at), *then, Instruction(_RETURN, 0, 0, ALLOW)]
    return [Instruction(_EQUAL, 0, len(body), number), *body]


def encoded(program: Iterable[Instruction]) -> bytes:
    """As `struct sock_filter`, one after the other."""
    return b"".join(struct.pack("=HBBI", *one) for one in program)


FAMILIES: Final = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)


def filter_here(*, counted: bool) -> bytes:
    """For the machine this runs on; empty if its calls are not in the table."""
    return _filter_here(FAMILIES, REFUSED if counted else REFUSED | UNCOUNTED, {})


def confining_filter() -> bytes:
    """As `filter_here`, for a process that sees the machine's processes, network and shared memory."""
    return _filter_here((), REFUSED | CONFINING, _OWN_ONLY)


def _filter_here(families: Iterable[int], refused: Table, own_only: Table) -> bytes:
    machine = MACHINES.get(platform.machine())
    return encoded(filter_for(machine, families, refused, own_only)) if machine is not None else b""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def apply(instructions: bytes) -> None:
    """To this process and whatever it starts, for good; new privileges have to be ruled out before. Without
    instructions, nothing. Raises SandboxUnavailable."""
    program = _Program(len(instructions) // 8, instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if instructions and libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise SandboxUnavailable(f"system calls cannot be filtered: {os.strerror(ctypes.get_errno())}")
