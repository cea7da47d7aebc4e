"""A store with a long history, made in seconds: one real run, and its rows multiplied by SQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from daemon import Server, acting, remediator
from load import alert, body

NAME = "History"  # of the alerts whose past it is
RULE = acting("[/bin/true]", NAME, guard="{cooldown: 10m, limit: 3 per 6h per target}")
_SPACING = 60  # seconds between two runs of the past
_TARGETS = 1000

# Of the I-th copy of a row, what differs from the row.
_COPIES: Mapping[str, Mapping[str, str]] = {
    "notifications": {"seq": "seq + i * most", "id": "'n' || i", "received_at": "received_at - age"},
    "episodes": {
        "id": "id + i", "fingerprint": "printf('%016x', i)", "starts_at": "starts_at - age",
        "first_seen": "first_seen - age", "last_seen": "last_seen - age", "ended_at": "last_seen + 1 - age",
    },
    "decisions": {"episode": "episode + i", "run": "printf('0%025d', i)", "target": "'host/' || (i % targets)", "at": "at - age"},
    "runs": {
        "id": "printf('0%025d', i)", "target": "'host/' || (i % targets)", "admitted_at": "admitted_at - age",
        "started_at": "started_at - age", "ended_at": "ended_at - age",
    },
    "steps": {"run": "printf('0%025d', i)"},
    "events": {"seq": "seq + i * most", "run": "iif(run IS NULL, NULL, printf('0%025d', i))"},
}  # fmt: skip


def make(folder: Path, runs: int) -> int:
    """Make the folder of a daemon whose store has so many closed runs; gives the number of its rows."""
    with remediator(folder, "rules:" + RULE, guard="{limit: off}") as daemon:
        _one_run(daemon)
        store = daemon.store
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for table, changed in _COPIES.items():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            most = connection.execute(f"SELECT max(seq) FROM {table}").fetchone()[0] if "seq" in columns else 1  # noqa: S608
            values = ", ".join(changed.get(column, f'"{column}"') for column in columns)
            copies = f"SELECT i, (:runs - i) * {_SPACING} + 7 * 3600 AS age, {_TARGETS} AS targets, :most AS most FROM numbers"  # noqa: S608
            connection.execute(
                "WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < :runs) "  # noqa: S608
                f"INSERT INTO {table} SELECT {values} FROM (SELECT * FROM {table}), ({copies})",
                {"runs": runs, "most": most},
            )
        connection.commit()
        rows = sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _COPIES)  # noqa: S608
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(rows)


def _one_run(daemon: Server) -> None:
    with daemon.client() as client:
        client.post(body([alert(0, NAME)]))
        with closing(sqlite3.connect(f"{daemon.store.as_uri()}?mode=ro", uri=True)) as store:
            while store.execute("SELECT count(*) FROM runs WHERE state = 'succeeded'").fetchone() != (1,):
                time.sleep(0.01)
        client.post(body([alert(0, NAME, "resolved")]))
