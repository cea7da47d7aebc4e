"""PostgreSQL: what its sessions do, and what is done to them; vacuuming; backups made, tried and pruned.

Here are the actions `postgres.*`, one concept a file. SQL stands in the file that asks it, as constants; values are always
bound, and a name that has to stand in a statement comes from the catalog, quoted by the server. asyncpg is loaded when a
database is first asked.
"""

from __future__ import annotations

from typing import Any

from remediator.actions.postgres.backups import PostgresBackup, PostgresBackupList
from remediator.actions.postgres.maintenance import PostgresVacuumAnalyze
from remediator.actions.postgres.pruning import PostgresBackupPrune
from remediator.actions.postgres.query import PostgresQuery
from remediator.actions.postgres.reads import (
    PostgresActivity,
    PostgresBloat,
    PostgresLocks,
    PostgresReplication,
    PostgresSlowQueries,
)
from remediator.actions.postgres.sessions import PostgresCancelLong, PostgresTerminateIdle, PostgresTerminateLong
from remediator.actions.postgres.verifying import PostgresVerifyBackup
from remediator.actions.protocol import Action

ACTIONS: tuple[Action[Any], ...] = (
    PostgresQuery(), PostgresActivity(), PostgresSlowQueries(), PostgresLocks(), PostgresReplication(), PostgresBloat(),
    PostgresTerminateIdle(), PostgresCancelLong(), PostgresTerminateLong(), PostgresVacuumAnalyze(),
    PostgresBackupList(), PostgresBackup(), PostgresBackupPrune(), PostgresVerifyBackup(),
)  # fmt: skip
