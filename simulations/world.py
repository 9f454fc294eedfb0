"""Whole nodes, as they are shipped, on virtual machines in one virtual LAN."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import trio

from ..node.daemon import Node, Ports
from ..overlay.config import Config, Discovery
from ..overlay.errors import Unavailable
from ..overlay.identity.keys import KeyPair
from ..overlay.identity.mesh import SECRET_BYTES, Identity, Mesh, found, make_identity
from ..overlay.ids import distance, node_id_of
from ..overlay.ports import Gpu, HostSample, Look
from .clock import EPOCH_S, VirtualWallClock
from .determinism import Frozen
from .entropy import SeededEntropy
from .ether import Ether
from .events import EventLog, Span
from .misconduct import Mouth
from .network import VirtualNetwork
from .sandbox import VirtualSandbox
from .store import VirtualDisk, VirtualStore
from .weather import Weather

_NOWHERE: Final = Path("/nonexistent/virtual")
"""A virtual node has no files; whoever tried to make one would fail."""
FSYNC_S: Final = (0.0001, 0.004)
KINDS: Final = "abcd"
NODES_PER_OWNER: Final = 3
_KEYS_TRIED: Final = 64
_SLOTS_MAX: Final = 4
_CLOCK_ERROR_S: Final = 0.5
_CLOCK_WRONG_S: Final = 3600.0
"""One machine in eight is an hour off, ahead or behind."""
_CLOCKS_WRONG_EVERY: Final = 8


class VirtualHost:
    """`ports.Host`: a machine with nothing else to do."""

    def __init__(self, cpus: int) -> None:
        self.cores: Sequence[int] = range(cpus)
        self.memory_bytes = 8 << 30
        self.gpus: Sequence[Gpu] = ()
        self.packages: Mapping[str, str] = {}

    def has_module(self, name: str) -> bool:
        return True

    def installed(self) -> None:
        """Nothing ever is."""

    def look(self) -> Look:
        return Look(math.inf, 0.0)

    def wall(self) -> datetime:
        return datetime.fromtimestamp(EPOCH_S + trio.current_time(), UTC)

    def sample(self) -> HostSample:
        return HostSample(cpu_percent=0.0, memory_free_bytes=self.memory_bytes, disk_free_bytes=64 << 30)


class Machine(msgspec.Struct):
    """One computer: what lasts from boot to boot, and the node running on it now."""

    name: str
    address: str
    key: KeyPair
    mesh: Mesh
    clock: VirtualWallClock
    slots: int
    mouth: Mouth
    disk: VirtualDisk = msgspec.field(default_factory=VirtualDisk)
    lives: list[Span] = []
    """Each from ready to dead or gone."""
    pauses: list[Span] = []
    """Each from frozen to thawed."""
    running: Running | None = None
    tasks_run: int = 0
    """Begun by its workers in all its lives, whatever became of them."""

    def count_task(self) -> None:
        self.tasks_run += 1


class Running(msgspec.Struct):
    """One boot of a node."""

    identity: Identity
    node: Node
    store: VirtualStore
    sandbox: VirtualSandbox
    scope: trio.CancelScope
    programs: trio.Nursery | None = None
    """What users run on this machine: it stops and dies with the node."""
    task: trio.lowlevel.Task | None = None
    frozen: Frozen | None = None
    ended: trio.Event = msgspec.field(default_factory=trio.Event)


class World:
    """`loss` and `duplicate`: the fraction of messages that they hit, everywhere, until the weather clears up."""

    def __init__(self, seed: int, nursery: trio.Nursery, *, loss: float = 0.0, duplicate: float = 0.0) -> None:
        self._seed = seed
        self._repeat = duplicate
        self._nursery = nursery
        self._entropy = SeededEntropy(seed, "world")
        self._secret = self._entropy.token(SECRET_BYTES)
        self._owner_meshes: list[Mesh] = []
        self.ether = Ether(seed, weather=Weather(seed, loss, duplicate))
        self.log = EventLog()
        self.machines: dict[str, Machine] = {}
        self._moves = 0
        self.on_start: list[Callable[[Machine], None]] = []
        """Called with every machine whose node is ready."""
        self.failures: list[str] = []
        """Nodes that ended by an error of their own, or would have without `overlay.boundary`: bugs, each with its
        traceback."""

    def add_machine(self, near: bytes | None = None) -> Machine:
        """The next machine, switched off; its name begins with the kind it handles: a1, b1, c1, d1, a2, …

        `near`: a place that its owner wants its node to be near to, and has tried many keys for."""
        number = len(self.machines)
        if number % NODES_PER_OWNER == 0:
            owner = KeyPair.from_seed(self._entropy.token(32))
            self._owner_meshes.append(found(self._secret, owner))
        name = f"{KINDS[number % len(KINDS)]}{number // len(KINDS) + 1}"
        draws = self._entropy.stream(f"machine/{name}")
        error_s = draws.uniform(-_CLOCK_ERROR_S, _CLOCK_ERROR_S)
        if number % _CLOCKS_WRONG_EVERY == _CLOCKS_WRONG_EVERY - 1:
            error_s += draws.choice((-_CLOCK_WRONG_S, _CLOCK_WRONG_S))
        machine = Machine(
            name=name,
            address=f"10.{number // 62_500}.{number // 250 % 250}.{number % 250 + 1}",
            key=self._new_key() if near is None else self._key_near(near),
            mesh=self._owner_meshes[-1],
            clock=VirtualWallClock(error_s),
            slots=draws.randint(1, _SLOTS_MAX),
            mouth=Mouth(self._entropy.stream(f"mouth/{name}"), self._repeat),
        )
        self.machines[name] = machine
        self.ether.host(machine.address).mouth = machine.mouth
        return machine

    def _new_key(self) -> KeyPair:
        return KeyPair.from_seed(self._entropy.token(32))

    def _key_near(self, place: bytes) -> KeyPair:
        keys = [self._new_key() for _ in range(_KEYS_TRIED)]
        return min(keys, key=lambda key: distance(node_id_of(key.public), place))

    def running(self) -> Iterator[Machine]:
        return (machine for machine in self.machines.values() if machine.running is not None)

    def node(self, name: str) -> Node:
        running = self.machines[name].running
        assert running is not None, f"{name} is not running"
        return running.node

    def is_up(self, name: str) -> bool:
        running = self.machines[name].running
        return running is not None and running.node.started.is_set()

    def is_frozen(self, name: str) -> bool:
        running = self.machines[name].running
        return running is not None and running.frozen is not None

    async def start(self, name: str) -> None:
        """Boots the machine and its node, with what an earlier boot left on the disk; returns when it is ready."""
        machine = self.machines[name]
        assert machine.running is None
        machine.lives.append(Span(trio.current_time()))
        self.ether.power_on(machine.address)
        running = machine.running = self._boot(machine)
        self.log.note(name, "start", f"boot {len(machine.lives)}, {machine.slots} slots")
        await self._nursery.start(self._run, machine, running)
        if machine.running is running:
            for on_start in self.on_start:
                on_start(machine)

    def _boot(self, machine: Machine) -> Running:
        entropy = SeededEntropy(self._seed, f"{machine.name}/boot {len(machine.lives)}")
        identity = make_identity(machine.mesh, machine.name, machine.key, entropy)
        config = self._config(machine)
        fsyncs = entropy.stream("fsync")
        store = VirtualStore(machine.disk, lambda: fsyncs.uniform(*FSYNC_S))
        sandbox = VirtualSandbox(on_task=machine.count_task)
        ports = Ports(
            network=lambda who: VirtualNetwork(self.ether, machine.address, config, who),
            wall_clock=machine.clock,
            entropy=entropy,
            host=VirtualHost(machine.slots),
            store=store,
            sandboxes=[sandbox],
            failed=lambda _, fault: self._failed(machine, fault),
        )
        node = Node(config, identity, ports, lambda event: self._announced(machine, identity, event))
        return Running(identity, node, store, sandbox, trio.CancelScope())

    def _config(self, machine: Machine) -> Config:
        return Config(
            name=machine.name,
            data_dir=_NOWHERE,
            runtime_dir=_NOWHERE,
            slots=machine.slots,
            kinds=(machine.name[0],),
            discovery=Discovery(zeroconf=False),
        )

    async def _run(
        self, machine: Machine, running: Running, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED
    ) -> None:
        running.task = trio.lowlevel.current_task()
        try:
            with running.scope:
                async with trio.open_nursery() as running.programs:
                    await running.node.run(task_status=task_status)
                    running.programs.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - whatever ends a node is what the simulation is there to find
            self._failed(machine, error)
        finally:
            if machine.running is running:
                self._is_over(machine)
            running.ended.set()
            if not running.node.started.is_set():
                task_status.started()  # whoever waits for the start looks at `failures`

    def _failed(self, machine: Machine, error: Exception) -> None:
        self.failures.append(f"{machine.name}: {''.join(traceback.format_exception(error))}")
        self.log.note(machine.name, "failed", type(error).__name__)

    def _announced(self, machine: Machine, identity: Identity, event: dict[str, object]) -> None:
        running = machine.running
        if running is None or running.identity is not identity:
            return  # the last words of a node that has been killed
        self.log.note(machine.name, str(event["event"]), str(event.get("node", "")))

    def _is_over(self, machine: Machine) -> None:
        machine.running = None
        machine.lives[-1].ended_s = trio.current_time()

    def lived(self, name: str, since_s: float, until_s: float) -> bool:
        """Whether one boot of this node lasted from before the one to after the other."""
        return any(life.began_s <= since_s and life.ended_s >= until_s for life in self.machines[name].lives)

    # Faults

    def kill(self, name: str) -> None:
        """`kill -9` of the node: the machine goes on, and says that nobody listens."""
        machine = self.machines[name]
        self.ether.kill_node(machine.address)
        self._ended_by_force(machine, "kill")

    def power_off(self, name: str) -> None:
        """The machine itself: no goodbye, no refusal, silence."""
        machine = self.machines[name]
        self.ether.power_off(machine.address)
        self._ended_by_force(machine, "power off")

    def _ended_by_force(self, machine: Machine, how: str) -> None:
        running = machine.running
        assert running is not None
        self.thaw(machine.name)
        self._is_over(machine)
        running.store.cut()
        running.scope.cancel()
        self.log.note(machine.name, how)

    def lose_disk(self, name: str) -> None:
        """With everything on it: a machine that is off will come back as a node that nobody has met."""
        machine = self.machines[name]
        assert machine.running is None
        machine.disk = VirtualDisk()
        machine.key = self._new_key()
        self.log.note(name, "disk lost")

    def freeze(self, name: str) -> None:
        """The node and its users' programs stop, as SIGSTOP stops them; time, and the machine's system, go on."""
        machine = self.machines[name]
        running = machine.running
        assert running is not None and running.task is not None
        running.frozen = Frozen(running.task)
        self.ether.stop(machine.address)
        machine.pauses.append(Span(trio.current_time()))
        self.log.note(name, "freeze")

    def thaw(self, name: str) -> None:
        """They go on, if they were stopped."""
        machine = self.machines[name]
        running = machine.running
        if running is not None and running.frozen is not None:
            running.frozen.thaw()
            running.frozen = None
            self.ether.go_on(machine.address)
            machine.pauses[-1].ended_s = trio.current_time()
            self.log.note(name, "thaw")

    def unplug(self, name: str) -> None:
        self.ether.unplug(self.machines[name].address)
        self.log.note(name, "unplug")

    def plug(self, name: str) -> None:
        self.ether.plug(self.machines[name].address)
        self.log.note(name, "plug")

    def move(self, name: str) -> None:
        """To another address, as a lease that ran out or another room gives it."""
        machine = self.machines[name]
        self._moves += 1
        former, machine.address = machine.address, f"10.250.{self._moves // 250}.{self._moves % 250 + 1}"
        self.ether.move(former, machine.address)
        self.log.note(name, "move", machine.address)

    async def leave(self, name: str) -> None:
        """The graceful way; returns when the node has ended."""
        running = self.machines[name].running
        assert running is not None
        self.log.note(name, "leave")
        running.node.leave()
        await running.ended.wait()
        try:
            await running.store.aclose()
        except Unavailable as error:
            self.log.note(name, "unwritten", str(error))
            running.store.cut()
        self.log.note(name, "gone")
