"""`python -m tests.fuzz [TARGET ...] [--runs N] [--keep]`: fuzzing under atheris, one process for each target.

`--runs` are shared out so that every target gets its part of the time. What a target must not do ends the run: the
input is printed, and `--keep` puts it into the corpus, where every run of the tests tries it again.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from .corpus import keep, starting_points
from .registry import TARGETS
from .target import attempt

_ROOT = Path(__file__).parents[2]
_INPUT_BYTES_MAX = 2048
_HUNG_S = 30
"""Of the clock on the wall, for what never ends. A second of computing time is the limit that `attempt` sets."""
_RSS_MIB_MAX = 1024


def fuzz(name: str, runs: int, folder: Path) -> tuple[bool, str]:
    """Whether nothing was found, and what there is to say."""
    inputs = folder / "inputs"
    inputs.mkdir()
    for number, data in enumerate(starting_points(name, TARGETS[name])):
        (inputs / f"start-{number}").write_bytes(data)
    began_s = time.monotonic()
    ended = _atheris(name, f"-runs={runs}", f"-artifact_prefix={folder}/fault-", str(inputs))
    took_s = time.monotonic() - began_s
    done = re.search(r"number_of_executed_units:\s+(\d+)", ended.stderr)
    peak = re.search(r"peak_rss_mb:\s+(\d+)", ended.stderr)
    if ended.returncode == 0 and done and peak:
        rate = int(done[1]) / took_s
        return True, f"{name}: {done[1]} inputs, none at fault; {rate:.0f} a second, {peak[1]} MiB at most"
    faults = [path.read_bytes() for path in folder.glob("fault-*")]
    return False, "\n".join([f"{name}: FAULT", ended.stdout[-3000:], *(_shown(name, fault) for fault in faults)])


def _shown(name: str, fault: bytes) -> str:
    """The same input without instruments."""
    try:
        attempt(TARGETS[name], fault)
    except Exception:  # noqa: BLE001  whatever it is, it is what was looked for
        return f"{fault.hex()}\n{traceback.format_exc()}"
    return f"{fault.hex()}: no fault the second time"


def _atheris(name: str, *flags: str) -> subprocess.CompletedProcess[str]:
    limits = [f"-max_len={_INPUT_BYTES_MAX}", f"-timeout={_HUNG_S}", f"-rss_limit_mb={_RSS_MIB_MAX}"]
    command = [sys.executable, "-m", "tests.fuzz.under_atheris", name, *limits, "-print_final_stats=1", *flags]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, errors="replace", check=False)


def keep_found(name: str, folder: Path) -> None:
    """What was at fault, and what libFuzzer has added because it reached something that nothing before it did."""
    faults = [path.read_bytes() for path in folder.glob("fault-*")]
    added = [path.read_bytes() for path in (folder / "inputs").iterdir() if not path.name.startswith("start-")]
    keep(name, [*faults, *added])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="All without any: " + " ".join(TARGETS))
    parser.add_argument("--runs", type=int, default=100_000, help="Inputs over all targets.")
    parser.add_argument("--keep", action="store_true", help="Put what is new into the corpus.")
    options = parser.parse_args()
    chosen = options.targets or list(TARGETS)
    parts = {name: 1 / TARGETS[name].cost for name in chosen}
    whole, good = sum(parts.values()), True
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            found_nothing, line = fuzz(name, max(1, round(options.runs * parts[name] / whole)), Path(folder))
            print(line, flush=True)
            good = good and found_nothing
            if options.keep:
                keep_found(name, Path(folder))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
