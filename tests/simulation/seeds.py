"""Runs many seeds, in processes of their own, and tells of those that broke a promise.

`python -m simulation.seeds FROM TO` (from `tests/`) runs them in this process and writes one line of JSON for each violation.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from simulation.rulebook import SETS, book
from simulation.world import Ended, run, small

_ROOT = Path(__file__).resolve().parents[2]
_LINES = 40  # of the trace


@dataclass(frozen=True)
class Broken:
    """A seed that broke a promise."""

    seed: int
    words: str

    def __str__(self) -> str:
        """Name both."""
        return f"seed {self.seed} broke {self.words}"


@dataclass(frozen=True)
class Report:
    """What came of some seeds."""

    seeds: int
    actions: int  # that were begun
    admitted: int  # runs
    broken: tuple[Broken, ...]


def run_apart(count: int, processes: int) -> Report:
    """Run the seeds from 0, shared among some processes."""
    paths = os.pathsep.join((str(_ROOT), str(_ROOT / "tests")))
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "simulation.seeds", str(first), str(count), str(processes)],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in range(processes)
    ]
    broken: list[Broken] = []
    done = actions = admitted = 0
    for child in children:
        told, _ = child.communicate()
        if child.returncode:
            raise RuntimeError(f"a process of the simulation ended with {child.returncode}")
        for line in map(json.loads, told.splitlines()):
            if "broken" in line:
                broken.append(Broken(line["seed"], line["broken"]))
            else:
                done, actions, admitted = done + line["seeds"], actions + line["actions"], admitted + line["admitted"]
    return Report(done, actions, admitted, tuple(broken))


def tell(ended: Ended) -> str:
    """Say what was broken, what had happened, and how to see it again."""
    lines = [f"seed {ended.seed} broke {violation}" for violation in ended.violations]
    lines += ["", *ended.trace[-_LINES:], "", f"Again: REMEDIATOR_SEED={ended.seed} pytest tests/simulation"]
    return "\n".join(lines)


def main() -> None:
    """Run every so-many-th seed of a range, and write what came of them."""
    os.nice(10)  # whoever is measured beside it goes first
    first, last, step = map(int, sys.argv[1:])
    done = actions = admitted = 0
    for number in range(SETS):
        book(number)
    gc.collect()
    gc.freeze()  # what is here now stays: later collections need not look at it
    for ended in map(run, range(first, last, step)):
        done, actions, admitted = done + 1, actions + ended.actions, admitted + ended.admitted
        if ended.violations:
            print(json.dumps({"seed": ended.seed, "broken": str(ended.violations[0])}), flush=True)
    print(json.dumps({"seeds": done, "actions": actions, "admitted": admitted}))


if __name__ == "__main__":
    with small():
        main()
