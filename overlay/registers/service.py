"""Shell of registers on one node: answers proposers, and carries out operations of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import trio

from ..background import Background
from ..backoff import doubled_s
from ..dht.service import Dht
from ..errors import LinkLost, LocalProtocolError, PotluckError, RemoteProtocolError, Unavailable
from ..ids import NodeId, OwnerId, key_id
from ..links.link import Link
from ..links.links import Links
from ..membership.service import Membership
from ..ports import Entropy, Store
from ..wire import registers as wire
from ..wire.codec import Message
from ..wire.gossip import Status
from ..wire.registers import Ballot, Configuration, State
from .acceptor import Acceptor, Write
from .asking import Answer, Asking, Question, Tell
from .changes import ROOT, ChosenAgain, Content, ContentStep, Entry, Step, directory_for, enter, root_content, unchanged
from .choosing import ACCEPTORS, Standing
from .founding import Founding
from .proposer import Done, Effect, Proposer, Register, Retry, Send
from .quorums import FIRST, members

logger = logging.getLogger("potluck.registers")

_TABLE: Final = "registers"
_ANSWERS_AT_ONCE: Final = 256
_RESTORED_AT_ONCE: Final = 64
_KNOWN_MAX: Final = 4096
_COUNTER_MAX: Final = 1 << 49
"""Ballots are outrun one by one: none of ours comes near."""
_FOUNDING_TRIES: Final = 5
"""The founding needs everyone: it asks again whoever is silent, where other operations go on without it."""
_PAUSE_S: Final = 0.01
_PAUSE_MAX_S: Final = 0.4


class Registers:
    """`operate` is all there is; `change` and `read` say it for the content."""

    def __init__(self, dht: Dht, links: Links, membership: Membership, store: Store, entropy: Entropy) -> None:
        self._dht = dht
        self._own_id = dht.identity.node_id
        self._owner_id = dht.identity.owner_id
        self._links = links
        self._membership = membership
        self._store = store
        self._entropy = entropy
        self._pauses = entropy.stream("registers")
        self._proposer_id = self._own_id + entropy.token(wire.PROPOSER_BYTES - len(self._own_id))
        self._counter = 0
        self.acceptor = Acceptor()
        self.founding = Founding(self, dht.identity, links, membership, store, entropy)
        self._known: dict[tuple[bytes, bytes], Configuration] = {}
        self._turns: dict[bytes, _Turn] = {}
        self._unwritten: list[tuple[Answer, Tell]] = []
        """Answers that follow from what the next commit writes."""
        self._writing = False
        self._restoring: set[Register] = set()
        self.begun: list[Callable[[bytes, Configuration], None]] = []
        """Called with every register of which a value is accepted here for the first time."""
        self._began_s = 0.0
        self._background = Background()
        self.start = self._background.start
        self.name_of: Callable[[NodeId], str] = lambda node_id: node_id.hex()[:8]
        """Of one that is no member now."""
        links.on(wire.Prepare, self._asked)
        links.on(wire.Accept, self._asked)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._began_s = trio.current_time()
        if damaged := self.acceptor.load(self._store.scan(_TABLE)):
            logger.error("the disk has garbled what %d agreed values are: they are restored from other nodes", damaged)
        self.founding.load()
        await self._background.run(task_status=task_status)

    # Operations

    async def change(self, name: bytes, change: Content) -> Any:
        """Applies the change exactly once, in one order with all others. Raises what the change raises.

        Unavailable: no majority was found in time. The change may have been made all the same, or still be."""
        _, answer = await self.operate(name, ContentStep(self.token(), change))
        if isinstance(answer, PotluckError):
            raise answer
        return answer

    def token(self) -> bytes:
        """Names one change for ever."""
        return self._entropy.token(8)

    async def read(self, name: bytes) -> bytes | None:
        """The content after every change that was acknowledged before. Raises Unavailable."""
        _, content = await self.operate(name, unchanged)
        return content if content is None or isinstance(content, bytes) else None

    async def exists(self, name: bytes) -> None:
        """Returns when the register's first acceptors are agreed. Raises Unavailable."""
        with trio.move_on_after(self._dht.config.operation_timeout_s):
            await self._place(await self._register(name))
            return
        raise self._unavailable(name)

    async def operate(self, name: bytes, step: Step, *, confirm: bool = False) -> tuple[State, Any]:
        """Raises Unavailable. `confirm`: see Proposer."""
        with trio.move_on_after(self._dht.config.operation_timeout_s):
            async with self._turn(name):
                return await self._operate(name, step, confirm=confirm)
        raise self._unavailable(name)

    def _unavailable(self, name: bytes) -> Unavailable:
        founding = self.founding.known
        if founding is not None and self.acceptor.doubts(founding, name):
            return Unavailable(f"this machine's disk has garbled {shown(name)}, and too few others answer that know it")
        return self.founding.lacking() or Unavailable(
            f"no majority of those who agree on {shown(name)} answers{self._missing(name)}"
        )

    def _missing(self, name: bytes) -> str:
        """Who of them is not here, as far as this node knows them; else of those who know where the register is."""
        founding = self.founding.known or b""
        known = self.founding.root if name == ROOT else self._known.get((founding, name))
        acceptors = self.acceptors_of(name) if known is None else members(known)
        if not acceptors and name != ROOT:
            return self._missing(directory_for(name))
        missing = sorted(self._name_of(one) for one in acceptors if self.standing(one) is not Standing.HERE)
        if not missing:
            return ""
        return f": {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; start again what can be"

    def _name_of(self, node_id: bytes) -> str:
        member = self._membership.get(node_id)
        return self.name_of(NodeId(node_id)) if member is None else member.name

    def _turn(self, name: bytes) -> _Turn:
        """Operations of this node on one register wait for each other: they would only outrun each other."""
        return self._turns.setdefault(name, _Turn(self._turns, name))

    async def _operate(self, name: bytes, step: Step, *, confirm: bool) -> tuple[State, Any]:
        register = await self._register(name)
        return await self.operate_from(register, await self._place(register), step, confirm=confirm)

    async def _register(self, name: bytes) -> Register:
        return Register(await self.founding.settled(), name)

    async def operate_from(
        self, register: Register, known: Configuration, step: Step, *, confirm: bool = False
    ) -> tuple[State, Any]:
        """Goes on until it is done."""
        proposer = Proposer(register, known, step, self._next_ballot, confirm=confirm)
        tries = 0
        with Asking(self._dht, self._answer_here, 1 if register.founding else _FOUNDING_TRIES) as asking:
            effects = proposer.begin()
            while True:
                for effect in effects:
                    if isinstance(effect, Done):
                        self._learned(register, effect.state)
                        return effect.state, effect.answer
                    if isinstance(effect, Send):
                        asking.ask(effect)
                if any(isinstance(effect, Retry) for effect in effects):
                    await self._pause(tries)
                    tries += 1
                    if any(isinstance(effect, Retry) and effect.starved for effect in effects):
                        proposer.learned(await self._place(register, afresh=True))
                    effects = proposer.begin()
                else:
                    send, answer = await asking.next()
                    effects = _take(proposer, send, self._believed(register, answer))

    def _next_ballot(self, above: int) -> Ballot:
        self._counter = max(self._counter, above) + 1
        return Ballot(self._counter, self._proposer_id)

    async def _pause(self, tries: int) -> None:
        """Those who outrun each other must not do so in step."""
        await trio.sleep(self._pauses.uniform(0, doubled_s(_PAUSE_S, tries, _PAUSE_MAX_S)))

    def _believed(self, register: Register, answer: Answer | None) -> Answer | None:
        if answer is not None and answer.apart:
            self.founding.is_apart(register)
            return None
        if isinstance(answer, wire.Accepted) and answer.witness is not None:
            self.founding.gather(answer.witness)
        return answer

    # Where a register is

    async def _place(self, register: Register, *, afresh: bool = False) -> Configuration:
        """The register's acceptors as far as they are known: by the last operation, else by its directory."""
        name = register.name
        if name == ROOT:
            return self.founding.root
        known = self._known.get((register.founding, name))
        if known is None or afresh:
            first = Entry(FIRST, self.nearest(name, ACCEPTORS), self._owner_id)
            step = ContentStep(self.token(), enter(name, first))
            _, entry = await self._operate(directory_for(name), step, confirm=False)
            if isinstance(entry, PotluckError):
                raise entry
            known = Configuration(entry.number, entry.acceptors)
            self._know(register, known)
        return known

    def _learned(self, register: Register, state: State) -> None:
        if register.name == ROOT:
            self.founding.learned(state)
        else:
            self._know(register, state.configuration)

    def _know(self, register: Register, configuration: Configuration) -> None:
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[register.founding, register.name] = configuration

    # What proposers ask

    def _asked(self, link: Link, message: Message) -> None:
        assert isinstance(message, wire.Prepare | wire.Accept)
        if error := _fault(message, link.peer.node_id):
            link.lose(error)
            return
        if len(self._unwritten) < _ANSWERS_AT_ONCE:  # else silence: whoever asks asks again
            self._answer(message, link.peer.owner_id, partial(_post, link))

    def _answer_here(self, message: Question, tell: Tell) -> None:
        self._answer(message, self._owner_id, tell)

    def _answer(self, message: Question, owner: OwnerId, tell: Tell) -> None:
        """To a node of this owner. It is told once all is on disk that the answer follows from; None if that fails."""
        answer: Answer
        if self.acceptor.doubts(message.founding, message.name):
            self._begin_restoring(Register(message.founding, message.name))
        if isinstance(message, wire.Prepare):
            answer, write = self.acceptor.prepare(message, owner)
        else:
            is_first = self.acceptor.accepted(message.founding, message.name) is None
            answer, write = self.acceptor.accept(message, owner)
            if is_first and write is not None:
                for begin in self.begun:
                    begin(message.name, message.state.configuration)
            if message.name == ROOT and write is not None:
                answer = msgspec.structs.replace(answer, witness=self.founding.witness_of(message.state))
        if write is None:
            tell(answer)
            return
        self.put(write)
        self._unwritten.append((answer, tell))
        if not self._writing and self._background.running:
            self._writing = True
            self.start(self._write)

    async def _write(self) -> None:
        """Until nothing is left to be written. What comes meanwhile goes with the next commit."""
        try:
            while self._unwritten:
                written, self._unwritten = self._unwritten, []
                try:
                    await self._store.commit()
                except Unavailable as full:
                    logger.debug("proposers were not answered: %s", full)
                    for _, tell in written:
                        tell(None)
                else:
                    for answer, tell in written:
                        tell(answer)
        finally:
            self._writing = False

    def put(self, write: Write) -> None:
        self._store.put(_TABLE, *write)

    async def pass_on(self, name: bytes, node_id: bytes) -> None:
        """Has another acceptor accept what this one has, unless it has promised more."""
        founding = self.founding.known
        accept = None if founding is None else self.acceptor.accepted(founding, name)
        if accept is not None:
            with Asking(self._dht, self._answer_here) as asking:
                asking.ask(Send(node_id, accept))
                await asking.next()

    # What the disk has garbled

    def _begin_restoring(self, register: Register) -> None:
        if register not in self._restoring and len(self._restoring) < _RESTORED_AT_ONCE:
            self._restoring.add(register)
            self.start(self._restore, register)

    async def _restore(self, register: Register) -> None:
        """Has the present state chosen once more by the others. Not before all attempts are over that count on what
        this node has promised in its former life."""
        await trio.sleep_until(self._began_s + 2 * self._dht.config.request_timeout_s * self._dht.config.request_tries)
        again = ChosenAgain()
        try:
            state, _ = await self.operate(register.name, again, confirm=True)
            if self.acceptor.doubts(register.founding, register.name) and register.founding == self.founding.known:
                self.put(self.acceptor.restored(register.founding, register.name, again.ballot, state))
                await self._store.commit()
        except PotluckError as error:
            logger.warning("%s was not restored: %s", shown(register.name), error)
        finally:
            self._restoring.discard(register)

    # For those who care for registers

    def standing(self, node_id: bytes) -> Standing:
        if node_id == self._own_id:
            return Standing.HERE
        member = self._membership.get(node_id)
        if node_id in self._links.bans.nodes or (member is not None and member.status is Status.LEFT):
            return Standing.GONE
        return Standing.HERE if member is not None and member.present else Standing.AWAY

    def is_alive(self, node_id: bytes) -> bool:
        """Present, and nobody doubts it."""
        member = self._membership.get(NodeId(node_id))
        return node_id == self._own_id or (member is not None and member.status is Status.ALIVE)

    def nearest(self, name: bytes, count: int) -> list[bytes]:
        """Live members by this node's list, nearest to the register's place first."""
        return [contact.node_id for contact in self._dht.nearest_members(place_of(name), count)]

    def acceptors_of(self, name: bytes) -> list[bytes]:
        """As this node has accepted them last; empty where it is none of them."""
        accepted = self.acceptor.accepted(self.founding.known or b"", name)
        return [] if accepted is None else list(accepted.state.configuration.acceptors)

    @property
    def own_id(self) -> NodeId:
        return self._own_id


def _post(link: Link, answer: Answer | None) -> None:
    if answer is None:
        return
    try:
        link.post(answer)
    except (LinkLost, LocalProtocolError) as error:
        logger.debug("a proposer was not answered: %s", error)


def _take(proposer: Proposer, send: Send, answer: Answer | None) -> list[Effect]:
    if isinstance(answer, wire.Promise):
        return proposer.promised(send.to, answer)
    if isinstance(answer, wire.Accepted):
        return proposer.accepted(send.to, answer)
    return proposer.failed(send.to, send.message.ballot)


def _fault(message: wire.Prepare | wire.Accept, proposer: NodeId) -> RemoteProtocolError | None:
    """What no proposer of ours asks. What has been proposed to one acceptor, that one may pass on to another."""
    if isinstance(message, wire.Prepare) and not message.ballot.proposer.startswith(proposer):
        return RemoteProtocolError("a ballot is somebody else's")
    if message.ballot.counter > _COUNTER_MAX:
        return RemoteProtocolError("a ballot is higher than any that is ever needed")
    if isinstance(message, wire.Accept) and message.name == ROOT:
        try:
            root_content(message.state)
        except RemoteProtocolError as error:
            return error
    return None


def place_of(name: bytes) -> bytes:
    return key_id("register", name)


def shown(name: bytes) -> str:
    """For a person: a key as it is; what the mesh keeps for itself, by what it is about."""
    namespace, _, key = name.partition(b"\0")
    if name == ROOT or directory_for(name) == ROOT:
        return "where agreed values are"
    text = key.decode(errors="backslashreplace")
    return repr(text) if text.isprintable() else namespace.decode(errors="backslashreplace")


class _Turn:
    """A lock that is there as long as somebody uses it."""

    def __init__(self, turns: dict[bytes, _Turn], name: bytes) -> None:
        self._turns = turns
        self._name = name
        self._lock = trio.Lock()
        self._users = 0

    async def __aenter__(self) -> None:
        self._users += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self._drop()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
        self._drop()

    def _drop(self) -> None:
        self._users -= 1
        if not self._users:
            del self._turns[self._name]
