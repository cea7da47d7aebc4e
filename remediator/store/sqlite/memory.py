"""A store in memory, without threads: the same transactions, for what runs in virtual time and is thrown away after.

Scripts run one after the other on the event loop itself, each in a transaction of its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from remediator.errors import StoreError
from remediator.store.migrations import migrations
from remediator.store.protocol import Script
from remediator.store.sqlite.store import connect, drive
from remediator.store.sqlite.transaction import SqliteTransaction

T = TypeVar("T")


class MemoryStore:
    """An embedded store that keeps nothing beyond its `close`. Open it with `open_memory`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.place = "memory"
        self.broken: str | None = None
        self.failing: str | None = None
        self._connection = connection
        self._transaction = SqliteTransaction(connection)

    async def transact(self, script: Script[T]) -> T:
        """Run a script; what it wrote is kept when this returns. Raises StoreError.

        Others may run before it and after it, as they may while a real store commits: whoever is cancelled before has written
        nothing, whoever is cancelled after has written all of it.
        """
        await asyncio.sleep(0)
        value = self._run(script)
        await asyncio.sleep(0)
        return value

    async def view(self, script: Script[T]) -> T:
        """Run a reading script. Raises StoreError, for one that writes too."""
        await asyncio.sleep(0)
        value = self._run(script, only_reads=True)
        await asyncio.sleep(0)
        return value

    def _run(self, script: Script[T], *, only_reads: bool = False) -> T:
        head = self._transaction.head_state()
        try:
            changes = self._connection.total_changes
            self._connection.execute("BEGIN")
            try:
                value = drive(script, self._transaction)
                # `query_only` would say so too, and have every statement prepared anew.
                if only_reads and self._connection.total_changes != changes:
                    raise StoreError("a script that was only to read has written")
                self._connection.execute("COMMIT")
            except BaseException:
                self._transaction.restore_head(head)
                self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreError(f"the store refused: {error}") from error
        return value

    def when_stirred(self, look: Callable[[bool], None]) -> None:
        """Whoever works here looks by itself."""

    async def close(self) -> None:
        """Forget everything."""
        self._connection.close()


def open_memory() -> MemoryStore:
    """Make an empty store in memory, with the newest schema."""
    connection = connect(":memory:")
    _template().backup(connection)
    return MemoryStore(connection)


@cache
def _template() -> sqlite3.Connection:
    """Give an empty store to copy: six times as fast as running the scripts of the schema each time."""
    connection = connect(":memory:")
    for _, script in migrations("sqlite"):
        connection.executescript(script)
    return connection
