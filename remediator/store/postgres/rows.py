"""What the row classes share: a connection inside a transaction, short ways to ask it, and whether anything was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import asyncpg

# A session of our own, or one that a pool lends.
Link: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


class Rows:
    """One connection to PostgreSQL, in a transaction of the store's."""

    def __init__(self, connection: Link) -> None:
        self.connection = connection
        self.wrote = False  # else there is nothing to commit
        self.stirred = False  # something may be due now: the other replicas are told
        self.ordered = False  # something was laid on a run, which may be at work elsewhere

    async def _all(self, sql: str, *values: Any) -> list[Any]:
        rows: list[Any] = await self.connection.fetch(sql, *values)
        return rows

    async def _one(self, sql: str, *values: Any) -> Any:
        return await self.connection.fetchrow(sql, *values)

    async def _change(self, sql: str, *values: Any) -> int:
        """Run a statement that writes, and say how many rows it concerned."""
        self.wrote = True
        status = await self.connection.execute(sql, *values)
        return int(status.rpartition(" ")[2])

    async def _change_and_give(self, sql: str, *values: Any) -> list[Any]:
        """Run a statement that writes, and give what it returns."""
        self.wrote = True
        return await self._all(sql, *values)

    async def _insert(self, into: str, types: str, rows: Sequence[tuple[Any, ...]], then: str = "") -> None:
        """Insert rows by one statement; `into` is the table with its columns, `types` are theirs, with commas between."""
        if not rows:
            return
        arrays = ", ".join(f"${number}::{of.strip()}[]" for number, of in enumerate(types.split(","), 1))
        columns = map(list, zip(*rows, strict=True))
        await self._change(f"INSERT INTO {into} SELECT * FROM unnest({arrays}) {then}", *columns)  # noqa: S608
