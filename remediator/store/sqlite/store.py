"""The embedded store: one SQLite file, one writing connection on a thread of its own, group commit.

Why a thread: a commit waits for the disk, and while it waits everything else that has arrived is gathered for the next
commit, so that the disk's latency is shared (29,600 commits/s with 32 writers against 4,600 one by one).
Why one writing connection: SQLite before 3.51.3 can corrupt a WAL file when two connections write or checkpoint at once.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from remediator.errors import StoreError
from remediator.store.protocol import Script, Transaction
from remediator.store.sqlite.transaction import SqliteTransaction

T = TypeVar("T")

_GATHER = 256  # scripts in one commit at most, so that the first of them doesn't wait long
_BUSY_SECONDS = 5.0
_COPY_AFTER_CHANGES = 1000  # rows changed, and
_COPY_AFTER_BYTES = 4 * 1024 * 1024  # growth of the log, after which it is copied into the file
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
    """The default store. Open it with `remediator.store.sqlite.open_store`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.path = path
        self.place = str(path)
        self.broken: str | None = None  # why nothing can be promised any more, if so
        self.failing: str | None = None  # why the last write was not taken, where that may pass
        self._lock = lock
        self._connection = connection
        self._inode = path.stat().st_ino
        self._changes = 0
        self._log = path.with_name(f"{path.name}-wal")
        self._copied = (0, 0)  # when the log was last copied: rows changed so far, and its size
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

    def when_stirred(self, look: Callable[[bool], None]) -> None:
        """Nobody else works here."""

    async def close(self) -> None:
        """Commit what is waiting, and let the file and its lock go."""
        self._jobs.put(None)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._writer.join)
        if self.broken:
            # Whoever closes the last connection copies the log into the file and calls fsync, as if nothing had been. A
            # reader can't write: where one is still there, all is left to the next start, as after a kill.
            with suppress(StoreError):  # the file is gone: nothing is left that could be spoilt
                await self.view(lambda tx: tx.head())
            self._connection.close()
        await loop.run_in_executor(self._reader, self._close_reading)
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
            self.failing = None if self._wrote() else self.failing
            self._copy_log()
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

    def _copy_log(self) -> None:
        """Copy the log into the file every so often (a checkpoint).

        SQLite would do so by itself, but tell nobody of a failed fsync, and try it again with the next commit.
        """
        changes, size = self._connection.total_changes, self._log_size()
        if changes - self._copied[0] < _COPY_AFTER_CHANGES and size - self._copied[1] < _COPY_AFTER_BYTES:
            return
        self._copied = changes, size
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            if not _passes(error):  # what is committed is durable in the log all the same
                self._failure(error)

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:  # nothing was ever written
            return 0

    def _wrote(self) -> bool:
        """Tell whether anything was changed since the last time this was asked: a commit of nothing proves nothing."""
        before, self._changes = self._changes, self._connection.total_changes
        return self._changes != before

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
        if _passes(error):
            self.failing = f"the store can't be written at the moment ({error}): {self.path}"
            return StoreError(self.failing)
        # After a failed fsync the kernel may have dropped the pages: a later success would prove nothing.
        self.broken = (
            f"writing {self.path} failed ({error}): nothing more is written, restart the daemon after mending the disk"
        )
        return StoreError(self.broken)

    # -- on the reading thread --

    def _view(self, script: Script[T]) -> T:
        try:
            if self._reading is None:
                # Read-only, so that it can never checkpoint beside the writer.
                self._reading = SqliteTransaction(connect(f"{self.path.absolute().as_uri()}?mode=ro"))
            connection = self._reading.connection
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


def _passes(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _PASSING


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


def connect(uri: str) -> sqlite3.Connection:
    """Open a connection that begins no transaction by itself."""
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False, cached_statements=256
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection
