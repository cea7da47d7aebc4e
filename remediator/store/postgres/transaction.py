"""Transactions over one PostgreSQL connection; `remediator.store.protocol.Transaction` says what each method does."""

from __future__ import annotations

from remediator.store.postgres.outbox import OutboxRows
from remediator.store.postgres.replicas import ReplicaRows
from remediator.store.postgres.retention import RetentionRows
from remediator.store.postgres.runs import RunRows
from remediator.store.postgres.timers import TimerRows


class PostgresTransaction(RunRows, TimerRows, OutboxRows, ReplicaRows, RetentionRows):
    """All of the SQL of the shared store."""
