"""Settings of one node: frozen groups, one per subsystem, checked once and whole.

Files and environment are read in `cli` alone; everything below it is handed a `Config`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from .errors import ConfigError
from .ids import checked_name
from .wire.kinds import Handlers

SANDBOXES: Final = ("auto", "bubblewrap", "docker", "confined", "bare")


class Discovery(msgspec.Struct, frozen=True):
    group: str = "239.255.77.77"
    """Multicast group of the beacon; organisation-local scope (RFC 2365), TTL 1."""
    port: int = 9077
    multicast: bool = True
    zeroconf: bool = True
    discover_interval_s: float = 10.0
    """While others may be about to appear. A HELLO answers each."""
    hello_interval_min_s: float = 1.0
    """At most one HELLO per source in this time: a forged flood is not amplified."""
    handshakes_at_once: int = 8
    retry_base_s: float = 0.5
    retry_max_s: float = 60.0


class Links(msgspec.Struct, frozen=True):
    handshake_timeout_s: float = 5.0
    """From the first byte of TCP to a ready link. Longer helps slow machines, shorter frees what strangers hold."""
    pending_max: int = 128
    """Connections that have not yet authenticated; the oldest goes when one more comes."""
    dial_timeout_s: float = 3.0
    queue_bytes_max: int = 8 << 20
    """What may wait to be written to one peer before `send` waits and `post` gives the link up."""
    neighbours_full: int = 32
    """Up to this many members everyone is everyone's neighbour."""
    neighbours_near: int = 20
    neighbours_random: int = 12
    cached_max: int = 64
    """Links to others than neighbours that are kept although nothing is said on them."""
    cached_s: float = 10.0
    """However many there are, a link is kept for so long after its last use."""


class Membership(msgspec.Struct, frozen=True):
    probe_interval_s: float = 1.0
    """One neighbour that was silent this long is asked in this time. Shorter finds the dead sooner and costs every node
    two messages."""
    probe_timeout_s: float = 0.4
    indirect_timeout_s: float = 0.4
    """For the answer of a neighbour that asks in our place."""
    helpers: int = 3
    """Such neighbours at a time."""
    suspicion_s: float = 1.2
    """From suspected to dead, when enough others confirm it: half a second of waiting for the probe, both timeouts and
    this find a silent death in about 2.5 s. In meshes of less than five it is longer."""
    suspicion_max_s: float = 10.0
    """When nobody does."""
    local_health: bool = True
    """Whether a node doubts itself before others (Lifeguard); off, it is plain SWIM."""
    stall_s: float = 0.5
    """A node that runs this late has been stopped, and trusts itself less."""
    link_silent_s: float = 30.0
    """A link on which nothing comes from one who answers others is broken, whatever TCP says."""
    dial_interval_s: float = 2.0
    """Between dials to a neighbour that is not linked; a lost one is dialled every `probe_timeout_s`."""
    dial_interval_max_s: float = 60.0
    reunion_interval_s: float = 2.0
    """One of the dead is dialled this often, the last dialled last, so that parts of a mesh that were cut off from each
    other find each other again, and machines that slept."""
    reunion_rare_interval_s: float = 8.0
    """Once nobody has died for `reunion_often_s`."""
    reunion_often_s: float = 600.0
    exchange_interval_s: float = 10.0
    """Keep-alive of PEER_EXCHANGE; changes go at once, at most every `exchange_min_s`."""
    exchange_min_s: float = 0.05
    exchange_load_min_s: float = 0.25
    """A busy node's load changes with every task; telling it more often costs every neighbour a message and tells a
    master little, because what it assigned itself it knows."""
    hearsay_max: int = 4096
    """Members known only from what others say. One liar can fill this table and nothing more."""
    hearsay_tries: int = 3
    """Dials to such a member that may fail before others are asked for it."""
    listed_max: int = 1000
    """Up to this many members a node relies on its list of all; in a larger mesh it searches the network."""
    departed_listed_s: float = 20.0
    """How long those who left are shown. They are remembered for longer, so that nothing brings them back."""
    forget_s: float = 6 * 3600.0
    """How long the dead and those who left are remembered, and the dead dialled."""


class Dht(msgspec.Struct, frozen=True):
    k: int = 20
    alpha: int = 3
    """Kademlia (2002) §2.3: lookups in flight."""
    replicas: int = 5
    replicas_far: int = 7
    """Further copies of small values, made in the background."""
    small_value_bytes: int = 1024
    request_timeout_s: float = 0.3
    """After this long a silent contact is late, however slow it was before."""
    request_tries: int = 3
    """Times the above, and whoever is asked has not answered."""
    silence_s: float = 0.6
    """Whom a search asks is taken for dead after this. Longer waits for the slow, shorter finds those that live."""
    refresh_interval_s: float = 3600.0
    """Kademlia (2002) §2.3. Shorter finds distant newcomers sooner; searches meet them anyhow."""
    operation_timeout_s: float = 10.0
    node_record_s: float = 60.0
    load_record_s: float = 15.0
    clock_ahead_max_s: float = 60.0
    look_around_s: float = 2.0
    """How long a node that had company waits for it after its start before it answers for everybody."""
    stores_max: int = 1024
    """Records being written for others at one time; of one peer, a quarter."""
    stores_peer_max: int = 256
    owner_stores_per_s: int = 4000
    owner_set_records_max: int = 16
    """Of the writers of one holder set, these may be nodes of one owner."""
    owner_records_max: int = 200_000
    """What one owner's nodes may keep here, beside `owner_bytes_max`: it all lies in memory, too."""
    owner_bytes_max: int = 256 << 20


class Jobs(msgspec.Struct, frozen=True):
    window_s: float = 0.05
    """Work per slot that a worker is given ahead. More amortises the wire, less is lost with a worker."""
    loose_max: int = 16_384
    """Tasks of one program that wait one by one; those behind them lie as they came in."""
    window_max: int = 4096
    """Instructions per slot, while nothing is known of their run time or it is very short."""
    kept_owner_bytes_max: int = 512 << 20
    """Of one owner's lasting jobs, what this node has on disk as master or deputy."""
    kept_days: float = 7.0
    """How long a job that is over, and whose outcome was asked for, is kept."""


class Execution(msgspec.Struct, frozen=True):
    spares_per_slot: int = 1
    spares_max: int = 4
    pipe_window_s: float = 0.002
    """Work that waits in a worker's pipe, so that it never idles between short tasks."""
    pipe_window_max: int = 64
    output_bytes_max: int = 256 << 10
    """Of stdout and of stderr, each, that comes home with a task's end; the middle is left out, and that is said."""
    started_notice_s: float = 0.05
    """A task that ends sooner is reported once, as finished: each notice wakes the node, its master and the program."""
    result_bytes_max: int = 512 << 20
    worker_tasks_max: int = 100_000
    worker_growth_bytes_max: int = 512 << 20
    """What has run so many tasks, or keeps so much more than after its first one, is replaced when it is idle."""
    waiting_max: int = 128
    """Tasks that stand waiting for tasks they have submitted, each in a process. More lets trees be wider."""
    depth_max: int = 64
    """Of tasks that submit tasks that submit tasks …"""
    own_memory_bytes: int = 0
    """What one task of the node's own owner may take, with all it starts; 0: what there is."""
    others_memory_bytes: int = 0
    network: str = "none"
    """Whose tasks may use it, as the owner's rules say."""


class Quota(msgspec.Struct, frozen=True):
    """What other owners may take of this node; 0: as much as it lends."""

    cpu_s: float = 0.0
    """Each of them, in 24 hours."""
    total_cpu_s: float = 0.0
    """All of them together, in 24 hours."""
    memory_bytes: int = 0
    """The tasks of each, at any time."""
    disk_bytes: int = 0
    """What each may keep: jobs that last, and records."""


class Lending(msgspec.Struct, frozen=True):
    """When this node runs what comes from elsewhere."""

    hours: str = ""
    """Of the week, as `22:00-07:00` or `mon-fri 22:00-07:00, sat-sun 00:00-24:00`; empty: always."""
    idle_s: float = 0.0
    """Only when its owner has left the machine alone for so long; 0: in any case."""
    idle_cpus: float = 0.5
    """Other programs that take more than this are their owner's work."""
    devices: tuple[str, ...] = ()
    """Files whose last use is the owner's, beside terminals."""
    network: str = "none"
    """Whose tasks may use this machine's, if they ask for it: `none`, `own` or `all`."""
    grace_s: float = 30.0
    """How long tasks stand still for the owner before they go back. Longer keeps more of what they have done."""


class Config(msgspec.Struct, frozen=True):
    """Of one node. `data_dir` is shared by all nodes of the user on this machine."""

    name: str
    data_dir: Path
    runtime_dir: Path
    interface: str | None = None
    """IP address or interface name to stay on; None: chosen per route."""
    port: int | None = None
    """None: 9000 or the next free one; 0: any; else exactly this one."""
    former_port: int | None = None
    """Of an earlier life of this process, taken again if it can be: others remember it."""
    peers: tuple[str, ...] = ()
    mesh_secret_file: Path | None = None
    slots: int = 1
    memory_bytes: int = 1 << 30
    disk_bytes: int = 1 << 30
    gpus: str = "all"
    """Which of those that are found are lent: `all`, `none`, or numbers as in `0,2`."""
    kinds: tuple[str, ...] = ()
    handlers: Handlers | None = None
    """What it does with kinds, beside answering an instruction with itself."""
    labels: tuple[tuple[str, str], ...] = ()
    policy: str = "fcfs"
    """Its name, and after a colon its settings: `rr:time_quantum_ms=100`."""
    sandbox: str = "auto"
    private: bool = False
    """For one program only: no discovery, ends with the process that started it."""
    discovery: Discovery = msgspec.field(default_factory=Discovery)
    links: Links = msgspec.field(default_factory=Links)
    membership: Membership = msgspec.field(default_factory=Membership)
    dht: Dht = msgspec.field(default_factory=Dht)
    jobs: Jobs = msgspec.field(default_factory=Jobs)
    execution: Execution = msgspec.field(default_factory=Execution)
    lending: Lending = msgspec.field(default_factory=Lending)
    quota: Quota = msgspec.field(default_factory=Quota)

    def __post_init__(self) -> None:
        if faults := list(self._faults()):
            raise ConfigError(faults)

    def _faults(self) -> Iterator[str]:
        try:
            checked_name(self.name)
        except ConfigError as error:
            yield str(error)
        if self.port is not None and not 0 <= self.port <= 65_535:
            yield f"port {self.port}: must be 0 to 65535"
        for count, what in ((self.slots, "slots"), (self.memory_bytes, "memory"), (self.disk_bytes, "disk")):
            if count < 0:
                yield f"{what} {count}: cannot be negative"
        if self.sandbox not in SANDBOXES:
            yield f"sandbox {self.sandbox!r}: one of {', '.join(SANDBOXES)}"
        for peer in self.peers:
            host, _, port = peer.rpartition(":")
            if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) <= 65_535:
                yield f"peer {peer!r}: write it HOST:PORT"
        for group in (
            self.discovery,
            self.links,
            self.membership,
            self.dht,
            self.jobs,
            self.execution,
            self.lending,
            self.quota,
        ):
            for item in msgspec.structs.fields(group):
                value = getattr(group, item.name)
                if item.name.endswith("_s") and value < 0:
                    yield f"{type(group).__name__.lower()}.{item.name} {value}: cannot be negative"


def loopback(config: Config) -> Config:
    """Everything on this machine: packets are not lost and the dead are found by refused connections."""
    return msgspec.structs.replace(
        config,
        interface="127.0.0.1",
        discovery=msgspec.structs.replace(config.discovery, discover_interval_s=2.0),
    )
