"""Durable ingest: requests a second against a handler that only decodes, at several connection counts."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from daemon import bare, remediator, rules
from load import Loaded, Wrk
from table import Row, at_least, middle

_RULES = 1000
_LINES = (  # alerts in a body, whether they are new each time, what it is called, and the goal
    (1, True, "durable ingest, 1 new alert a body", 0.5),
    (10, True, "durable ingest, 10 new alerts a body", 0.5),
    (1, False, "durable ingest, 1 alert repeated", 0.5),
)


def measure(folder: Path, wrk: Wrk, *, quick: bool) -> tuple[list[Row], float]:
    """Measure A B A B; gives the rows, and the most requests a second that the daemon took with one new alert each."""
    rounds, seconds, connections = (1, 1, (32,)) if quick else (2, 2, (16, 64, 128))
    rows: list[Row] = []
    best: list[float] = []
    with ExitStack() as stack:
        daemon = stack.enter_context(remediator(folder / "daemon", rules(_RULES)))
        limit = stack.enter_context(bare(folder / "bare", "answer"))
        for alerts, fresh, name, goal in _LINES:
            ours: list[list[Loaded]] = [[] for _ in connections]
            theirs: list[list[Loaded]] = [[] for _ in connections]
            for _ in range(rounds):
                for number, count in enumerate(connections):
                    theirs[number].append(wrk.run(limit.port, seconds, count, alerts=alerts, fresh=fresh))
                    ours[number].append(wrk.run(daemon.port, seconds, count, alerts=alerts, fresh=fresh))
            rows += [
                at_least(f"{name}, {count} connections", _rate(mine), _rate(other), goal, "requests/s")
                for count, mine, other in zip(connections, ours, theirs, strict=True)
            ]
            best.append(max(map(_rate, ours)))
    return rows, best[0]


def _rate(runs: list[Loaded]) -> float:
    return middle([run.rate for run in runs])
