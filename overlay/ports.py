"""Everything real that potluck touches, as protocols. The shipped code meets the world only through these.

The real ones live in `overlay.transport`, `node.store` and `node.sandboxes`; the virtual ones in `simulations`.
Both pass the same conformance tests.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import trio

from .parcels import Parcel
from .wire.capabilities import Guarantees
from .wire.limits import Limits, Usage


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Stream(Protocol):
    """Ordered bytes to one authenticated peer. A broken connection raises `LinkLost` from every method but `aclose`."""

    @property
    def leaf_der(self) -> bytes:
        """The certificate the peer proved to own; verified against the mesh root by the transport."""

    @property
    def remote(self) -> Address: ...

    def send_now(self, data: bytes | bytearray | memoryview) -> bool:
        """Without waiting. False where some of it is left for `flush`; it may not be changed until then.

        Not while a `send_all` is under way.
        """

    async def flush(self) -> None: ...

    async def send_all(self, data: bytes | bytearray | memoryview) -> None: ...

    async def receive_some(self) -> bytes:
        """At least one byte, or b"" when the peer has closed in an orderly way."""

    async def receive_all(self, take: Callable[[bytes], bool]) -> None:
        """Hands over what comes, as it comes, until `take` says that this was all, or the peer has closed in an orderly
        way. Raises, too, what `take` raises."""

    async def receive_long(self, take: Callable[[memoryview], bool]) -> None:
        """As `receive_all`, for much that comes at once: `take` is lent each piece, and has it for the call only."""

    async def aclose(self) -> None: ...


class Datagrams(Protocol):
    """A multicast group. Everything received is unauthenticated."""

    async def send(self, data: bytes) -> None:
        """Best effort; a network that refuses is not an error."""

    async def receive(self) -> tuple[bytes, str]:
        """The data and the source's host."""

    async def aclose(self) -> None: ...


StreamHandler = Callable[[Stream], Awaitable[None]]


class Network(Protocol):
    """Authenticated streams and multicast, as one node sees them."""

    @property
    def addresses(self) -> Sequence[str]:
        """Of this machine, on which it is reached; the first is the one to name."""

    async def moved(self, known: Sequence[str]) -> Sequence[str]:
        """Waits until `addresses` is another object than this: they are others, or the same on another network."""

    async def serve(
        self, handler: StreamHandler, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Accept until cancelled; `handler` runs once per authenticated stream, which is closed when it returns.

        Starts with the address that peers can reach. A peer that fails to authenticate never reaches `handler`.
        """

    async def dial(self, address: Address) -> Stream:
        """Raises `LinkLost` (refused, unreachable, broken), `DeadlineExceeded`, `NotAllowed` (not of this mesh)."""

    async def open_multicast(self) -> Datagrams: ...


class WallClock(Protocol):
    def now_s(self) -> float:
        """Unix time; may jump."""

    def running_s(self) -> float:
        """Seconds since some moment, also while the machine sleeps; never jumps."""


class Entropy(Protocol):
    def token(self, size_bytes: int) -> bytes:
        """Unpredictable bytes for keys and identifiers."""

    def stream(self, name: str) -> random.Random:
        """A generator with one owner, for jitter and tie-breaking; never for secrets."""


class HostSample(NamedTuple):
    cpu_percent: float
    memory_free_bytes: int
    disk_free_bytes: int


class Gpu(NamedTuple):
    uuid: str
    """As its driver names it, and programs are told."""
    name: str
    memory_bytes: int
    devices: tuple[str, ...]
    """Files that whoever uses it has to open."""
    maker: str
    """`nvidia` or `amd`."""


class Access(NamedTuple):
    """What a worker reaches that others do not."""

    gpus: Sequence[Gpu] = ()
    network: bool = False
    """The machine's own."""


NO_ACCESS: Final = Access()


class Look(NamedTuple):
    """At the machine, for its owner."""

    untouched_s: float
    """Since somebody has last used a terminal or device."""
    busy_cpus: float
    """Taken since the last look by programs that are neither this node nor its tasks."""


class Host(Protocol):
    """How the machine itself is doing, and its owner."""

    cores: Sequence[int]
    """Numbers of those that this process may use."""
    memory_bytes: int
    gpus: Sequence[Gpu]
    """That the owner lends."""
    packages: Mapping[str, str]
    """What Python finds installed: version by name."""

    def has_module(self, name: str) -> bool:
        """Whether Python here finds a top-level module of this name."""

    def installed(self) -> Hashable:
        """Another value than before when packages have come or gone."""

    def sample(self) -> HostSample: ...

    def look(self) -> Look: ...

    def wall(self) -> datetime:
        """What its owner's clock shows, wherever that is."""


class Store(Protocol):
    """A durable ordered map per table. Writes become durable together at `commit`.

    Reads see uncommitted writes of this process. Keys and values are bytes.
    """

    def put(self, table: str, key: bytes, value: bytes) -> None: ...

    def delete(self, table: str, key: bytes) -> None: ...

    def get(self, table: str, key: bytes) -> bytes | None: ...

    def scan(self, table: str, prefix: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        """In order of key."""

    async def commit(self) -> None:
        """Returns when everything put or deleted before the call is on disk."""

    async def aclose(self) -> None: ...


OUTPUT_PART_BYTES: Final = 64 << 10


class WorkerProcess(Protocol):
    """A sandboxed process that speaks `wire.worker` frames over a two-way pipe."""

    @property
    def guarantees(self) -> Guarantees: ...

    def send_now(self, data: bytes | bytearray | memoryview, parcels: Sequence[Parcel] = ()) -> bool:
        """As a `Stream`. Raises LinkLost when the process has gone."""

    def claim(self, size_bytes: int) -> Parcel:
        """The next that has come beside the frames. Raises RemoteProtocolError where none has, or another one."""

    async def flush(self) -> None: ...

    async def receive_some(self) -> bytes:
        """b"" once the process has closed the pipe or died."""

    def receive_ready(self) -> bytes:
        """What has come over the pipe and was not received yet; never blocks."""

    async def output_arrived(self, stream: int) -> bool:
        """Waits until there is output to stdout (1) or stderr (2); False once there will be no more."""

    def read_output(self, stream: int) -> bytes:
        """The next bytes of it, as they were written, `OUTPUT_PART_BYTES` at most; never blocks. While nobody reads,
        whoever prints waits."""

    async def send_input(self, data: bytes) -> None:
        """To its standard input; waits while it is full. Raises LinkLost when the process has gone."""

    def end_input(self) -> None:
        """There is no more of it."""

    async def wait(self) -> str:
        """How it ended, for a person: `exit status 3`, `killed by SIGSEGV`."""

    def bind(self, cores: Sequence[int]) -> None:
        """It, and all that it has started, run on these cores only; none: on all that there are."""

    def limit(self, limits: Limits) -> None:
        """To be held to by the kernel, where it can; called before the first task is sent."""

    def usage(self) -> Usage | None:
        """What has been used, as far as it is known here; None where nothing real is."""

    async def stop(self) -> None:
        """Holds the process and everything it started where they are: nothing of it runs until `resume`. Raises
        LinkLost when it has gone."""

    async def resume(self) -> None:
        """Lets it all run again. Raises LinkLost when it has gone."""

    def begin_to_kill(self) -> None:
        """What `kill` ends comes to its end already, where that takes no waiting."""

    async def kill(self) -> None:
        """Ends the process and everything it started; returns when none of it is left."""


class Sandbox(Protocol):
    """Starts worker processes with one set of guarantees."""

    @property
    def backend(self) -> str:
        """`bubblewrap`, `docker`, `bare`, …"""

    @property
    def guarantees(self) -> Guarantees: ...

    @property
    def takes_parcels(self) -> bool:
        """Whether its workers can be handed descriptors."""

    @property
    def opens_network(self) -> bool:
        """Whether it can, where it is asked to."""

    async def start(self, access: Access = NO_ACCESS) -> WorkerProcess:
        """A fresh, never-used process that has said `WorkerReady`. Raises `SandboxUnavailable`."""
