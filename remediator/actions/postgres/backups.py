"""`postgres.backup` makes a backup with pg_dump, `postgres.backup_list` lists those that there are."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from remediator.actions.api import fitting
from remediator.actions.children import SEARCHED, Command, NotStarted, run
from remediator.actions.postgres.connecting import Database, DatabaseAction, OfDatabase, Q, Session, in_session
from remediator.actions.postgres.programs import before, complaint, lost, run_program
from remediator.actions.postgres.shelf import (
    CHECKSUM,
    PARTIAL,
    BackupClass,
    digest,
    folder_of,
    look,
    name_of,
    now,
    unreadable,
    without_folder,
)
from remediator.actions.protocol import Context, Effect, JsonValue, Outcome, Result
from remediator.model.time import Seconds

_TIDYING: Seconds = 5.0  # kept back for the checksum, and for taking away what was broken off


class BackupAction(DatabaseAction[Q]):
    """Base of the actions that concern the folder of a database's backups."""

    def check(self, params: Q, settings: Mapping[str, Any]) -> str | None:
        """Say that the database, or the folder, is not configured, if so."""
        return super().check(params, settings) or without_folder(params.database, settings)

    async def work(self, database: Database, params: Q, context: Context) -> Outcome:
        """Find the folder, and do what is to be done there."""
        folder = folder_of(database)
        if isinstance(folder, Outcome):
            return folder
        try:
            return await self.there(folder, database, params, context)
        except TimeoutError:
            words = (
                f"the time was up before the backups of the database {database.name} were read or written to their end"
            )
            return database.outcome(Result.ERROR, f"{words}: give the step more time")
        except OSError as error:
            return unreadable(database, error)

    async def there(self, folder: Path, database: Database, params: Q, context: Context) -> Outcome:
        """Do it; an OSError is made an Outcome by the caller."""
        raise NotImplementedError


class BackupListParameters(OfDatabase):
    """Whose backups, and of which class."""

    kind: BackupClass | None = Field(default=None, alias="class", description="Only this class. Default: all.")


class PostgresBackupList(BackupAction[BackupListParameters]):
    """List the backups of a database, the newest first.

    `backups` has the `name`, `class`, `bytes` and `age_s` of each, and whether its `checksum` is beside it (whether it is
    right, `postgres.verify_backup` tells). `count` says how many, `newest_age_s` is the age of the newest (null where there is
    none), `unfinished` counts what broken-off backups have left, `others` the files that are none of this database's.

    Example:
        - id: backups
          uses: postgres.backup_list
          with:
            database: main
            class: hourly
          expect: result.count > 0 and result.newest_age_s < 7200
    """

    name = "postgres.backup_list"
    effect = Effect.READ
    parameters = BackupListParameters

    def plan(self, params: BackupListParameters) -> str:
        """Say which."""
        return f"list the {f'{params.kind} ' if params.kind else ''}backups of the database {params.database}"

    async def there(self, folder: Path, database: Database, params: BackupListParameters, context: Context) -> Outcome:
        """Look into the folder."""
        shelf = await asyncio.to_thread(look, folder, database.name)
        present = now()
        backups: list[JsonValue] = [
            {
                "name": backup.name, "class": backup.kind, "bytes": backup.bytes, "age_s": round(backup.age(present), 3),
                "checksum": backup.checksum,
            }
            for backup in shelf.of(params.kind)
        ]  # fmt: skip
        newest = backups[0]["age_s"] if backups else None
        counts = {"count": len(backups), "unfinished": len(shelf.unfinished), "others": shelf.others}
        return fitting({"backups": backups, "newest_age_s": newest, **counts}, "the list of backups")


class BackupParameters(OfDatabase):
    """Of what, and which class the backup is of."""

    kind: BackupClass = Field(alias="class", description="By it `postgres.backup_prune` decides how long it is kept.")


class PostgresBackup(BackupAction[BackupParameters]):
    """Make a backup of a database with pg_dump, into the folder that is configured.

    It is written under another name, and gets its own only when it is whole, on the disk, and its SHA-256 is beside it. The
    result has its `name`, `bytes` and `sha256`. Then the configured `backup_command`, if there is one, gets its path as one
    more argument: a backup that it could not take elsewhere is an error, though it stays in the folder.

    The format is pg_dump's custom one: `pg_restore` reads it, and `postgres.verify_backup` tries it.

    Example:
        - id: backup
          uses: postgres.backup
          with:
            database: main
            class: hourly
          timeout: 30m
    """

    name = "postgres.backup"
    effect = Effect.WRITE
    parameters = BackupParameters

    def idempotent(self, params: BackupParameters) -> bool:
        """Tell that it is not: twice makes two."""
        return False

    def plan(self, params: BackupParameters) -> str:
        """Say of what."""
        return f"back up the database {params.database}, as its {params.kind} backup"

    async def there(self, folder: Path, database: Database, params: BackupParameters, context: Context) -> Outcome:
        """Make it."""
        reached = await in_session(database, context, _greet)  # says better than pg_dump why a server is out of reach
        if not reached.ok:
            return reached
        path = folder / name_of(database.name, params.kind, now())
        while path.exists():  # made within this very second: a name tells no two of them apart
            await asyncio.sleep(1 - now() % 1)
            path = folder / name_of(database.name, params.kind, now())
        with _unfinished(path) as partial:
            inner = replace(context, deadline=before(context, _TIDYING))
            arguments = ["--format=custom", f"--file={partial}", f"--dbname={database.url}"]
            ended = await run_program(database, inner, "pg_dump", arguments)
            if isinstance(ended, Outcome):
                return ended
            if why := complaint("pg_dump", ended):
                kind = Result.ERROR if lost(ended) else Result.REFUSED
                return database.outcome(kind, f"no backup was made of the database {database.name}: {why}")
            async with asyncio.timeout_at(context.deadline):  # a TimeoutError is an OSError
                checksum = await asyncio.to_thread(_finish, partial, path)
        result = {"name": path.name, "bytes": path.stat().st_size, "sha256": checksum}
        return await _hand_over(database, path, context) or Outcome(Result.OK, result)


async def _greet(session: Session) -> Outcome:
    return Outcome(Result.OK, await session.connection.fetchval("SELECT 1"))


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Give the name under which it is written, for our user alone; what is not finished is taken away."""
    partial = Path(f"{path}{PARTIAL}")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _finish(partial: Path, path: Path) -> str:
    """Write the checksum, see both onto the disk, and give the backup its name: from then on it counts."""
    checksum = digest(partial)
    beside = Path(f"{path}{CHECKSUM}")
    beside.write_text(f"{checksum}  {path.name}\n", encoding="ascii")
    for each in (partial, beside):
        _sync(each)
    partial.rename(path)
    _sync(path.parent)
    return checksum


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _hand_over(database: Database, path: Path, context: Context) -> Outcome | None:
    """Run the configured command, if there is one; gives what is wrong."""
    if not database.backup_command:
        return None
    program, *arguments = database.backup_command
    executable = shutil.which(program, path=SEARCHED) if "/" not in program else program
    kept = f"the backup {path.name} is made and kept, but was not taken elsewhere"
    if executable is None:
        words = f"{kept}: there is no program {program} on {SEARCHED}; correct backup_command"
        return database.outcome(Result.ERROR, words)
    env = {"PATH": SEARCHED, "REMEDIATOR_RUN": context.run}
    ended = await run(Command([program, *arguments, str(path)], executable, env), context.deadline)
    why = ended.why if isinstance(ended, NotStarted) else complaint(program, ended)
    return None if why is None else database.outcome(Result.ERROR, f"{kept}: {why}")
