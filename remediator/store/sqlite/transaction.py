"""Transactions over one SQLite connection; `remediator.store.protocol.Transaction` says what each method does.

Methods are coroutine functions for the sake of the protocol; none of them ever waits.
"""

from __future__ import annotations

from remediator.store.sqlite.outbox import OutboxRows
from remediator.store.sqlite.replicas import ReplicaRows
from remediator.store.sqlite.retention import RetentionRows
from remediator.store.sqlite.runs import RunRows
from remediator.store.sqlite.timers import TimerRows


class SqliteTransaction(RunRows, TimerRows, OutboxRows, ReplicaRows, RetentionRows):
    """All of the SQL of the embedded store."""
