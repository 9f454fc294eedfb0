"""The virtual LAN: machines, the ways between them, and what can go wrong on them.

The ether knows who can reach whom and how long it takes; `network` puts streams and datagrams on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import msgspec
import trio

from ..overlay.identity.mesh import Identity
from ..overlay.ports import Address, Stream
from .entropy import named_stream
from .timeline import timeline
from .weather import Weather

LAN_DELAY_S: Final = (0.0002, 0.002)
"""One way, least and most: a wired switch at the lower end, a busy wireless hop at the upper."""
BYTES_PER_S: Final = 125_000_000
"""Gigabit Ethernet."""
TICK_S: Final = 0.0002
"""Arrivals fall on ticks, so that many happen in one step of the clock; which of them is first, the seed decides."""


def on_tick(time_s: float) -> float:
    """The next tick."""
    return math.ceil(time_s / TICK_S) * TICK_S


class Endpoint(Protocol):
    """One end of a stream, as its machine sees it."""

    @property
    def remote(self) -> Address: ...

    def wake(self) -> None:
        """Something about the ways has changed: whoever waits looks again."""

    def cut(self) -> None:
        """The node has died. The other end hears nothing of it yet."""

    def lose(self) -> None:
        """What it had sent and was still under way is lost."""

    def reset(self) -> None:
        """The machine tells the other end that nobody is here any more."""

    def break_off(self) -> None:
        """The connection breaks: both ends learn it, and what was under way is lost."""


class Mailbox(Protocol):
    """Takes datagrams of one multicast group."""

    def put(self, data: bytes, source: str) -> None:
        """It has arrived."""


class Listener(msgspec.Struct, frozen=True):
    identity: Identity
    accept: Callable[[Stream], None]


class Host(msgspec.Struct):
    """A machine with an address. It outlives its node: whoever is refused has met one without a node."""

    address: str
    powered: bool = True
    still: bool = False
    """Its node is stopped: what comes waits in the system's buffers."""
    plugged: bool = True
    group: int = 0
    """Hosts of different groups cannot reach each other."""
    listeners: dict[int, Listener] = {}
    endpoints: dict[int, Endpoint] = {}
    orphans: list[Endpoint] = []
    """Ends that died with the power; their peers are told when the machine is back."""
    mailboxes: dict[int, tuple[tuple[str, int], Mailbox]] = {}
    mouth: Callable[[bytes], bytes] | None = None
    """What becomes of what its node says; None: it is sent as it was said."""
    addresses: Sequence[str] = ()
    """As its node is told of it: another object after every move."""
    moved: trio.lowlevel.ParkingLot = msgspec.field(default_factory=trio.lowlevel.ParkingLot)

    def __post_init__(self) -> None:
        self.be_at(self.address)

    def be_at(self, address: str) -> None:
        self.address, self.addresses = address, (address,)


class Ether:
    """All machines of one world. Delays follow from the seed and the two addresses, not from who asks first."""

    def __init__(self, seed: int, delay_s: tuple[float, float] = LAN_DELAY_S, weather: Weather | None = None) -> None:
        self._seed = seed
        self.weather = weather or Weather(seed)
        self._delay_s = delay_s
        self._hosts: dict[str, Host] = {}
        self._delays: dict[tuple[str, str], float] = {}
        self._numbers = 0
        self._ranks = named_stream(seed, "ether/ranks")

    def at(self, time_s: float, arrive: Callable[[], None], rank: float = 0.0) -> None:
        """Calls `arrive` at this time; of those at one time by rank."""
        timeline().at(time_s, arrive, rank)

    def draw_rank(self) -> float:
        """For one direction of a stream. What arrives in the same tick must not come in the order in which nodes have
        said it: within a turn that is nobody's promise."""
        return self._ranks.random()

    def host(self, address: str) -> Host:
        """The machine at this address, put there at the first mention."""
        if address not in self._hosts:
            self._hosts[address] = Host(address)
        return self._hosts[address]

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def delay_s(self, source: str, target: str) -> float:
        """One way; a machine reaches itself in a tenth of the least."""
        delay = self._delays.get((source, target))
        if delay is None:
            least, most = self._delay_s
            draw = named_stream(self._seed, f"ether/{source}/{target}").random()
            delay = least / 10 if source == target else least + (most - least) * draw
            self._delays[source, target] = delay
        return delay

    def connected(self, source: str, target: str) -> bool:
        one, other = self._hosts.get(source), self._hosts.get(target)
        if one is None or other is None or not (one.powered and other.powered):
            return False
        if one is other:
            return True
        return one.plugged and other.plugged and one.group == other.group and self.weather.passes(source, target)

    def multicast(self, source: str, group: tuple[str, int], data: bytes) -> None:
        """To every member that can be reached now, the sender's own machine included."""
        for host in self._hosts.values():
            if self.connected(source, host.address):
                arrival_s = on_tick(trio.current_time() + self.delay_s(source, host.address))
                copies = self.weather.copies(source, host.address)
                for joined, mailbox in host.mailboxes.values():
                    for _ in range(copies if joined == group else 0):
                        self.at(arrival_s, partial(mailbox.put, data, source))

    def partition(self, groups: Mapping[str, int]) -> None:
        """Hosts by address into groups; those not named are in group 0."""
        for host in self._hosts.values():
            host.group = groups.get(host.address, 0)
        self._changed()

    def heal(self) -> None:
        self.partition({})

    def cut(self, source: str, target: str) -> None:
        """Nothing from the one reaches the other. The way back is another way."""
        self.weather.cut((source, target))
        self._changed()

    def mend(self, source: str, target: str) -> None:
        self.weather.mend((source, target))
        self._changed()

    def break_streams(self, one: str, other: str) -> None:
        """Every connection between the two machines breaks."""
        for endpoint in list(self.host(one).endpoints.values()):
            if endpoint.remote.host == other:
                endpoint.break_off()

    def unplug(self, address: str) -> None:
        """Silence in both directions; the machine itself goes on."""
        self.host(address).plugged = False
        self._changed()

    def plug(self, address: str) -> None:
        self.host(address).plugged = True
        self._changed()

    def move(self, address: str, other: str) -> None:
        """The machine has this other address now, and nobody the former. What was connected by it is closed here, and
        hangs elsewhere."""
        host, self._hosts[address] = self._hosts[address], Host(address, plugged=False)
        host.be_at(other)
        self._hosts[other] = host
        endpoints = list(host.endpoints.values())
        host.endpoints.clear()
        for endpoint in endpoints:
            endpoint.cut()
        self._changed()
        host.moved.unpark_all()

    def kill_node(self, address: str) -> None:
        """The node's process dies, the machine stays: its system resets every stream and refuses new ones."""
        for endpoint in self._cut(self.host(address)):
            endpoint.reset()

    def is_still(self, address: str) -> bool:
        return self._hosts[address].still

    def stop(self, address: str) -> None:
        """The node takes nothing in; its machine does."""
        self.host(address).still = True

    def go_on(self, address: str) -> None:
        host = self.host(address)
        host.still = False
        for endpoint in list(host.endpoints.values()):
            endpoint.wake()

    def power_off(self, address: str) -> None:
        """The machine dies: nobody is told anything, and nothing answers."""
        host = self.host(address)
        orphans = self._cut(host)
        for endpoint in orphans:
            endpoint.lose()
        host.orphans += orphans
        host.powered = False
        self._changed()

    def power_on(self, address: str) -> None:
        host = self.host(address)
        host.powered = True
        orphans, host.orphans = host.orphans, []
        for endpoint in orphans:
            endpoint.reset()
        self._changed()

    def _cut(self, host: Host) -> list[Endpoint]:
        endpoints = list(host.endpoints.values())
        for part in (host.listeners, host.mailboxes, host.endpoints):
            part.clear()
        for endpoint in endpoints:
            endpoint.cut()
        return endpoints

    def _changed(self) -> None:
        for host in self._hosts.values():
            for endpoint in host.endpoints.values():
                endpoint.wake()
