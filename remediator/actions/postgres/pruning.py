"""`postgres.backup_prune`: backups removed when there are enough newer ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, model_validator

from remediator.actions.api import fitting
from remediator.actions.bounds import visible
from remediator.actions.postgres.backups import BackupAction
from remediator.actions.postgres.connecting import Database, OfDatabase, Span
from remediator.actions.postgres.shelf import CHECKSUM, Backup, BackupClass, Shelf, look, now
from remediator.actions.protocol import Context, Effect, JsonValue, Outcome, Parameters, Result
from remediator.model.time import Seconds, Timestamp, format_duration

_BROKEN_OFF_FOR: Seconds = 86_400.0  # what is unfinished for so long, nobody is at work on


class Keep(Parameters):
    """How many of a class are kept, and how long."""

    count: int | None = Field(default=None, ge=1, description="The newest so many are kept.")
    age: Span | None = Field(default=None, description="Those that are not older are kept.")

    @model_validator(mode="after")
    def _keeps_some(self) -> Keep:
        if self.count is None and self.age is None:
            raise ValueError("say how many are kept, `count`, or how long, `age`, or both")
        return self

    def words(self) -> str:
        """Say what is kept."""
        of_count = [f"the newest {self.count}"] if self.count is not None else []
        of_age = [f"those of the last {format_duration(self.age)}"] if self.age is not None else []
        return " and ".join([*of_count, *of_age])


class PruneParameters(OfDatabase):
    """Whose backups, and which are kept."""

    keep: dict[BackupClass, Keep] = Field(
        min_length=1,
        description="By class. What either `count` or `age` keeps is kept; a class that is not named is not touched.",
    )
    most: int = Field(default=50, ge=1, le=500, description="How many are removed at most, the oldest first.")


class PostgresBackupPrune(BackupAction[PruneParameters]):
    """Remove backups of a database that are neither among the newest of their class nor young enough.

    The newest of a class stays in any case, and so does the newest that has its checksum. Where the newest of a class is
    itself older than `age`, backups have ceased to be made: nothing of the class is removed, and it is listed under `stale`.
    Where there is no backup at all, the folder is the wrong one, and it is refused.

    `removed` lists names, `kept` counts by class, `left` counts what is beyond `most`, and `unfinished` what broken-off
    backups had left for a day, and is removed too. No other file is touched.

    Example:
        - id: prune
          uses: postgres.backup_prune
          with:
            database: main
            keep:
              hourly: {count: 24, age: 2d}
              daily: {count: 7}
    """

    name = "postgres.backup_prune"
    effect = Effect.WRITE
    parameters = PruneParameters

    def idempotent(self, params: PruneParameters) -> bool:
        """Tell that it is, unless it would go on where it has stopped: what is to be kept is kept in any case."""
        return True

    def plan(self, params: PruneParameters) -> str:
        """Say what is kept."""
        kept = "; ".join(f"of the {kind} ones keep {keep.words()}" for kind, keep in params.keep.items())
        words = f"remove backups of the database {params.database}, at most {params.most}: {kept}"
        return visible(words, longest=2000)

    async def there(self, folder: Path, database: Database, params: PruneParameters, context: Context) -> Outcome:
        """Look, decide, remove."""
        shelf = await asyncio.to_thread(look, folder, database.name)
        if not shelf.backups:
            words = f"there is no backup of the database {database.name} in {folder}, and nothing was removed"
            return database.outcome(Result.REFUSED, f"{words}: is it the right folder?")
        present = now()
        stale = [kind for kind, keep in params.keep.items() if _stale(shelf.of(kind), keep, present)]
        over = [
            each
            for kind, keep in params.keep.items()
            if kind not in stale
            for each in _over(shelf.of(kind), keep, present)
        ]
        over.sort(key=lambda backup: backup.made)
        removed = over[: params.most]
        unfinished = [path for path in shelf.unfinished if present - path.stat().st_mtime > _BROKEN_OFF_FOR]
        await asyncio.to_thread(_remove, removed, unfinished)
        result: dict[str, JsonValue] = {
            "removed": [backup.name for backup in removed], "kept": _kept(shelf, removed), "left": len(over) - len(removed),
            "stale": stale, "unfinished": len(unfinished),
        }  # fmt: skip
        return fitting(result, "the list of what was removed")


def _stale(backups: tuple[Backup, ...], keep: Keep, present: Timestamp) -> bool:
    return bool(backups) and keep.age is not None and backups[0].age(present) > keep.age


def _over(backups: tuple[Backup, ...], keep: Keep, present: Timestamp) -> Iterator[Backup]:
    """Give what neither count nor age keeps, of one class, the newest first."""
    sound = next((backup for backup in backups if backup.checksum), None)
    for place, backup in enumerate(backups):
        counted = keep.count is not None and place < keep.count
        young = keep.age is not None and backup.age(present) <= keep.age
        if place > 0 and backup is not sound and not counted and not young:
            yield backup


def _remove(backups: list[Backup], unfinished: list[Path]) -> None:
    # The checksum goes last: a backup without one would be taken for damaged.
    for backup in backups:
        backup.path.unlink(missing_ok=True)
        Path(f"{backup.path}{CHECKSUM}").unlink(missing_ok=True)
    for path in unfinished:
        path.unlink(missing_ok=True)


def _kept(shelf: Shelf, removed: list[Backup]) -> dict[str, JsonValue]:
    names = {backup.name for backup in removed}
    kept: dict[str, JsonValue] = {}
    for backup in shelf.backups:
        kept[backup.kind] = kept.get(backup.kind, 0) + (backup.name not in names)
    return kept
