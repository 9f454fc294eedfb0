"""Tasks that submit tasks, on real nodes with few slots."""

from __future__ import annotations

from pathlib import Path

from .harness import Pool, wait_until

TREES = """
import potluck

def chain(depth):
    if not depth:
        return 0
    with potluck.Executor() as pool:
        return 1 + pool.submit(chain, depth - 1).result()

def fib(n):
    if n < 2:
        return n
    with potluck.Executor() as pool:
        return sum(pool.map(fib, [n - 1, n - 2]))

def ways():
    import concurrent.futures, threading, time
    with potluck.Executor() as pool:
        squares = [pool.submit(pow, n, 2) for n in range(5)]
        concurrent.futures.wait(squares)
        cubes = [pool.submit(pow, n, 3) for n in range(5)]
        done = sorted(one.result() for one in concurrent.futures.as_completed(cubes))
        chained = pool.submit(sum, [pool.submit(pow, 2, 10), pool.submit(pow, 2, 11)]).result()
        try:
            pool.submit(int, "x").result()
        except ValueError as error:
            caught = type(error).__name__
        found = []
        def ask(n):
            found.append(pool.submit(pow, n, 1).result())
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        long = len(pool.submit(bytes, 3_000_000).result())
    return [one.result() for one in squares], done, chained, caught, sorted(found), long
"""

DEEP = (
    TREES
    + """
if __name__ == "__main__":
    with potluck.Executor() as pool:
        print(pool.submit(chain, 20).result())
"""
)


def test_recursion_of_twenty_levels_ends_with_one_slot(nodes: Pool) -> None:
    nodes.up("one", "--slots=1").await_ready()
    done = nodes.script(DEEP, "one", timeout_s=110)
    assert (done.code, done.out) == (0, "20\n"), done.err


WAYS = (
    TREES
    + """
if __name__ == "__main__":
    with potluck.Executor() as pool:
        print(pool.submit(fib, 4).result())
        print(pool.submit(ways).result())
"""
)


def test_a_task_waits_for_its_own_in_all_the_ways_there_are(nodes: Pool) -> None:
    nodes.up("one", "--slots=1").await_ready()
    done = nodes.script(WAYS, "one", timeout_s=110)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "3",
        "([0, 1, 4, 9, 16], [0, 1, 8, 27, 64], 3072, 'ValueError', [0, 1, 2, 3, 4, 5, 6, 7], 3000000)",
    ]


CANCELLED = """
import time
import potluck

def child(n):
    potluck.memory["a child"] = "has begun"
    time.sleep(60)

def parent():
    with potluck.Executor() as pool:
        return list(pool.map(child, range(2)))

with potluck.Executor() as pool:
    future = pool.submit(parent)
    while "a child" not in potluck.memory:
        time.sleep(0.05)
    potluck.cancel(future)
    try:
        future.result()
    except potluck.Cancelled:
        print("cancelled", pool.submit(sum, [1, 2]).result(timeout=20))
"""


def test_children_end_with_their_parent(nodes: Pool) -> None:
    """With one slot: were one left, nothing else could run."""
    nodes.up("one", "--slots=1").await_ready()
    done = nodes.script(CANCELLED, "one")
    assert (done.code, done.out) == (0, "cancelled 3\n"), done.err


MESH = (
    TREES
    + """
def where(n):
    import time
    time.sleep(0.2)
    return n

def spread():
    with potluck.Executor() as pool:
        futures = [pool.submit(where, n) for n in range(4)]
        [one.result() for one in futures]
        return sorted({one.node for one in futures})

if __name__ == "__main__":
    with potluck.Executor() as pool:
        print(pool.submit(fib, 3).result())
        print(pool.submit(spread).result())
        print(pool.submit(potluck.options(confidential=True)(spread)).result())
"""
)


def test_a_task_uses_the_mesh_and_a_confidential_one_does_not(nodes: Pool) -> None:
    nodes.up_together("one", "two", flags=["--slots=1"])
    done = nodes.script(MESH, "one")
    assert done.code == 0, done.err
    assert done.out.splitlines() == ["2", "['one', 'two']", "['one']"]


SCRIPT = (
    TREES
    + """
print("fib", fib(3))
"""
)


def test_a_script_that_is_detached_submits_tasks_too(nodes: Pool, tmp_path: Path) -> None:
    nodes.up("one", "--slots=1").await_ready()
    script = tmp_path / "trees.py"
    script.write_text(SCRIPT)
    assert nodes.call("run", str(script)).out == "fib 2\n"
    job = nodes.call("run", "--detach", "--json", str(script)).value["job"]
    wait_until(lambda: nodes.call("result", job).code == 0, "the job has a result")
    (task,) = nodes.call("result", job, "--json").value["tasks"]
    assert (task["state"], task["stdout"]) == ("completed", "fib 2\n")
