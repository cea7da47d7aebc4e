"""Runs finished per second, one `exec.run` of /bin/true each, against starting /bin/true from asyncio and nothing else."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from daemon import BARE, Server, acting, remediator, rules
from load import body, fresh
from table import Row, at_least, middle

from remediator.model.identity import id_floor

_BODY = 100  # alerts
_LONGEST = 60.0  # seconds


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Measure A B A B: the loop one at a time (the goal is against it), the loop at its best width, the daemon."""
    rounds, count, seconds, widths = (1, 100, 0.5, (4,)) if quick else (3, 1000, 2.0, (2, 4, 8, 16))
    single: list[float] = []
    ours: list[float] = []
    with remediator(folder, rules(100, acting("[/bin/true]"))) as daemon:
        for _ in range(rounds):
            single.append(_loop(seconds, 1))
            ours.append(_runs(daemon, count))
        best, width = max((_loop(seconds, width), width) for width in widths)
    rate = middle(ours)
    return [
        at_least("runs finished, against spawning in a loop", rate, middle(single), 0.6, "runs/s"),
        Row(
            f"runs finished, against spawning {width} at a time", "shown", f"{rate:,.0f} against {best:,.0f} runs/s",
            met=True, ratio=rate / best,
        ),
    ]  # fmt: skip


def _loop(seconds: float, width: int) -> float:
    command = [sys.executable, str(BARE), "loop", str(seconds), str(width)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _runs(daemon: Server, count: int) -> float:
    """Post alerts for so many runs and give how many ended in a second, from the first post to the last end."""
    began = time.time()
    with daemon.client() as client:
        for _ in range(count // _BODY):
            client.post(body(fresh(_BODY)))
    with closing(sqlite3.connect(f"{daemon.store.as_uri()}?mode=ro", uri=True)) as store:
        query = (
            "SELECT count(*) FILTER (WHERE ended_at IS NULL), count(*), max(ended_at), sum(state != 'succeeded') "
            "FROM runs WHERE id > ?"
        )
        newest = id_floor(began)
        while True:
            left, seen, ended, failed = store.execute(query, (newest,)).fetchone()
            if seen == count and not left:
                break
            if time.time() - began > _LONGEST:
                raise RuntimeError(f"{left} of {seen} runs did not end within {_LONGEST:g} s")
            time.sleep(0.1)
    if failed:
        raise RuntimeError(f"{failed} of {count} runs did not succeed")
    return float(count / (ended - began))
