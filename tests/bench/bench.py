"""`make bench`: every row of the speed table but replay, beside its limit in the same run.

python tests/bench/bench.py           writes docs/performance.md, takes some six minutes
python tests/bench/bench.py --quick   a smoke run: all rows, a few samples each, writes nothing
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import finished
import history
import ingest
import reaction
import scale
import shared
import storm
from load import Wrk
from table import Row, markdown, middle, span, text

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
FOLDER = os.environ.get("TMPDIR", "/var/tmp")  # on a disk, where /tmp may be memory


def machine(folder: Path) -> dict[str, str]:
    """Say what the figures were measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor() or "unknown",
    )
    return {
        "CPU": f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "fdatasync of 4 KiB, p50": span(_fdatasync(folder)),
    }


def _fdatasync(folder: Path) -> float:
    file = os.open(folder / "fdatasync", os.O_RDWR | os.O_CREAT)
    took: list[float] = []
    try:
        for number in range(200):
            os.pwrite(file, b"x" * 4096, number * 4096)
            began = time.perf_counter()
            os.fdatasync(file)
            took.append(time.perf_counter() - began)
    finally:
        os.close(file)
    return middle(took)


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Measure everything, telling each part as it is done."""
    rows: list[Row] = []

    def tell(more: Sequence[Row]) -> None:
        rows.extend(more)
        print(text(more), flush=True)
        print(flush=True)

    wrk = Wrk(folder)
    taken, rate = ingest.measure(folder / "ingest", wrk, quick=quick)
    tell(taken)
    tell(reaction.measure(folder / "reaction", wrk, rate, quick=quick))
    tell(finished.measure(folder / "finished", quick=quick))
    tell(scale.of_rules(folder / "rules", quick=quick))
    runs = 1000 if quick else 100_000
    past = folder / "past"
    count = history.make(past, runs)
    tell(scale.of_history(folder / "history", past, count, quick=quick))
    tell(storm.of_start(folder / "start", past, runs, quick=quick))
    tell(storm.of_one_body(folder / "body", quick=quick))
    tell(storm.of_many_bodies(folder / "storm", quick=quick))
    tell(shared.measure(folder / "shared", quick=quick))
    return rows


def document(about: dict[str, str], rows: Sequence[Row], seconds: float) -> str:
    """Write docs/performance.md anew; what stands below its last heading, the findings, is kept."""
    mark = "## What the figures say"
    kept = DOCUMENT.read_text().partition(mark)[2] if DOCUMENT.exists() else "\n"
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items())
    return f"""# Performance

Written by `make bench` ({seconds / 60:.0f} minutes). Each figure stands beside its limit, measured in turns in the same run,
by the same client, on the same machine; the ratios mean more than the figures.

{facts}

{markdown(rows)}

The limits: for ingest, a bare aiohttp handler that decodes the body with `json` and answers 200; for reactions, the same that
also starts the process at once and keeps nothing; for runs, starting `/bin/true` from asyncio in a loop, one after the other.

{mark}{kept.rstrip()}
"""


def main() -> int:
    """Run the bench. Gives 0 when it ran to its end, whatever was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    if shutil.which("wrk") is None:
        sys.stderr.write("bench: wrk is missing: apt-get install wrk\n")
        return 2
    began = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="remediator-bench-", dir=FOLDER))
    try:
        about = machine(folder)
        print("\n".join(f"{name}: {value}" for name, value in about.items()), end="\n\n", flush=True)
        rows = measure(folder, quick=quick)
    finally:
        shutil.rmtree(folder)
    print(text(rows))
    missed = sum(not row.met for row in rows)
    print(f"\n{len(rows) - missed} met, {missed} missed, in {time.perf_counter() - began:.0f} s")
    if not quick:
        DOCUMENT.write_text(document(about, rows, time.perf_counter() - began))
    return 0


if __name__ == "__main__":
    sys.exit(main())
