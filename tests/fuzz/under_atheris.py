"""One target under libFuzzer, in a process of its own: `python -m tests.fuzz.under_atheris TARGET [libFuzzer flags]`.

The package is instrumented while it is imported, so that new paths through it guide the mutations.
"""

from __future__ import annotations

import random
import sys

import atheris

with atheris.instrument_imports(include=["potluck"]):
    from .corpus import starting_points
    from .mutation import mutated
    from .registry import TARGETS
    from .target import attempt


def main() -> None:
    name, *flags = sys.argv[1:]
    target = TARGETS[name]
    for data in starting_points(name, target):  # what is imported or computed once counts for no input
        attempt(target, data)

    def feed(data: bytes) -> None:
        attempt(target, data)

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        """Three of four keep the form."""
        if seed % 4 == 0:
            return bytes(atheris.Mutate(data, size_max))
        return mutated(data, random.Random(seed))[:size_max]

    atheris.Setup([name, *flags], feed, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
