"""The folder of a database's backups: what their names say, and which of them are there.

`main-hourly-20260115T100000Z.dump` is a backup of the database `main`, and beside it `….dump.sha256` is its checksum, as
`sha256sum -c` reads it. While it is being made its name ends in `.partial`. Any other name is somebody else's file.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from remediator.actions.postgres.connecting import Database
from remediator.actions.protocol import Grammar, Outcome, Result
from remediator.forms.postgres import NAME
from remediator.model.time import Seconds, Timestamp

BackupClass: TypeAlias = Literal["hourly", "daily", "weekly", "monthly"]
CLASSES: tuple[BackupClass, ...] = ("hourly", "daily", "weekly", "monthly")
BACKUP = Grammar(
    "the name of a backup, as postgres.backup_list gives it",
    rf"{NAME}-(?:{'|'.join(CLASSES)})-[0-9]{{8}}T[0-9]{{6}}Z\.dump",
)
CHECKSUM = ".sha256"
PARTIAL = ".partial"
_INSTANT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Backup:
    """One finished backup."""

    path: Path
    kind: BackupClass
    made: Timestamp
    bytes: int
    checksum: bool  # whether its checksum is beside it

    @property
    def name(self) -> str:
        """Give its name, as rules write it."""
        return self.path.name

    def age(self, now: Timestamp) -> Seconds:
        """Give its age, by the instant in its name: a copy keeps it."""
        return now - self.made

    def damage(self) -> str | None:
        """Say what is wrong with the file, by its checksum. Raises OSError."""
        try:
            told = Path(f"{self.path}{CHECKSUM}").read_text(encoding="ascii").split()
        except (FileNotFoundError, UnicodeDecodeError):
            told = []
        if len(told) != 2 or re.fullmatch("[0-9a-f]{64}", told[0]) is None or told[1].lstrip("*") != self.name:
            return "it has no checksum that could be read"
        return None if told[0] == digest(self.path) else "its checksum is another: the file is damaged"


@dataclass(frozen=True, slots=True)
class Shelf:
    """What is in the folder of one database."""

    backups: tuple[Backup, ...]  # the newest first
    unfinished: tuple[Path, ...]  # left by a backup that was broken off
    others: int  # files that are none of this database's

    def of(self, kind: BackupClass | None) -> tuple[Backup, ...]:
        """Give the backups of one class, or all."""
        return tuple(each for each in self.backups if kind in {None, each.kind})


def digest(path: Path) -> str:
    """Give a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_of(database: str, kind: BackupClass, made: Timestamp) -> str:
    """Give the name of a backup."""
    return f"{database}-{kind}-{datetime.fromtimestamp(made, UTC).strftime(_INSTANT)}.dump"


def look(folder: Path, database: str) -> Shelf:
    """Look into a folder. Raises OSError where that can't be done."""
    ours = re.compile(rf"{re.escape(database)}-({'|'.join(CLASSES)})-([0-9]{{8}}T[0-9]{{6}}Z)\.dump(.*)", re.ASCII)
    backups: list[Backup] = []
    beside: list[Path] = []
    others = 0
    names = {entry.name: entry for entry in os.scandir(folder)}
    for name, entry in names.items():
        read = ours.fullmatch(name)
        made = _instant(read[2]) if read else None
        if read is None or made is None or not entry.is_file(follow_symlinks=False):
            others += 1
        elif read[3] in {PARTIAL, CHECKSUM, CHECKSUM + PARTIAL}:
            beside.append(Path(entry.path))
        elif read[3]:
            others += 1
        else:
            with suppress(FileNotFoundError):  # gone since it was listed
                size = entry.stat(follow_symlinks=False).st_size
                kind = next(each for each in CLASSES if each == read[1])
                backups.append(Backup(Path(entry.path), kind, made, size, name + CHECKSUM in names))
    backups.sort(key=lambda backup: (-backup.made, backup.name))
    finished = {f"{backup.name}{CHECKSUM}" for backup in backups}
    return Shelf(tuple(backups), tuple(sorted(path for path in beside if path.name not in finished)), others)


def _instant(text: str) -> Timestamp | None:
    try:
        return datetime.strptime(text, _INSTANT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def folder_of(database: Database) -> Path | Outcome:
    """Give the folder of a database's backups, or say that none is configured."""
    if database.backups is not None:
        return Path(database.backups)
    words = f"postgres.databases.{database.name}.backups is not set: name a folder there, in the configuration"
    return Outcome(Result.NOT_SENT, error=words)


def unreadable(database: Database, error: OSError) -> Outcome:
    """Say that the folder, or something in it, can't be had."""
    words = f"the backups of the database {database.name} can't be had: {error.filename}: {error.strerror}"
    return database.outcome(Result.ERROR, f"{words}; nothing was done: see to the folder and its rights")


def without_folder(name: str, settings: Mapping[str, object]) -> str | None:
    """Say that a database has no folder for backups, if it is configured without."""
    section = settings.get("postgres")
    databases = section.get("databases") if isinstance(section, Mapping) else None
    found = databases.get(name) if isinstance(databases, Mapping) else None
    if isinstance(found, Mapping) and not found.get("backups"):
        return f"postgres.databases.{name}.backups is not set in the configuration: name a folder there"
    return None


def now() -> Timestamp:
    """Give the present instant, by the clock that names the backups."""
    return time.time()
