"""A session with the database: statements are asked by their text, and prepared once where the session is ours alone."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, TypeAlias

import asyncpg
from asyncpg.cursor import CursorFactory
from asyncpg.prepared_stmt import PreparedStatement

# A connection of our own, or one that a pool lends.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

_KEPT = 300  # statements; what is asked beyond them is asked without being prepared
_POOLED = {"26000", "42P05"}  # there is no statement of that name, or there is one already


class Session:
    """One connection, and the statements that are prepared on it.

    A statement is named by its text: behind a pooler that hands our transactions to any session there is, a name may be
    unknown or taken, which is an error, but never mean another statement, which none would notice.
    """

    def __init__(self, connection: Connection, *, prepares: bool) -> None:
        self.connection = connection
        self._prepares = prepares
        self._prepared: dict[str, PreparedStatement[asyncpg.Record]] = {}

    async def ask(self, sql: str, *values: Any) -> list[Any]:
        """Run a statement, and give its rows."""
        statement = await self._statement(sql)
        rows: list[Any] = await (statement.fetch(*values) if statement else self.connection.fetch(sql, *values))
        return rows

    async def change(self, sql: str, *values: Any) -> int:
        """Run a statement that gives no rows, and say how many it concerned."""
        statement = await self._statement(sql)
        if statement is None:
            told = await self.connection.execute(sql, *values)
        else:
            await statement.fetch(*values)
            told = statement.get_statusmsg()
        return int(told.rpartition(" ")[2])

    def walk(self, sql: str, at_once: int) -> CursorFactory[asyncpg.Record]:
        """Give the rows of a statement so many at a time, for as long as they are asked for."""
        return self.connection.cursor(sql, prefetch=at_once)

    async def _statement(self, sql: str) -> PreparedStatement[asyncpg.Record] | None:
        if not self._prepares:
            return None
        if sql not in self._prepared:
            if len(self._prepared) >= _KEPT:
                return None
            name = f"remediator_{sha256(sql.encode()).hexdigest()[:32]}"
            self._prepared[sql] = await self.connection.prepare(sql, name=name)
        return self._prepared[sql]


def is_pooled(error: BaseException) -> bool:
    """Tell whether an error says that statements can't be prepared, as sessions are not ours."""
    return getattr(error, "sqlstate", None) in _POOLED
