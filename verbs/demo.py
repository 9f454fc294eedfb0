"""`potluck demo`: three nodes on this machine find each other, share a job, lose one of them, and finish it."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import cloudpickle

from ..client.connection import Connection
from ..client.dialling import dial, greet
from ..client.executor import Executor
from ..client.futures import TaskFuture
from ..client.memory import encoded
from ..client.processes import END_TIMEOUT_S, NodeProcess, end_all
from ..client.surroundings import Surroundings, surroundings_of
from ..overlay.errors import DeadlineExceeded, PotluckError
from ..overlay.places import control_socket_path
from ..overlay.wire import values
from ..overlay.wire.control import AskPeers, MemoryGet, MemorySet
from . import demo_tiles
from .answer import Answer, Session, verb
from .asking import ask, ask_json
from .demo_tiles import AREA_KNOWN, AREA_TOLERANCE, CHECKSUM, COLUMNS, ROWS, Tile
from .demo_view import Board, LiveView, NodeLine, PlainView, SilentView, View

NAMES: Final = ("ant", "bee", "cat")
VICTIM: Final = "cat"
KILL_AFTER: Final = 0.35
"""Of the tiles: late enough to be seen working, early enough to leave work undone."""
READY_TIMEOUT_S: Final = 20.0
MEET_TIMEOUT_S: Final = 15.0
IMPATIENT_S: Final = 0.7
"""For leaving gracefully, when the demo was interrupted."""
JOB_TIMEOUT_S: Final = 45.0
LOOK_AGAIN_S: Final = 0.1
KEY: Final = "demo/motto"
MOTTO: Final = "everyone brings a machine; nobody is in charge"


@verb("demo", summary="Show the whole thing on this machine in a minute.")
def command(session: Session) -> Answer:
    """Start three nodes on this machine, run a job on them, kill one of them, and finish all the same."""
    board = Board()
    begun_s = time.monotonic()
    with _view(session, board) as view, _nodes(session, board, view) as (surroundings, children):
        _meet(surroundings, view)
        tiles, retried = _compute(surroundings, children, board, view)
        right = _verify(tiles, view)
        read = _share(surroundings, view)
    wall_s = time.monotonic() - begun_s
    answer = {
        "nodes": [{"name": node.name, "state": node.state, "tiles": node.tiles} for node in board.nodes.values()],
        "killed": VICTIM,
        "tiles": len(tiles),
        "retried": retried,
        "checksum": demo_tiles.checksum(tiles),
        "right": right,
        "memory": read,
        "wall_s": round(wall_s, 3),
    }
    good = right and read == MOTTO
    last = f"Done in {wall_s:.1f} s, everything cleaned up. Your turn: `potluck up` on each of your machines."
    return Answer(answer, last if good else "", "" if good else "potluck: the demo went wrong", 0 if good else 1)


def _view(session: Session, board: Board) -> View:
    if session.as_json:
        return SilentView()
    return LiveView(board) if sys.stdout.isatty() else PlainView(board)


@contextmanager
def _nodes(session: Session, board: Board, view: View) -> Iterator[tuple[Surroundings, dict[str, NodeProcess]]]:
    """Three real nodes as processes, on loopback, in a folder of their own that goes with them."""
    folder = Path(tempfile.mkdtemp(prefix="potluck-demo-"))
    environment = {name: value for name, value in session.environment.items() if not name.startswith("POTLUCK_")}
    environment["POTLUCK_DATA_DIR"] = str(folder / "data")
    surroundings = surroundings_of(environment)
    children = {
        name: NodeProcess(
            [f"--name={name}", "--interface=127.0.0.1", "--port=0", "--slots=2"], environment, folder / f"{name}.log"
        )
        for name in NAMES
    }
    patience_s = END_TIMEOUT_S
    try:
        view.say("Starting three nodes, told nothing of each other.")
        children[NAMES[0]].start()  # the first one founds the mesh in the folder that all three share
        _await(children[NAMES[0]], board, view)
        for name in NAMES[1:]:
            children[name].start()
        for name in NAMES[1:]:
            _await(children[name], board, view)
        for child in children.values():
            threading.Thread(target=_listen, args=[child], daemon=True).start()
        yield surroundings, children
    except BaseException:
        patience_s = IMPATIENT_S
        raise
    finally:
        end_all(children.values(), patience_s)
        for name in NAMES:  # one that was killed has left its socket behind
            control_socket_path(surroundings.runtime_dir, surroundings.data_dir, name).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _await(child: NodeProcess, board: Board, view: View) -> None:
    ready = child.await_ready(READY_TIMEOUT_S)
    name = str(ready["name"])
    board.nodes[name] = NodeLine(name, str(ready["address"]))
    view.say(f"{name} is ready at {ready['address']}, sandbox {ready['sandbox']}.")


def _listen(child: NodeProcess) -> None:
    """Takes what a node announces, so that it never waits for a reader."""
    try:
        while child.next_event() is not None:
            pass
    except (PotluckError, ValueError, OSError):
        pass  # it was killed in the middle of a line, or its pipe is closed


@contextmanager
def _connection(surroundings: Surroundings, name: str) -> Iterator[Connection]:
    link = greet(dial(surroundings, name))
    connection = Connection(lambda: link)
    connection.start()
    try:
        yield connection
    finally:
        connection.close()


def _meet(surroundings: Surroundings, view: View) -> None:
    """Waits until every node knows every other."""
    begun_s = time.monotonic()
    for name in NAMES:
        with _connection(surroundings, name) as connection:
            while (alive := _alive(connection)) < set(NAMES):
                if time.monotonic() - begun_s > MEET_TIMEOUT_S:
                    raise DeadlineExceeded(f"{name} found only {', '.join(sorted(alive))}")
                time.sleep(LOOK_AGAIN_S)
    view.say(f"They found each other {time.monotonic() - begun_s:.1f} s later: mutual TLS, no address typed.")


def _alive(connection: Connection) -> set[str]:
    peers: list[Mapping[str, Any]] = ask_json(connection, AskPeers)
    return {str(peer["name"]) for peer in peers if peer["state"] == "alive"}


def _compute(
    surroundings: Surroundings, children: dict[str, NodeProcess], board: Board, view: View
) -> tuple[list[Tile], int]:
    """The tiles, and how many had to be begun again."""
    view.say(f"{NAMES[0]} takes a job: {board.total} tiles of the Mandelbrot set, for whoever is free.")
    cloudpickle.register_pickle_by_value(demo_tiles)  # as if it were a program of the user's
    pool = Executor(NAMES[0], surroundings=surroundings)
    try:
        futures = [pool.submit(demo_tiles.tile, *place) for place in _places()]
        pending: set[Future[Any]] = {*futures}
        kill = _killer(children[VICTIM], board, view)
        deadline_s = time.monotonic() + JOB_TIMEOUT_S
        while pending:
            done, pending = wait(pending, LOOK_AGAIN_S, FIRST_COMPLETED)
            for future in done:
                _place(board, future)
            _count_running(board, pending)
            view.update()
            kill(len(board.tiles))
            if time.monotonic() > deadline_s:
                raise DeadlineExceeded(f"{len(pending)} tiles did not come within {JOB_TIMEOUT_S:g} s")
        retried = sum(_attempts(future) > 1 for future in futures)
        view.say(f"All tiles are there; {retried} were begun again elsewhere, none was lost or counted twice.")
        return [tile for tile, _node in board.tiles.values()], retried
    finally:
        cloudpickle.unregister_pickle_by_value(demo_tiles)
        pool.abandon()  # the nodes go now: nobody is to wait for others to take their place


def _attempts(future: Future[Any]) -> int:
    return future.attempts if isinstance(future, TaskFuture) else 0


def _places() -> list[tuple[int, int]]:
    """From the middle outwards, where the long ones are."""
    middle = (COLUMNS - 1) / 2, (ROWS - 1) / 2
    places = [(column, row) for column in range(COLUMNS) for row in range(ROWS)]
    return sorted(places, key=lambda place: (place[0] - middle[0]) ** 2 + (place[1] - middle[1]) ** 2)


def _place(board: Board, future: Future[Any]) -> None:
    assert isinstance(future, TaskFuture)
    tile = Tile(*future.result())
    board.tiles[tile.column, tile.row] = tile, future.node
    board.nodes[future.node].tiles += 1


def _count_running(board: Board, pending: set[Future[Any]]) -> None:
    places = [future.node for future in pending if isinstance(future, TaskFuture) and future.running()]
    for node in board.nodes.values():
        node.running = places.count(node.name) if node.state == "alive" else 0


def _killer(victim: NodeProcess, board: Board, view: View) -> Callable[[int], None]:
    def kill(tiles_done: int) -> None:
        node = board.nodes[VICTIM]
        if node.state == "alive" and tiles_done >= KILL_AFTER * board.total:
            victim.process.kill()
            node.state, node.running = "killed", 0
            view.say(f"{VICTIM} is killed (SIGKILL) after {tiles_done} tiles. The others go on.")

    return kill


def _verify(tiles: list[Tile], view: View) -> bool:
    found_area = demo_tiles.area(tiles)
    right = demo_tiles.checksum(tiles) == CHECKSUM and abs(found_area - AREA_KNOWN) < AREA_TOLERANCE
    verdict = "right to the last bit" if right else "WRONG"
    view.say(f"The picture is {verdict} (checksum {CHECKSUM[:8]}…); its area {found_area:.3f}, known {AREA_KNOWN:.3f}.")
    return right


def _share(surroundings: Surroundings, view: View) -> object:
    """Memory set on one node and read on the other that lives."""
    with _connection(surroundings, NAMES[0]) as connection:
        kept = ask_json(connection, MemorySet, KEY, encoded(MOTTO), None)
    with _connection(surroundings, NAMES[1]) as connection:
        read = values.decode_bytes(ask(connection, MemoryGet, KEY).value)
    view.say(f"{NAMES[0]} set {KEY} ({kept['replicas']} replicas), {NAMES[1]} reads: {read!r}")
    return read
