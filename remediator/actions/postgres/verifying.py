"""`postgres.verify_backup`: a backup is as good as its restoration, so it is restored."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from remediator.actions.api import fitting
from remediator.actions.bounds import visible
from remediator.actions.postgres.backups import BackupAction
from remediator.actions.postgres.connecting import (
    DATABASE,
    Database,
    OfDatabase,
    Session,
    Span,
    database_of,
    in_session,
    unknown,
)
from remediator.actions.postgres.programs import before, complaint, lost, run_program
from remediator.actions.postgres.shelf import BACKUP, Backup, BackupClass, look, now
from remediator.actions.protocol import Context, Effect, JsonValue, Outcome, Parameters, Result
from remediator.model.time import Seconds, format_duration

_TIDYING: Seconds = 10.0  # kept back for dropping the scratch database
_LEAST_TIDYING: Seconds = 5.0  # past the deadline, where a step was broken off: as long as a child's grace
_SCRATCH = "remediator_scratch"  # then its instant and a word of chance, and nothing that would have to be quoted
_RESTORING = (
    "--exit-on-error", "--no-owner", "--no-privileges", "--no-comments", "--no-publications", "--no-subscriptions",
    "--no-tablespaces", "--no-security-labels",
)  # fmt: skip


class Newest(Parameters):
    """How old the newest row may be."""

    table: str = Field(min_length=1, description="The table, as in SQL.")
    column: str = Field(min_length=1, description="Its column with an instant or a date.")
    within: Span = Field(description="The newest is not older than this.")


class VerifyParameters(OfDatabase):
    """Which backup, and what has to be in it."""

    backup: Annotated[str, BACKUP] | None = Field(
        default=None, description="Its name, as `postgres.backup_list` gives it. Default: the newest."
    )
    kind: BackupClass | None = Field(
        default=None, alias="class", description="Without `backup`: the newest of this class."
    )
    tables: dict[str, Annotated[int, Field(ge=0)]] = Field(
        min_length=1, description="The tables that have to be there, as in SQL, with the least number of rows of each."
    )
    newest: Newest | None = Field(default=None, description="How old the newest row of a table may be.")
    on: Annotated[str, DATABASE] | None = Field(
        default=None,
        description="The database on whose server it is restored, by its name under `postgres.databases`. Default: its own.",
    )


@dataclass
class _Findings:
    """What has been found out about a backup."""

    backup: Backup
    problems: list[str] = field(default_factory=list)
    tables: dict[str, JsonValue] = field(default_factory=dict)  # rows; None: it is not there
    newest_age_s: Seconds | None = None

    def outcome(self, database: Database) -> Outcome:
        """Say whether it is good."""
        told: dict[str, JsonValue] = {
            "backup": self.backup.name, "age_s": round(self.backup.age(now()), 3), "bytes": self.backup.bytes,
            "tables": self.tables, "newest_age_s": self.newest_age_s, "problems": self.problems,
        }  # fmt: skip
        if not self.problems:
            return fitting(told, "what was found out")
        words = f"the backup {self.backup.name} is bad: {'; '.join(self.problems)}; make a new one, and find out why"
        return database.outcome(Result.REFUSED, words, told)


class PostgresVerifyBackup(BackupAction[VerifyParameters]):
    """Restore a backup into a scratch database, look whether all is there, and drop that again.

    First its checksum is compared. Then a database `remediator_scratch_…` is made on the server (its user needs CREATEDB), the
    backup is restored into it, every one of `tables` is looked for and its rows are counted, and the age of the newest row is
    taken, if asked for. The scratch database is dropped in any case; one that a crash has left is dropped a day later.

    A backup that is bad is refused, and `problems` in the result says why. A good one has the `backup`'s name, its `age_s` and
    `bytes`, `tables` with their rows, and `newest_age_s`.

    Example:
        - id: verify
          uses: postgres.verify_backup
          with:
            database: main
            class: hourly
            tables: {orders: 1}
            newest: {table: orders, column: created_at, within: 1d}
          timeout: 30m
    """

    name = "postgres.verify_backup"
    effect = Effect.WRITE
    parameters = VerifyParameters

    def idempotent(self, params: VerifyParameters) -> bool:
        """Tell that it is: nothing of it stays."""
        return True

    def check(self, params: VerifyParameters, settings: Mapping[str, Any]) -> str | None:
        """Say that a database, or the folder, is not configured, if so."""
        section = settings.get("postgres")
        other = unknown(params.on, section.get("databases") or {}) if params.on and section is not None else None
        return super().check(params, settings) or other

    def plan(self, params: VerifyParameters) -> str:
        """Say which, and what for."""
        kind = f"{params.kind} " if params.kind else ""
        which = f"the backup {params.backup}" if params.backup else f"the newest {kind}backup"
        what = ", ".join(f"{table} with {rows} rows or more" for table, rows in params.tables.items())
        age = (
            f", a row of {params.newest.table} not older than {format_duration(params.newest.within)}"
            if params.newest
            else ""
        )
        server = f" on the server of {params.on}" if params.on else ""
        words = (
            f"restore {which} of the database {params.database} into a scratch database{server}, look for {what}{age}"
        )
        return visible(f"{words}, and drop it", longest=2000)

    async def there(self, folder: Path, database: Database, params: VerifyParameters, context: Context) -> Outcome:
        """Find the backup, compare its checksum, and restore it."""
        server = database_of(context, params.on) if params.on else database
        if isinstance(server, Outcome):
            return server
        shelf = await asyncio.to_thread(look, folder, database.name)
        backup = next((each for each in shelf.of(params.kind) if params.backup in {None, each.name}), None)
        if backup is None:
            which = params.backup or f"{f'{params.kind} ' if params.kind else ''}backup of the database {database.name}"
            return database.outcome(Result.REFUSED, f"there is no {which} in {folder}: make one, with postgres.backup")
        found = _Findings(backup)
        async with asyncio.timeout_at(context.deadline):  # a TimeoutError is an OSError
            damage = await asyncio.to_thread(backup.damage)
        if damage is not None:
            found.problems.append(damage)
            return found.outcome(database)
        return await _in_scratch(server, found, params, context)


async def _in_scratch(server: Database, found: _Findings, params: VerifyParameters, context: Context) -> Outcome:
    """Restore and look, in a database that is dropped whatever happens."""
    scratch = f"{_SCRATCH}_{int(now())}_{secrets.token_hex(4)}"
    inner = replace(context, deadline=before(context, _TIDYING))
    made = await in_session(server, inner, lambda session: _make(session, scratch))
    if made.kind in {Result.NOT_SENT, Result.REFUSED}:
        return made
    left: str | None = None
    try:
        outcome = made if not made.ok else await _restore(server, scratch, found, params, inner)
    finally:
        left = await _drop(server, scratch, context)
    if left is None:
        return outcome
    words = f"{left}; DROP DATABASE {scratch} by hand"
    return server.outcome(Result.ERROR, f"{outcome.error}; and {words}" if outcome.error else words, outcome.result)


async def _make(session: Session, scratch: str) -> Outcome:
    """Make the scratch database, and drop what crashes have left."""
    for (name,) in await session.connection.fetch(_LEFT, f"^{_SCRATCH}_[0-9]{{10}}_[0-9a-f]{{8}}$"):
        await session.connection.execute(_dropping(session, name))
    await session.connection.execute(f"CREATE DATABASE {scratch} TEMPLATE template0")
    return Outcome(Result.OK)


def _dropping(session: Session, scratch: str) -> str:
    force = " WITH (FORCE)" if session.connection.get_server_version() >= (13,) else ""
    return f"DROP DATABASE IF EXISTS {scratch}{force}"


_LEFT = """
SELECT datname FROM pg_database
WHERE CASE WHEN datname ~ $1 THEN to_timestamp(split_part(datname, '_', 3)::float8) < clock_timestamp() - interval '1 day' END
    AND pg_get_userbyid(datdba) = current_user
"""


async def _drop(server: Database, scratch: str, context: Context) -> str | None:
    """Drop the scratch database, past the deadline too if it must be; gives why it is still there."""

    async def drop(session: Session) -> Outcome:
        await session.connection.execute(_dropping(session, scratch))
        return Outcome(Result.OK)

    latest = max(context.deadline, asyncio.get_running_loop().time() + _LEAST_TIDYING)
    outcome = await in_session(server, replace(context, deadline=latest), drop)
    return None if outcome.ok else f"the scratch database could not be dropped: {outcome.error}"


async def _restore(
    server: Database, scratch: str, found: _Findings, params: VerifyParameters, context: Context
) -> Outcome:
    url = server.at(scratch)
    ended = await run_program(server, context, "pg_restore", [*_RESTORING, f"--dbname={url}", str(found.backup.path)])
    if isinstance(ended, Outcome):
        return ended
    why = complaint("pg_restore", ended)
    if why is not None and lost(ended):
        return server.outcome(Result.ERROR, f"the backup {found.backup.name} could not be tried: {why}")
    if why is not None:
        found.problems.append(f"it can't be restored: {why}")
        return found.outcome(server)
    return await in_session(server, context, lambda session: _examine(session, found, params), url=url)


async def _examine(session: Session, found: _Findings, params: VerifyParameters) -> Outcome:
    """Look for what has to be there. Names come from the catalog, quoted by the server."""
    async with session.reading() as connection:
        for table, least in params.tables.items():
            quoted = await connection.fetchval(_TABLE, table)
            rows = None if quoted is None else await connection.fetchval(f"SELECT count(*) FROM {quoted}")  # noqa: S608
            found.tables[table] = rows
            if rows is None:
                found.problems.append(f"the table {table} is not in it")
            elif rows < least:
                found.problems.append(f"the table {table} has {rows} rows, and should have {least} or more")
        if params.newest is not None:
            quoted = await connection.fetchrow(_COLUMN, params.newest.table, params.newest.column)
            found.problems += await _age(session, found, params.newest, quoted)
    return found.outcome(session.database)


async def _age(session: Session, found: _Findings, newest: Newest, quoted: Any) -> list[str]:
    """Take the age of the newest row; gives what is wrong with it."""
    where = f"{newest.table}.{newest.column}"
    if quoted is None:
        return [f"there is no {where} in it, to tell its age by"]
    statement = (
        f"SELECT extract(epoch FROM clock_timestamp() - max({quoted['column']})::timestamptz)::float8 "  # noqa: S608
        f"FROM {quoted['table']}"
    )
    found.newest_age_s = await session.connection.fetchval(statement)
    if found.newest_age_s is None:
        return [f"{where} has no value, to tell its age by"]
    if found.newest_age_s > newest.within:
        age, most = format_duration(found.newest_age_s), format_duration(newest.within)
        return [f"the newest {where} is {age} old, and should be of the last {most}"]
    return []


_TABLE = """
SELECT format('%I.%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE c.oid = to_regclass($1) AND relkind IN ('r', 'p', 'm')
"""
_COLUMN = """
SELECT format('%I', attname) AS "column", format('%I.%I', nspname, relname) AS "table"
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE attrelid = to_regclass($1) AND attname = $2 AND attnum > 0 AND NOT attisdropped
"""
