"""Large things: one huge body, a storm of alerts, a start over a full store; what they cost everyone else, and in memory."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon import Server, acting, remediator, rules
from history import RULE
from load import body, fresh
from table import Row, middle, within

_AFTER = 2.0  # seconds for which the loop is watched once a huge body is acknowledged; a tenth of it in a quick run
_BODY = 500  # alerts in a body of the storm
_SENDERS = 4


def of_one_body(folder: Path, *, quick: bool) -> list[Row]:
    """Post one body of 20,000 alerts, none of which a rule wants, and one of which a rule wants every one."""
    count = 1000 if quick else 20_000
    rows: list[Row] = []
    for name, what in (("Nothing", "none matches"), ("HighErrorRate", "all match one rule")):
        rule_file = rules(100, acting("[/bin/true]", guard="{cooldown: 10m}"))
        with remediator(folder / name, rule_file, guard="{limit: 30 per 1h}") as daemon:
            content = body(fresh(count, name))
            with _watched(daemon) as lags, daemon.client() as client:
                took = client.post(content)
                time.sleep(_AFTER / 10 if quick else _AFTER)
        rows += [
            within(f"one body of {count:,} alerts, {what}: acknowledged", took, 3.0),
            within(f"one body of {count:,} alerts, {what}: loop lag", max(lags), 0.05),
        ]
    return rows


@contextmanager
def _watched(daemon: Server) -> Iterator[list[float]]:
    """Ask /healthz all the time, and note how long each answer took."""
    lags: list[float] = []
    over = threading.Event()

    def watch() -> None:
        with daemon.client() as client:
            while not over.is_set():
                began = time.perf_counter()
                client.get("/healthz")
                lags.append(time.perf_counter() - began)
                time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lags
    finally:
        over.set()
        watcher.join()


def of_many_bodies(folder: Path, *, quick: bool) -> list[Row]:
    """Post a storm of 100,000 alerts, each of which opens a run that stays open, and look at the peak of memory."""
    count = 2000 if quick else 100_000
    rule_file = rules(100, acting("[/bin/true]", **{"for": "1h"}))
    with remediator(folder, rule_file) as daemon:
        began = time.perf_counter()
        senders = [threading.Thread(target=_send, args=(daemon, count // _SENDERS)) for _ in range(_SENDERS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        took = time.perf_counter() - began
        with daemon.client() as client:
            client.get("/readyz")
        peak = daemon.memory("VmHWM")
    return [Row(f"peak RSS in a storm of {count:,} alerts ({took:.1f} s)", "≤ 200 MB", f"{peak:.0f} MB", peak <= 200)]


def _send(daemon: Server, count: int) -> None:
    with daemon.client() as client:
        for _ in range(count // _BODY):
            client.post(body(fresh(_BODY)))


def of_start(folder: Path, past: Path, runs: int, *, quick: bool) -> list[Row]:
    """Start over the store of the folder `past` with 100 rules, some times; and look at the memory of an idle daemon."""
    shutil.copytree(past, folder)
    starts: list[float] = []
    idle: list[float] = []
    for _ in range(1 if quick else 3):
        with remediator(folder, rules(99, RULE)) as daemon:
            starts.append(daemon.started_in)
            time.sleep(1.0)
            idle.append(daemon.memory())
    return [
        within(f"start to ready, 100 rules, {runs:,} runs in the store", middle(starts), 0.7),
        Row("RSS idle", "≤ 90 MB", f"{max(idle):.0f} MB", max(idle) <= 90),
    ]
