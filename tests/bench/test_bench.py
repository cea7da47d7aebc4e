"""The bench runs: what it measures is judged by `make bench`, on a machine with nothing else to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROWS = (
    "durable ingest, 1 new alert", "durable ingest, 10 new alerts", "durable ingest, 1 alert repeated", "reaction, p50",
    "reaction, p99", "reaction under", "runs finished, against spawning in a loop", "rules against 10: matching",
    "rules against 10: the whole webhook", "rows of history against none: one decision", "rows of history against none: the",
    "start to ready", "RSS idle", "none matches: acknowledged", "none matches: loop lag", "all match one rule: acknowledged",
    "all match one rule: loop lag", "peak RSS in a storm", "PostgreSQL, 3 replicas: decisions",
    "PostgreSQL, 3 replicas: webhook",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_quick_bench_measures_every_row(tmp_path: Path) -> None:
    """Every row of the speed table is measured and judged, and the document is left alone."""
    bench = Path(__file__).with_name("bench.py")
    document = bench.parents[2] / "docs" / "performance.md"
    before = document.read_bytes() if document.exists() else None
    done = subprocess.run([sys.executable, bench, "--quick"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    table = done.stdout.rpartition("what  ")[2]
    assert [
        row for row in ROWS if not any(row in line and line.endswith(("met", "missed")) for line in table.splitlines())
    ] == []
    assert (document.read_bytes() if document.exists() else None) == before
