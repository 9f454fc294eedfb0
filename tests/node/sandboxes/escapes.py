"""What a hostile task may try: a name, the guarantee that is to stop it, and its program.

`attempt(world)` is true when it has got what it wanted. `world` tells it more than a real task would know: where the
victims are. Calls that would harm the machine if they were let through are made with arguments that make no sense; they
have succeeded when the kernel complains of the arguments and not of the privilege.
"""

# ruff: noqa: E501 (each line a program)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PRELUDE = """
import ctypes, errno, os, signal, socket, subprocess, sys, threading, time

LIBC = ctypes.CDLL(None, use_errno=True)
link = f"/tmp/potluck-escape-{time.monotonic_ns()}"
FORBIDDEN = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EROFS, errno.ENOENT)

def permitted(number, *arguments):
    ctypes.set_errno(0)
    return LIBC.syscall(number, *arguments) >= 0 or ctypes.get_errno() not in FORBIDDEN

def reached(action):
    try:
        return bool(action())
    except (OSError, ValueError, MemoryError):
        return False

def opened(path, flags):
    os.close(os.open(path, flags))
    return True

def answered(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(1)
        one.connect(address)
        one.send(b"ping")
        return one.recv(4) == b"pong"

def child():
    pid = os.fork()
    if not pid:
        time.sleep(5)
        os._exit(0)
    return pid
"""


@dataclass(frozen=True)
class Attempt:
    name: str
    guarantee: str
    program: str
    limits: Mapping[str, int | float] = field(default_factory=dict)
    leaves: str = ""
    """A program run before it in another job, whose traces it looks for."""
    beside: bool = False
    """That other job of the same owner still runs."""
    spoofs: bool = False
    """It has succeeded when another job's task has the result that it has made up."""
    flees: bool = False
    """It has succeeded when any process of it outlives its end."""


def _attempts(guarantee: str, table: Mapping[str, str], **options: object) -> list[Attempt]:
    """Of expressions."""
    return [
        Attempt(name, guarantee, f"def attempt(world):\n    return reached(lambda: {what})", **options)  # type: ignore[arg-type]
        for name, what in table.items()
    ]


NETWORK = _attempts(
    "network",
    {
        "TCP to a port of the machine": "answered(socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', world['tcp']))",
        "TCP by IPv6": "answered(socket.AF_INET6, socket.SOCK_STREAM, ('::1', world['tcp6']))",
        "UDP to a port of the machine": "answered(socket.AF_INET, socket.SOCK_DGRAM, ('127.0.0.1', world['udp']))",
        "an abstract socket of the machine": "answered(socket.AF_UNIX, socket.SOCK_STREAM, chr(0) + world['abstract'])",
        "who listens on the machine": "('%04X' % world['tcp']) in open('/proc/net/tcp').read()",
        "which local sockets there are": "world['abstract'] in open('/proc/net/unix').read()",
        "the node's own port": "socket.create_connection(('127.0.0.1', world['node_port']), 1)",
    },
)

_CALLS = {
    "another namespace of users": "permitted(world['calls']['unshare'], 0x10000000)",
    "another namespace of mounts": "permitted(world['calls']['unshare'], 0x00020000)",
    "another network": "permitted(world['calls']['unshare'], 0x40000000)",
    "a child in namespaces of its own": "permitted(world['calls']['clone'], 0x10000000 | 0x40000000 | 17, 0, 0, 0, 0)",
    "clone3, whose flags no filter sees": "permitted(world['calls']['clone3'], 0, 0)",
    "entering a namespace": "permitted(world['calls']['setns'], -1, 0)",
    "mounting": "permitted(world['calls']['mount'], 0, b'/scratch', b'tmpfs', 0, 0)",
    "unmounting": "permitted(world['calls']['umount2'], b'/scratch', 1 << 30)",
    "moving the root": "permitted(world['calls']['pivot_root'], b'/scratch', b'/scratch')",
    "changing the root": "permitted(world['calls']['chroot'], b'/scratch')",
    "a handle on a tree": "permitted(world['calls']['open_tree'], -100, b'/scratch', 1)",
    "a file system of its own": "permitted(world['calls']['fsopen'], b'tmpfs', 0)",
    "tracing a child": "permitted(world['calls']['ptrace'], 0x4206, child(), 0, 0)",
    "reading another process's memory": "permitted(world['calls']['process_vm_readv'], child(), 0, 0, 0, 0, 0)",
    "writing another process's memory": "permitted(world['calls']['process_vm_writev'], child(), 0, 0, 0, 0, 0)",
    "taking another process's descriptors": "permitted(world['calls']['pidfd_getfd'], os.pidfd_open(child()), 0, 0)",
    "comparing processes in the kernel": "permitted(world['calls']['kcmp'], os.getpid(), os.getpid(), 0, 0, 0)",
    "performance counters": "permitted(world['calls']['perf_event_open'], 0, 0, -1, -1, 0)",
    "faults handled by the user": "permitted(world['calls']['userfaultfd'], 1 << 30)",
    "queues into the kernel": "permitted(world['calls']['io_uring_setup'], 0, 0)",
    "setting the clock": "permitted(world['calls']['clock_settime'], 0, b'\\xff' * 16)",
    "setting the time of day": "permitted(world['calls']['settimeofday'], b'\\xff' * 16, 0)",
    "slewing the clock": "permitted(world['calls']['clock_adjtime'], 99, b'\\0' * 208)",
    "another way of being scheduled": "permitted(world['calls']['sched_setscheduler'], 0, 99, b'\\1\\0\\0\\0')",
    "priority of input and output": "permitted(world['calls']['ioprio_set'], 1, 0, 1 << 13)",
    "a higher priority": "(lambda before: os.nice(-5) < before)(os.nice(0))",
    "restarting the machine": "permitted(world['calls']['reboot'], 1, 2, 3, 0)",
    "a program in the kernel": "permitted(world['calls']['bpf'], 99, 0, 0)",
    "keys of the kernel": "permitted(world['calls']['keyctl'], 99, 0, 0, 0, 0)",
    "swapping to a file": "permitted(world['calls']['swapon'], b'/dev/null', 0)",
    "accounts of processes": "permitted(world['calls']['acct'], 0)",
    "the kernel's log": "permitted(world['calls']['syslog'], 10, 0, 0)",
    "quotas of disks": "permitted(world['calls']['quotactl'], 1 << 20, 0, 0, 0)",
    "the machine's name": "permitted(world['calls']['sethostname'], b'mine', 4)",
    "another personality": "permitted(world['calls']['personality'], 0x0040000)",
    "raw sockets": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "raw packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "talking to the kernel's network": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "becoming another user": "os.setuid(12345) is None",
    "a file of another user": "open('/scratch/mine', 'w').close() or os.chown('/scratch/mine', 12345, 12345) is None",
    "making a device": "os.mknod('/scratch/device', 0o20600, os.makedev(1, 3)) is None",
    "files by handles": "permitted(world['calls']['open_by_handle_at'], -1, b'\\0' * 16, 0)",
}

FILES = _attempts(
    "filesystem",
    {
        "a file of the host": "open(world['secret']).read() == 'secret'",
        "changing a file of the host": "opened(world['secret'], os.O_RDWR)",
        "removing a file of the host": "os.remove(world['spare']) is None",
        "the home": "os.listdir(world['home'])",
        "the host by a symbolic link": "os.symlink(world['secret'], link) or (open(link).read(), os.unlink(link))[0] == 'secret'",
        "the host by a hard link": "os.link(world['secret'], world['secret'] + '.2') is None",
        "the host through another process's root": "open(f'/proc/{os.getppid()}/root' + world['secret']).read()",
        "the host by dots": "open('/usr/lib/' + '../' * 9 + world['secret']).read() == 'secret'",
        "the node's key": "open(world['key'], 'rb').read()",
        "the node's control socket": "socket.socket(socket.AF_UNIX).connect(world['control']) is None",
        "passwords of the machine": "open('/etc/shadow').read()",
        "users of the machine": "open('/etc/passwd').read()",
        "writing into site-packages": "os.access(world['packages'], os.W_OK)",
        "writing into the node's own code": "os.access(world['code'], os.W_OK)",
        "writing into /usr": "os.access('/usr/lib', os.W_OK)",
        "files in /dev": "opened('/dev/potluck-escape', os.O_CREAT | os.O_WRONLY) and os.remove('/dev/potluck-escape') is None",
        "settings of the kernel": "opened('/proc/sys/kernel/hostname', os.O_WRONLY)",
        "what the kernel does with the dead": "opened('/proc/sys/kernel/core_pattern', os.O_WRONLY)",
        "the kernel's caches": "opened('/proc/sys/vm/drop_caches', os.O_WRONLY)",
        "who uses which page of memory": "opened('/proc/kpagecount', os.O_RDONLY) and open('/proc/kpagecount', 'rb').read(8)",
        "addresses in the kernel": "open('/proc/kallsyms').read(8)",
        "the machine's keys": "'keyring' in open('/proc/keys').read()",
        "switches of the kernel": "os.access('/sys/kernel', os.F_OK)",
        "control groups": "os.listdir('/sys/fs/cgroup')",
    },
)

ENVIRONMENT = _attempts(
    "environment",
    {
        "a secret in the environment": "os.environ.get('SECRET_TOKEN') == 'token'",
        "a secret where the kernel keeps it": "b'SECRET_TOKEN' in open('/proc/self/environ', 'rb').read()",
        "what a child inherits": "'SECRET_TOKEN' in subprocess.run(['env'], capture_output=True, text=True).stdout",
    },
)

OTHERS = _attempts(
    "processes of others",
    {
        "seeing other processes": "os.path.exists(f\"/proc/{world['victim']}/stat\") and b'victim' in open(f\"/proc/{world['victim']}/cmdline\", 'rb').read()",
        "stopping its parent": "os.kill(os.getppid(), signal.SIGSTOP) or (time.sleep(0.1), open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[0])[1] == 'T' and os.kill(os.getppid(), signal.SIGCONT) is None",
        "a signal to another process": "os.kill(world['victim'], 0) is None",
        "limits of another process": "__import__('resource').prlimit(world['victim'], 7)",
        "a handle on another process": "os.pidfd_open(world['victim'])",
        "the command line of the node": "any(b'--interface' in open(f'/proc/{pid}/cmdline', 'rb').read() for pid in os.listdir('/proc') if pid.isdecimal())",
    },
) + _attempts(
    "memory of others",
    {"a segment of shared memory": "LIBC.shmget(world['segment'], 1, 0) >= 0"},
)

MEMORY = [
    Attempt(name, "memory", f"def attempt(world):\n    {program}", {"memory": 96 << 20})
    for name, program in {
        "memory": "held = [b'x' * (8 << 20) for _ in range(25)]; time.sleep(0.2); return len(held) == 25",
        "shared memory": "import mmap; held = [mmap.mmap(-1, 8 << 20) for _ in range(25)]; [one.write(b'x' * (8 << 20)) for one in held]; time.sleep(0.2); return True",
        "/dev/shm": "open('/dev/shm/f', 'wb').write(b'x' * (200 << 20)); time.sleep(0.2); return True",
        "files in /tmp": "[open(f'/tmp/{n}', 'wb').write(b'x' * (8 << 20)) for n in range(25)]; time.sleep(0.2); return True",
        "memory without a name": "fd = os.memfd_create('x'); [os.write(fd, b'x' * (8 << 20)) for n in range(25)]; time.sleep(0.2); return True",
        "many children's memory": "code = 'import time; held = bytes(1) * (50 << 20); time.sleep(2)'; started = [subprocess.Popen([sys.executable, '-c', code]) for _ in range(5)]; return all(one.wait() == 0 for one in started)",
    }.items()
]

USE = [
    Attempt(
        "more processes than it may",
        "processes",
        "def attempt(world):\n    return reached(lambda: len([child() for _ in range(60)]) == 60)",
        {"processes": 20},
    ),
    Attempt(
        "more threads than it may",
        "processes",
        "def attempt(world):\n"
        "    for _ in range(60): threading.Thread(target=time.sleep, args=[2], daemon=True).start()\n    return True",
        {"processes": 20},
    ),
    Attempt(
        "processes that multiply",
        "processes",
        "def attempt(world):\n    for _ in range(6): os.fork()\n    time.sleep(1)\n    return True",
        {"processes": 20},
    ),
    Attempt(
        "filling the scratch",
        "disk",
        "def attempt(world):\n    open('/scratch/f', 'wb').write(b'x' * (48 << 20)); time.sleep(1); return True",
        {"disk": 16 << 20},
    ),
    Attempt(
        "using up descriptors",
        "descriptors",
        "def attempt(world):\n"
        "    import resource\n"
        "    reached(lambda: resource.setrlimit(7, (6000, 6000)) or True)\n"
        "    return reached(lambda: len([os.open('/dev/null', 0) for _ in range(5000)]) == 5000)",
    ),
    Attempt(
        "flooding the output",
        "output",
        "def attempt(world):\n    for _ in range(3000): print('x' * 1000)\n    time.sleep(0.2)\n    return True",
        {"output": 1 << 20},
    ),
    Attempt(
        "working for ever",
        "cpu",
        "def attempt(world):\n    end = time.process_time() + 1.5\n    while time.process_time() < end: pass\n    return True",
        {"cpu": 0.5},
    ),
]

_FLEE = """
def attempt(world):
    for _ in range(3):
        if not os.fork():
            os.setsid()
            if not os.fork():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", world["mark"]])
            os._exit(0)
    time.sleep(60)
"""
FLIGHT = [Attempt("outliving the time-out", "kill_all", _FLEE, flees=True)]

LEASES = [
    Attempt(
        f"what another job has left in {where}",
        "lease",
        f"def attempt(world):\n    return reached(lambda: {found})",
        leaves=f"def attempt(world):\n    {leaving}\n    return True",
    )
    for where, leaving, found in (
        ("its scratch", "open('/scratch/left', 'w').close()", "os.path.exists('/scratch/left')"),
        ("/tmp", "open('/tmp/left', 'w').close()", "os.path.exists('/tmp/left')"),
        ("/dev/shm", "open('/dev/shm/left', 'w').close()", "os.path.exists('/dev/shm/left')"),
        ("memory", "sys.left = 'secret'", "sys.left if hasattr(sys, 'left') else ''"),
        ("shared memory", "LIBC.shmget(4711, 4096, 0o1600)", "LIBC.shmget(4711, 1, 0) >= 0"),
        ("modules", "__import__('json').left = 'secret'", "getattr(__import__('json'), 'left', '')"),
        ("a process", "child()", "len([one for one in os.listdir('/proc') if one.isdecimal()]) > 2"),
        ("an abstract socket", "sys.s = socket.socket(1); sys.s.bind(chr(0) + 'left'); sys.s.listen()", "socket.socket(1).connect(chr(0) + 'left') is None"),
    )
]  # fmt: skip

_WAITING = """
def attempt(world):
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        if reached(lambda: FOUND):
            return True
        time.sleep(0.05)
"""
_NEIGHBOUR = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(10)', 'neighbour'])"
_NEIGHBOURS = "[int(one) for one in os.listdir('/proc') if one.isdecimal() and b'neighbour' in open(f'/proc/{one}/cmdline', 'rb').read()]"
NEIGHBOURS = [
    Attempt(
        f"another job of the same owner through {where}",
        guarantee,
        _WAITING.replace("FOUND", found),
        leaves=f"def attempt(world):\n    {leaving}\n    time.sleep(world['neighbour_s'])\n    return True",
        beside=True,
    )
    for where, guarantee, leaving, found in (
        ("its scratch", "lease", "open('/scratch/near', 'w').close()", "os.path.exists('/scratch/near')"),
        ("/tmp", "lease", "open('/tmp/near', 'w').close()", "os.path.exists('/tmp/near')"),
        ("/dev/shm", "lease", "open('/dev/shm/near', 'w').close()", "os.path.exists('/dev/shm/near')"),
        ("shared memory", "lease", "LIBC.shmget(4712, 4096, 0o1600)", "LIBC.shmget(4712, 1, 0) >= 0"),
        ("an abstract socket", "lease", "sys.s = socket.socket(1); sys.s.bind(chr(0) + 'near'); sys.s.listen()", "socket.socket(1).connect(chr(0) + 'near') is None"),
        ("its processes", "lease", _NEIGHBOUR, _NEIGHBOURS),
        ("ptrace", "kernel", _NEIGHBOUR, f"any(permitted(world['calls']['ptrace'], 0x4206, pid, 0, 0) for pid in {_NEIGHBOURS})"),
    )
]  # fmt: skip

_SPOOF = """
def attempt(world):
    from potluck.overlay.wire import values
    from potluck.overlay.wire.worker import FROM_WORKER, TaskFinished
    forged = b"".join(
        FROM_WORKER.encode(TaskFinished(number, values.encode("forged"), None, False, 0.0)) for number in world["tasks"]
    )
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            with socket.socket(fileno=os.dup(descriptor)) as pipe:
                pipe.send(forged)
        except OSError:
            pass
    time.sleep(1)
"""
SPOOFS = [Attempt("another task's result", "the pipe", _SPOOF, spoofs=True)]

ATTEMPTS = {
    attempt.name: attempt
    for attempt in [
        *NETWORK,
        *_attempts("kernel", _CALLS),
        *FILES,
        *ENVIRONMENT,
        *OTHERS,
        *MEMORY,
        *USE,
        *FLIGHT,
        *LEASES,
        *NEIGHBOURS,
        *SPOOFS,
    ]
}
