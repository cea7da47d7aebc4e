"""The store's file: opening it, keeping others out, telling it from anything else."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from remediator.errors import StoreForeign, StoreLocked
from remediator.store.migrations import migrations
from remediator.store.sqlite.store import SqliteStore, connect

APPLICATION_ID = 0x524D4454  # "RMDT" in the file's header: tells our files from anyone else's


def open_store(path: Path, *, migrate: bool = True) -> SqliteStore:
    """Open the store at a path, or make a new one where there is none.

    Raises StoreLocked when another daemon has it, StoreForeign when the file is not ours, is damaged or has another
    version's schema. A file that can't be used is never touched.
    """
    if path.is_dir():
        raise StoreForeign(f"{path} is a folder: name a file in it as `store`")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(path)
    except OSError as error:
        words = f"{path} can't be opened as a store ({error.filename}: {error.strerror})"
        raise StoreForeign(f"{words}: mend its folder, or name another file as `store`") from error
    try:
        connection = connect(path.absolute().as_uri())
        try:
            _prepare(path, connection, migrate=migrate)
        except BaseException:
            connection.close()
            raise
        return SqliteStore(path, connection, lock)
    except sqlite3.DatabaseError as error:
        os.close(lock)
        raise StoreForeign(f"{path} can't be opened as a store ({error}): restore it or name another file") from error
    except BaseException:
        os.close(lock)
        raise


def _take_lock(path: Path) -> int:
    """Hold PATH.lock for as long as the process lives; the kernel lets go of it however the process ends."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StoreLocked(f"another daemon holds {path}: stop it, or give this one a store of its own") from None
    return lock


def _prepare(path: Path, connection: sqlite3.Connection, *, migrate: bool) -> None:
    version = schema_version(path, connection)
    newest = migrations("sqlite")[-1][0]
    if version > newest:
        raise StoreForeign(f"{path} has schema {version}, and this version knows {newest}: upgrade Remediator")
    if 0 < version < newest and not migrate:
        raise StoreForeign(f"{path} has schema {version} of {newest}: run `remediator migrate`")
    if version == 0:
        path.chmod(0o600)  # it holds label values and results of steps
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # the store does it, and looks what comes of it
    connection.execute("PRAGMA cache_size = -8000")
    connection.execute("PRAGMA temp_store = MEMORY")  # the system may have no folder for temporary files
    for number, script in migrations("sqlite"):
        if number > version:
            connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


def schema_version(path: Path, connection: sqlite3.Connection) -> int:
    """Give the schema's version, 0 for an empty file. Raises StoreForeign when it holds something else."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == 0 and version == 0 and tables == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        return 0
    if application != APPLICATION_ID:
        raise StoreForeign(f"{path} is an SQLite file, but not one of Remediator's: name another file as `store`")
    return int(version)
