"""Results that need no second run, for those who ask for it.

What must hold: a result is taken from here only if a node of the same owner has put it here, for the same program,
arguments, Python and packages. The key of the record is a keyed hash of all of these, and its value is sealed with the
owner's key for this very one: what anybody else writes there does not open, and nobody else learns what was computed.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ..overlay.background import Background
from ..overlay.dht.replication import Replication
from ..overlay.errors import Cancelled, LimitExceeded, NotFound, PotluckError, RemoteProtocolError
from ..overlay.identity.keys import derive
from ..overlay.identity.mesh import Identity
from ..overlay.parcels import Parcel, size_of
from ..overlay.ports import Entropy
from ..overlay.wire.codec import decoded
from ..overlay.wire.control import NodeReports, TaskSpec
from ..overlay.wire.layout import decode_inline, encode_inline
from ..overlay.wire.work import Fault, Finished, Inline, Payload, Program, Reference
from .jobs.service import Sink
from .objects import Objects

logger = logging.getLogger("potluck.cache")

NAMESPACE: Final = "result"
LIFE_S: Final = 86_400.0
RESULT_BYTES_MAX: Final = 512 << 10
"""Longer ones are not kept: running again is cheaper than filling other people's memory."""
RECENT_BYTES_MAX: Final = 8 << 20
PATIENCE_S: Final = 1.0
_AT_ONCE: Final = 64
_NONCE_BYTES: Final = 12
_SEAL_BYTES: Final = 16

Submit = Callable[[str, Program, Sequence[TaskSpec]], None]


class _Result(msgspec.Struct, frozen=True, array_like=True):
    node: str
    """Who ran it."""
    finished: Finished
    """Its value by value."""


_result: Final = msgspec.msgpack.Decoder(_Result)


class ResultCache:
    """`versions` says which Python and packages results here come from, `is_alike` which other nodes have the same."""

    def __init__(
        self,
        identity: Identity,
        replication: Replication,
        objects: Objects,
        entropy: Entropy,
        versions: bytes,
        is_alike: Callable[[str], bool],
    ) -> None:
        self._replication = replication
        self._objects = objects
        self._entropy = entropy
        self._versions = versions
        self._is_alike = is_alike
        secret = identity.mesh.owner.private.private_bytes_raw()
        self._naming_key = derive(secret, "names of results")
        self._seal = ChaCha20Poly1305(derive(secret, "seal of results"))
        self._background = Background()
        self._slots = trio.CapacityLimiter(_AT_ONCE)
        self._awaited: dict[tuple[str, int], bytes] = {}
        """Keys of the tasks that run because nothing was found."""
        self._sought: set[tuple[str, int]] = set()
        self._recent: OrderedDict[bytes, bytes] = OrderedDict()
        """Sealed results of this node's own jobs: found before, and sooner than, they have come to the holders."""
        self._recent_bytes = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self._background.run(task_status=task_status)

    def submit(self, job: str, program: Program, specs: Sequence[TaskSpec], submit: Submit, sink: Sink) -> None:
        """What is found goes to `sink`, the rest to `submit`. Raises NotFound as that does."""
        submit(job, program, [])  # the program is known from now on, whatever is found
        known = msgspec.structs.replace(program, body=None)
        for spec in specs:
            self._sought.add((job, spec.index))
            self._background.start(self._look, job, known, spec, submit, sink)

    def cancel(self, job: str, indexes: Iterable[int], sink: Sink) -> None:
        """Those that nobody knows yet but this cache."""
        sought = [index for index in indexes if (job, index) in self._sought]
        self._sought.difference_update((job, index) for index in sought)
        if sought:
            fault = Fault(Cancelled.wire_code, "cancelled")
            sink(job, [NodeReports("", True, [Finished(index, 0, fault=fault) for index in sought])])

    def watching(self, sink: Sink) -> Sink:
        """The same, and what has run is kept."""

        def watch(job: str, batches: list[NodeReports]) -> None:
            for batch in batches:
                for report in batch.reports:
                    if isinstance(report, Finished) and (key := self._awaited.pop((job, report.index), None)):
                        self._keep(key, batch, report)
            sink(job, batches)

        return watch

    def forget(self, job: str) -> None:
        self._sought = {known for known in self._sought if known[0] != job}
        self._awaited = {known: key for known, key in self._awaited.items() if known[0] != job}

    # Looking up

    async def _look(self, job: str, program: Program, spec: TaskSpec, submit: Submit, sink: Sink) -> None:
        key = self.key_of(program.program_id, spec)
        found = None
        if key is not None:
            async with self._slots:
                found = await self._find(key)
        if (job, spec.index) not in self._sought:
            return  # cancelled meanwhile
        self._sought.discard((job, spec.index))
        value = None if found is None else self._kept(found, job)
        if found is None or value is None:
            self._run(job, key, program, spec, submit)
            return
        report = msgspec.structs.replace(found.finished, index=spec.index, attempt=0, value=value, cached=True)
        sink(job, [NodeReports(found.node, True, [report])])

    def _kept(self, found: _Result, job: str) -> Payload | None:
        """Where the program fetches it. None where there is no room; of what runs, results wait until there is."""
        assert isinstance(found.finished.value, Inline)
        try:
            return self._objects.keep(found.finished.value, job)
        except LimitExceeded:
            return None

    def _run(self, job: str, key: bytes | None, program: Program, spec: TaskSpec, submit: Submit) -> None:
        if key is not None:
            self._awaited[job, spec.index] = key
        try:
            submit(job, program, [spec])
        except NotFound:  # the job is over
            self._awaited.pop((job, spec.index), None)

    def key_of(self, program_id: bytes, spec: TaskSpec) -> bytes | None:
        """None where the arguments have gone."""
        arguments = spec.arguments
        if isinstance(arguments, Reference):
            encoded = self._objects.table.read(arguments.object_id)
        else:
            encoded = encode_inline(arguments)
        if encoded is None:
            return None
        digest = hashlib.blake2b(key=self._naming_key, digest_size=32)
        for part in (program_id, spec.kind.encode(), self._versions, encoded):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()

    async def _find(self, key: bytes) -> _Result | None:
        if key in self._recent:
            return self.opened(key, self._recent[key])
        with trio.move_on_after(PATIENCE_S):
            try:
                record = await self._replication.get(NAMESPACE, key)
            except PotluckError as error:
                logger.debug("a result cannot be looked up: %s", error)
                return None
            return None if record is None else self.opened(key, record.value)
        return None

    def opened(self, key: bytes, sealed: bytes) -> _Result | None:
        """None for what no node of this owner has sealed for this key."""
        try:
            data = self._seal.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], key)
            result = decoded(_result, data, "a kept result")
        except (InvalidTag, ValueError, RemoteProtocolError):
            return None
        return result if isinstance(result.finished.value, Inline) else None

    # Keeping

    def _keep(self, key: bytes, batch: NodeReports, report: Finished) -> None:
        """Not what failed; nor a pickle that another's machine has made, for it would pass as our own; nor what comes
        from other packages than ours."""
        if report.fault is not None or (report.pickled and not batch.own) or not self._is_alike(batch.node):
            return
        value = report.value
        if isinstance(value, Reference):
            held = self._objects.table.get(value.object_id)
            if held is None or size_of(held) > RESULT_BYTES_MAX:
                return
            try:
                value = decode_inline(held.whole() if isinstance(held, Parcel) else held)
            except RemoteProtocolError:
                return  # the worker has left what nobody can open
        sealed = self.sealed(key, _Result(batch.node, msgspec.structs.replace(report, value=value)))
        if len(sealed) <= RESULT_BYTES_MAX:
            self._remember(key, sealed)
            self._background.start(self._put, key, sealed)

    def _remember(self, key: bytes, sealed: bytes) -> None:
        self._recent_bytes += len(sealed) - len(self._recent.pop(key, b""))
        self._recent[key] = sealed
        while self._recent_bytes > RECENT_BYTES_MAX:
            self._recent_bytes -= len(self._recent.popitem(last=False)[1])

    def sealed(self, key: bytes, result: _Result) -> bytes:
        nonce = self._entropy.token(_NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, msgspec.msgpack.encode(result), key)

    async def _put(self, key: bytes, sealed: bytes) -> None:
        async with self._slots:
            try:
                await self._replication.put(NAMESPACE, key, sealed, LIFE_S)
            except PotluckError as error:
                logger.debug("a result is not kept: %s", error)
