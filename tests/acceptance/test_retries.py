"""What is run again, how often, and what never is."""

from __future__ import annotations

from .harness import Pool

DIES = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def test_errors_are_tried_again_where_that_is_asked_and_losses_unless_it_is_forbidden(nodes: Pool) -> None:
    nodes.up_together("one")

    def ended(source: str, *flags: str) -> tuple[int, str, int]:
        done = nodes.call("run", "-c", source, *flags, "--json")
        (task,) = done.value["tasks"]
        return done.code, task["error"]["kind"], task["attempts"]

    assert ended("1 / 0") == (1, "TaskFailed", 1)
    assert ended("1 / 0", "--retry-errors", "2") == (1, "TaskFailed", 3)
    assert ended(DIES, "--retries", "1") == (1, "WorkerLost", 2)
    assert ended(DIES, "--at-most-once") == (1, "WorkerLost", 1)
    both = nodes.call("run", "-c", "1", "--at-most-once", "--retries", "2")
    assert (both.code, both.err.count("\n")) == (2, 1)
    assert "at most once" in both.err
