"""The embedded store: one SQLite file, one writing connection on a thread of its own, group commit.

Why a thread: a commit waits for the disk, and while it waits everything else that has arrived is gathered for the next
commit, so that the disk's latency is shared (29,600 commits/s with 32 writers against 4,600 one by one).
Why one writing connection: SQLite before 3.51.3 can corrupt a WAL file when two connections write or checkpoint at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from remediator.errors import RemediatorError, StoreError, StoreForeign, StoreLocked
from remediator.store.chain import ChainReport, Link, verify_chain
from remediator.store.migrations import migrations
from remediator.store.protocol import Script, Transaction
from remediator.store.sqlite_transaction import SqliteTransaction

T = TypeVar("T")

APPLICATION_ID = 0x524D4454  # "RMDT" in the file's header: tells our files from anyone else's
_GATHER = 256  # scripts in one commit at most, so that the first of them doesn't wait long
_BUSY_SECONDS = 5.0
# What passes by itself; any other error of the disk means that nothing can be promised any more.
_PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM}


class _Job:
    """One script on its way to the writing thread and back."""

    def __init__(self, script: Script[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.script = script
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.value: Any = None
        self.error: Exception | None = None

    def deliver(self) -> None:
        """Hand the result over, on the loop's thread."""
        if self.future.done():
            return  # the one who asked has gone; what was written stays written
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.value)


class SqliteStore:
    """The default store. Open it with `open_store`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.path = path
        self.broken: str | None = None  # why nothing can be promised any more, if so
        self._lock = lock
        self._connection = connection
        self._inode = path.stat().st_ino
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._transaction = SqliteTransaction(connection)
        self._writer = threading.Thread(target=self._write, name="store", daemon=True)
        self._writer.start()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._reading: SqliteTransaction | None = None

    async def transact(self, script: Script[T]) -> T:
        """Run a script on the writing thread; it is durable when this returns. Raises StoreError."""
        if self.broken:
            raise StoreError(self.broken)
        job = _Job(script, asyncio.get_running_loop())
        self._jobs.put(job)
        return cast(T, await job.future)

    async def view(self, script: Script[T]) -> T:
        """Run a reading script on a connection of its own, in a snapshot. Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._view, script)

    async def close(self) -> None:
        """Commit what is waiting, and let the file and its lock go."""
        self._jobs.put(None)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._reader, self._close_reading)
        await loop.run_in_executor(None, self._writer.join)
        self._reader.shutdown(wait=True)
        self._connection.close()
        os.close(self._lock)

    # -- on the writing thread --

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch = [job]
            last = False
            while len(batch) < _GATHER:
                try:
                    more = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    last = True
                    break
                batch.append(more)
            self._commit(batch)
            for loop in {job.loop for job in batch}:
                mine = [job for job in batch if job.loop is loop]
                try:
                    loop.call_soon_threadsafe(_deliver, mine)
                except RuntimeError:  # that loop has closed: nobody is left to tell
                    continue
            if last:
                return

    def _commit(self, batch: list[_Job]) -> None:
        head = self._transaction.head_state()
        try:
            self._check_file()
            self._connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run(job, alone=len(batch) == 1)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, StoreError) as error:
            self._transaction.restore_head(head)
            if self._connection.in_transaction:
                with _ignore_failed_rollback():
                    self._connection.execute("ROLLBACK")
            failure = self._failure(error)
            for job in batch:
                job.error = failure

    def _run(self, job: _Job, *, alone: bool) -> None:
        """Run one script; where it fails by itself, the others of the commit are kept."""
        head = self._transaction.head_state()
        if not alone:
            self._connection.execute("SAVEPOINT script")
        try:
            job.value = drive(job.script, self._transaction)
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.IntegrityError):
                raise
            self._undo_one(job, StoreError(f"the store refused a write: {error}"), head, alone=alone)
        except Exception as error:  # noqa: BLE001 - whatever the script raised belongs to the one who sent it
            self._undo_one(job, error, head, alone=alone)
        else:
            if not alone:
                self._connection.execute("RELEASE script")

    def _undo_one(self, job: _Job, error: Exception, head: tuple[int, str] | None, *, alone: bool) -> None:
        job.error = error
        self._transaction.restore_head(head)
        if alone:
            self._connection.execute("ROLLBACK")
            self._connection.execute("BEGIN IMMEDIATE")
        else:
            self._connection.execute("ROLLBACK TO script")
            self._connection.execute("RELEASE script")

    def _check_file(self) -> None:
        """Fail closed when the file was deleted or replaced under us: what we write would be lost."""
        if self.broken:
            raise StoreError(self.broken)
        try:
            same = self.path.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            self.broken = (
                f"{self.path} was removed or replaced while the daemon ran: stop it, and find out who did that"
            )
            raise StoreError(self.broken)

    def _failure(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and (code & 0xFF) in _PASSING:
            return StoreError(f"the store can't be written at the moment ({error}): {self.path}")
        # After a failed fsync the kernel may have dropped the pages: a later success would prove nothing.
        self.broken = (
            f"writing {self.path} failed ({error}): nothing more is written, restart the daemon after mending the disk"
        )
        return StoreError(self.broken)

    # -- on the reading thread --

    def _view(self, script: Script[T]) -> T:
        if self._reading is None:
            # Read-only, so that it can never checkpoint beside the writer.
            connection = _connect(f"{self.path.absolute().as_uri()}?mode=ro")
            self._reading = SqliteTransaction(connection)
        connection = self._reading.connection
        try:
            connection.execute("BEGIN")
            try:
                return drive(script, self._reading)
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"the store can't be read at the moment ({error}): {self.path}") from error

    def _close_reading(self) -> None:
        if self._reading is not None:
            self._reading.connection.close()
            self._reading = None


@contextmanager
def _ignore_failed_rollback() -> Iterator[None]:
    """A rollback after a failed commit may find that SQLite has rolled back by itself."""
    try:
        yield
    except sqlite3.OperationalError:
        return


def _deliver(jobs: list[_Job]) -> None:
    for job in jobs:
        job.deliver()


def drive(script: Script[T], transaction: Transaction) -> T:
    """Run a script to its end without an event loop: over SQLite nothing in it has to wait."""
    coroutine = cast(Coroutine[Any, Any, T], script(transaction))
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    coroutine.close()
    raise RuntimeError("a script waited for something that is not its transaction")


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False, cached_statements=256
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def open_store(path: Path, *, migrate: bool = True) -> SqliteStore:
    """Open the store at a path, or make a new one where there is none.

    Raises StoreLocked when another daemon has it, StoreForeign when the file is not ours, is damaged or has another
    version's schema. A file that can't be used is never touched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _take_lock(path)
    try:
        connection = _connect(path.absolute().as_uri())
        try:
            _prepare(path, connection, migrate=migrate)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise StoreForeign(
                f"{path} can't be opened as a store ({error}): restore it or name another file"
            ) from error
        except RemediatorError:
            connection.close()
            raise
        return SqliteStore(path, connection, lock)
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
        raise StoreLocked(
            f"another daemon holds {path}: stop it, give this one a store of its own, or use PostgreSQL to run several"
        ) from None
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
    connection.execute("PRAGMA cache_size = -8000")
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


def audit(path: Path, expected_head: str | None = None) -> ChainReport:
    """Verify the chain of a store, beside a running daemon or without one. Raises StoreError when it can't be read."""
    if not path.exists():
        raise StoreError(f"{path} does not exist: there is no history to verify")
    connection: sqlite3.Connection | None = None
    try:
        connection = _connect(f"{path.absolute().as_uri()}?mode=ro")
        connection.execute("BEGIN")
        meta = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('base_seq', 'base_hash')").fetchall())
        base = (int(meta["base_seq"]), meta["base_hash"]) if meta else (0, "0" * 64)
        rows = connection.execute("SELECT seq, run, line, hash FROM events ORDER BY seq")
        return verify_chain((Link(*row) for row in rows), base, expected_head)
    except sqlite3.Error as error:
        raise StoreError(f"{path} can't be read ({error})") from error
    finally:
        if connection is not None:
            connection.close()
