"""The shared store: any number of daemons over one PostgreSQL database.

Whoever decides holds the lock of the one row of `head`, for one transaction that carries all scripts which are waiting. So
what a script reads can't change before it has written, on whichever replica it runs, and the same scripts are right here
that are right over SQLite with its one writer. Nothing else of PostgreSQL is relied upon than row locks, unique indexes and
its clock; no session state, so that a pooler may stand between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar, cast

import asyncpg

from remediator.errors import StoreError
from remediator.model.time import Seconds, Timestamp
from remediator.store.chain import Head
from remediator.store.postgres.connecting import LOST, Address, newest, out_of_order, refused, trouble
from remediator.store.postgres.session import Session, is_pooled
from remediator.store.postgres.transaction import PostgresTransaction
from remediator.store.protocol import Script

T = TypeVar("T")

_GATHER = 256  # scripts in one commit at most, so that the first of them doesn't wait long
_WHOLE: Seconds = 15.0  # for one transaction: what hangs longer is a broken connection
_TRIES = 5  # of a transaction that the database can't put in order with others
_ANSWER: Seconds = 10.0  # how long it is tried to find out what became of a commit
_LEAVING: Seconds = 5.0
_READERS = 2
_LISTEN_AGAIN: Seconds = 2.0
_CHANNEL = "remediator"
_ORDER, _WORK = "order", "work"
# The server itself ends a transaction whose daemon was frozen or cut off, so that its lock holds nobody up for long.
# Every question walks an index: the planner, which may know nothing yet of tables that fill fast, is not to think otherwise.
_BEGIN = (
    "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL lock_timeout = '8s'; "
    "SET LOCAL statement_timeout = '10s'; SET LOCAL jit = off; SET LOCAL enable_seqscan = off; "
    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
)
# The clock is read when the lock is held.
_TAKE_HEAD = """
WITH mine AS (
  INSERT INTO commits (daemon, name, at) VALUES ($1, $2, extract(epoch FROM clock_timestamp()))
  ON CONFLICT (daemon) DO UPDATE SET name = excluded.name, at = excluded.at
)
UPDATE head SET seq = seq
RETURNING seq, extract(epoch FROM clock_timestamp())::float8, (SELECT needs FROM remediator_schema)
"""
_LEAVE_HEAD = """
WITH mine AS (
  INSERT INTO chains (chain, number, hash) SELECT $2, $3, $4 WHERE $3::bigint IS NOT NULL
  ON CONFLICT (chain) DO UPDATE SET number = excluded.number, hash = excluded.hash
)
UPDATE head SET seq = $1
RETURNING (SELECT needs FROM remediator_schema), CASE WHEN $5 THEN pg_notify($6, $7)::text END
"""
_SEEN = """
SELECT
  (SELECT base_number FROM chains WHERE chain = $1),
  (SELECT hash FROM events WHERE chain = $1 AND number = $2)
"""


class _Job:
    """One script on its way into a transaction, and what came of it."""

    def __init__(self, script: Script[Any]) -> None:
        self.script = script
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def give(self, value: Any) -> None:
        """Hand the result over, unless the one who asked has gone: what was written stays written."""
        if not self.future.done():
            self.future.set_result(value)

    def fail(self, error: Exception) -> None:
        """Hand the failure over."""
        if not self.future.done():
            self.future.set_exception(error)


class _Own(Exception):
    """What one script has raised by itself: the others are not to suffer from it."""

    def __init__(self, job: _Job, error: Exception) -> None:
        self.job, self.error = job, error


class PostgresStore:
    """The store of several daemons. Open it with `remediator.store.postgres.open_store`."""

    def __init__(self, address: Address, chain: str, daemon: str, tell_time: Callable[[Timestamp], None]) -> None:
        self.place = str(address)
        self.broken: str | None = None  # why nothing can be promised any more, if so
        self.failing: str | None = None  # why the last transaction was not taken, where that may pass
        self._address = address
        self._chain = chain
        self._daemon = daemon  # names this daemon's transactions
        self._tell_time = tell_time  # is told the database's time, whenever we hear of it
        self._batches = 0
        self._seen: Head | None = None  # the newest line of our chain that is known to be kept
        self._writing: Session | None = None
        self._prepares = True  # until a pooler is found to stand between
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._readers: asyncpg.Pool[asyncpg.Record] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._writer = asyncio.get_running_loop().create_task(self._write())
        self._writer.add_done_callback(self._ended)

    async def transact(self, script: Script[T]) -> T:
        """Run a script in a transaction; it is as durable as the database promises when this returns. Raises StoreError."""
        if self.broken or self._closing:
            raise StoreError(self.broken or "the store is closed")
        job = _Job(script)
        self._jobs.append(job)
        self._arrived.set()
        return cast(T, await job.future)

    async def view(self, script: Script[T]) -> T:
        """Run a reading script on a connection of its own, in a snapshot. Raises StoreError."""
        try:
            try:
                return await self._view(script)
            except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError):
                if self._readers is not None:  # they may all have died with the server, and it may be back
                    await self._readers.expire_connections()
                return await self._view(script)
        except LOST as error:
            raise StoreError(f"the database can't be read at the moment: {self.place}: {trouble(error)}") from error

    async def _view(self, script: Script[T]) -> T:
        if self._readers is None:
            self._readers = await self._address.pool(_READERS)
        async with self._readers.acquire(timeout=_WHOLE) as connection:
            try:
                async with (
                    asyncio.timeout(_WHOLE),
                    connection.transaction(isolation="repeatable_read", readonly=True),
                ):
                    return await script(PostgresTransaction(Session(connection, prepares=False), self._chain))
            except LOST:
                # Where nobody answers, nobody answers to a cancellation either, and the pool would wait for that.
                connection.terminate()
                raise

    def when_stirred(self, look: Callable[[bool], None]) -> None:
        """Have something called when another daemon has committed what may be due. A pooler may keep it from us."""
        self._listener = asyncio.get_running_loop().create_task(self._listen(look))

    async def close(self) -> None:
        """Commit what is waiting, and let go."""
        self._closing = True
        if self._listener is not None:
            self._listener.cancel()
        self._arrived.set()
        await asyncio.wait({self._writer})
        self._drop()
        if self._readers is not None:
            self._readers.terminate()

    async def _listen(self, look: Callable[[bool], None]) -> None:
        """Hear when others have made work, for as long as the connection holds, and then by another one."""

        def told(connection: object, pid: int, channel: str, payload: str) -> None:
            daemon, _, what = payload.partition(" ")
            if daemon != self._daemon:
                look(what == _ORDER)

        while True:
            try:
                connection = await self._address.connect()
                try:
                    ended = asyncio.Event()
                    connection.add_termination_listener(lambda _, ended=ended: ended.set())
                    await connection.add_listener(_CHANNEL, told)
                    await ended.wait()
                finally:
                    connection.terminate()
            except LOST:
                pass  # work is looked for every few seconds all the same
            await asyncio.sleep(_LISTEN_AGAIN)

    # -- the writer --

    async def _write(self) -> None:
        while True:
            await self._arrived.wait()
            batch = [self._jobs.popleft() for _ in range(min(_GATHER, len(self._jobs)))]
            if not self._jobs and not self._closing:
                self._arrived.clear()
            if batch:
                try:
                    await self._keep(batch)
                finally:
                    for job in batch:  # none is left, unless on a defect
                        job.fail(StoreError("the store's writer has stopped"))
            elif self._closing:
                return

    def _ended(self, writer: asyncio.Task[None]) -> None:
        """Leave nobody waiting for ever, should the writer ever end on a defect."""
        error = None if writer.cancelled() else writer.exception()
        if error is not None:
            self.broken = f"the store's writer has stopped on a defect, restart the daemon and report this: {error!r}"
        for job in self._jobs:
            job.fail(StoreError(self.broken or "the store is closed"))

    async def _keep(self, batch: Sequence[_Job]) -> None:
        """Run scripts in one transaction; where one of them fails by itself, each in one of its own."""
        for left in range(_TRIES, 0, -1):
            try:
                values = await self._transaction(batch)
            except _Own as own:
                if len(batch) == 1:
                    own.job.fail(own.error)
                    return
                for job in batch:
                    await self._keep([job])
                return
            except StoreError as error:
                for job in batch:
                    job.fail(error)
                return
            except LOST as error:
                self._prepares = self._prepares and not is_pooled(error)
                if (out_of_order(error) or is_pooled(error)) and left > 1:
                    continue
                self.failing = f"the database can't be written at the moment: {self.place}: {trouble(error)}"
                for job in batch:
                    job.fail(StoreError(self.failing))
                return
            for job, value in zip(batch, values, strict=True):
                job.give(value)
            return

    async def _transaction(self, batch: Sequence[_Job]) -> list[Any]:
        """Run scripts and commit. Raises _Own, and LOST or StoreError where nothing was kept, as far as can be told."""
        self._batches += 1
        name = f"{self._daemon}:{self._batches}"
        sound = False
        try:
            async with asyncio.timeout(_WHOLE):
                session = await self._connected()
                transaction = await self._begin(session, name)
                values = [await _run(job, transaction) for job in batch]
                self._compare(transaction.found)
                if not transaction.wrote:  # nothing to keep, and no disk to wait for
                    await session.connection.execute("ROLLBACK")
                    sound = True
                    return values
                told = f"{self._daemon} {_ORDER if transaction.ordered else _WORK}"
                head = transaction.chain_head
                end = (None, None) if head is None else (head.number, head.hash)
                leave = (transaction.seq, self._chain, *end, transaction.stirred, _CHANNEL, told)
                # Where the lock had to be waited for, the version that came with it was that of before.
                self._heed((await session.ask(_LEAVE_HEAD, *leave))[0][0])
            if not await self._commit(session):
                raise StoreError(f"the database did not keep a transaction that was to be committed: {self.place}")
            sound = True
            self._seen = transaction.chain_head or self._seen
            self.failing = None
            return values
        except _Own:
            await self._roll_back()
            sound = True
            raise
        finally:
            if not sound:
                self._drop()

    async def _connected(self) -> Session:
        if self.broken:
            raise StoreError(self.broken)
        if self._writing is None or self._writing.connection.is_closed():
            connection = await self._address.connect()
            self._writing = Session(connection, prepares=self._prepares)
            if self._seen is not None:
                await self._look_back(self._writing, self._seen)
        return self._writing

    async def _look_back(self, session: Session, seen: Head) -> None:
        """See that the database still has what it has kept for us: it may have been restored, or have failed over."""
        base, there = (await session.ask(_SEEN, self._chain, seen.number))[0]
        if there != seen.hash and (base or 0) < seen.number:
            self._distrust(seen)

    def _compare(self, found: Head | None) -> None:
        """See the same in a transaction that writes history: a pooler may have taken us to that database without a word."""
        seen = self._seen
        if seen is not None and found is not None and found.number <= seen.number and found.hash != seen.hash:
            self._distrust(seen)

    def _distrust(self, seen: Head) -> NoReturn:
        self.broken = (
            f"the database {self.place} has lost history: event {seen.number} of chain {seen.chain} is not there as it "
            "was kept, so that limits and cooldowns can't be trusted; find out what was restored, then start with a pause"
        )
        raise StoreError(self.broken)

    async def _begin(self, session: Session, name: str) -> PostgresTransaction:
        await session.connection.execute(_BEGIN)
        seq, now, needs = (await session.ask(_TAKE_HEAD, self._daemon, name))[0]
        self._heed(needs)
        self._tell_time(now)
        return PostgresTransaction(session, self._chain, seq)

    def _heed(self, needs: int) -> None:
        if needs > newest():
            words = f"a newer version has changed the schema of {self.place}"
            self.broken = f"{words}: this one can't work with it, upgrade Remediator"
            raise StoreError(self.broken)

    async def _commit(self, session: Session) -> bool:
        """Commit, and tell whether it was kept: where the answer was lost, the database is asked. Raises LOST."""
        name = f"{self._daemon}:{self._batches}"
        try:
            async with asyncio.timeout(_WHOLE):
                return bool(await session.connection.execute("COMMIT") == "COMMIT")
        except LOST as error:
            if out_of_order(error) or refused(error):
                raise  # it has said itself that nothing was kept
            self._drop()
            return await self._was_kept(name)

    async def _was_kept(self, name: str) -> bool:
        """Find out what became of a commit whose answer was lost; the lock waits for it, should it be under way still."""
        failed: Exception = TimeoutError()
        try:
            async with asyncio.timeout(_ANSWER):
                while True:
                    try:
                        connection = await self._address.connect()
                        try:
                            await connection.execute(_BEGIN)
                            await connection.fetch("SELECT 1 FROM head FOR UPDATE")
                            kept = await connection.fetchval("SELECT name FROM commits WHERE daemon = $1", self._daemon)
                            return bool(kept == name)
                        finally:
                            connection.terminate()
                    except LOST as error:
                        failed = error
                        await asyncio.sleep(0.2)
        except TimeoutError:
            raise StoreError(
                f"the answer to a commit was lost, and the database can't be asked: {self.place}: {trouble(failed)}"
            ) from failed

    async def _roll_back(self) -> None:
        if self._writing is not None:
            try:
                async with asyncio.timeout(_LEAVING):
                    await self._writing.connection.execute("ROLLBACK")
            except LOST:
                self._drop()

    def _drop(self) -> None:
        if self._writing is not None:
            self._writing.connection.terminate()
            self._writing = None


async def _run(job: _Job, transaction: PostgresTransaction) -> Any:
    """Run one script. Raises _Own for what is its own fault, and what has befallen the connection as it is."""
    try:
        return await job.script(transaction)
    except LOST as error:
        if refused(error):
            refusal = StoreError(f"the store refused a write: {trouble(error)}")
            refusal.__cause__ = error
            raise _Own(job, refusal) from error
        raise
    except Exception as error:
        raise _Own(job, error) from error
