"""Three daemons over one PostgreSQL: decisions a second in all, and how long a webhook takes meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from daemon import Server, remediator, rules
from load import body, fresh
from postgres import OWNER, start
from table import Row, percentile, within

_REPLICAS, _BODY = 3, 10
_DURABLE = {
    "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "autovacuum": "on", "log_statement": "none",
    "shared_buffers": "128MB",
}  # fmt: skip
# Every alert is a run of its own target, which the guards let through once and then refuse: both are decisions.
_RULE = """
  - name: decide
    summary: Decide about every alert.
    match: '{alertname="HighErrorRate"}'
    target: 'host/{{ labels.id }}'
    guard: {cooldown: 0s, limit: 1 per 1d}
    steps: [{uses: log, with: {message: begun}}]
"""
_GOAL = 2000  # decisions a second in all
_LONGEST = 120.0  # seconds


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Post to all at once, and wait till everything is decided."""
    count = 20 if quick else 200  # bodies to each
    server = start(_DURABLE)
    try:
        url = server.store()
        name = url.rpartition("/")[2]
        with ExitStack() as running:
            daemons = [
                running.enter_context(remediator(folder / str(n), rules(100, _RULE), store=url))
                for n in range(_REPLICAS)
            ]
            _post(daemons, 5)  # connections are made, and plans
            took: list[float] = []
            before = int(server.run("SELECT count(*) FROM runs WHERE ended_at IS NOT NULL", name, OWNER))
            began = time.perf_counter()
            took += _post(daemons, count)
            wanted = before + count * _REPLICAS * _BODY
            while int(server.run("SELECT count(*) FROM runs WHERE ended_at IS NOT NULL", name, OWNER)) < wanted:
                if time.perf_counter() - began > _LONGEST:
                    raise RuntimeError("not everything was decided")
                time.sleep(0.05)
            rate = count * _REPLICAS * _BODY / (time.perf_counter() - began)
    finally:
        server.stop()
    return [
        Row("PostgreSQL, 3 replicas: decisions", f"≥ {_GOAL:,}/s", f"{rate:,.0f}/s", rate >= _GOAL),
        within("PostgreSQL, 3 replicas: webhook of 10 alerts, p99", percentile(took, 99), 0.1),
    ]


def _post(daemons: list[Server], count: int) -> list[float]:
    """Post so many bodies to each, at the same time; gives the seconds that each took."""
    took: list[float] = []

    def one(daemon: Server) -> None:
        with daemon.client() as client:
            took.extend([client.post(body(fresh(_BODY))) for _ in range(count)])

    threads = [threading.Thread(target=one, args=(daemon,)) for daemon in daemons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took
