"""What the row classes share: a connection inside a transaction, short ways to ask it, and whether anything was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remediator.store.postgres.session import Session


class Rows:
    """One session with PostgreSQL, in a transaction of the store's."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.wrote = False  # else there is nothing to commit
        self.stirred = False  # something may be due now: the other replicas are told
        self.ordered = False  # something was laid on a run, which may be at work elsewhere

    async def _all(self, sql: str, *values: Any) -> list[Any]:
        return await self.session.ask(sql, *values)

    async def _one(self, sql: str, *values: Any) -> Any:
        rows = await self.session.ask(sql, *values)
        return rows[0] if rows else None

    async def _change(self, sql: str, *values: Any) -> int:
        """Run a statement that writes, and say how many rows it concerned."""
        self.wrote = True
        return await self.session.change(sql, *values)

    async def _change_and_give(self, sql: str, *values: Any) -> list[Any]:
        """Run a statement that writes, and give what it returns."""
        self.wrote = True
        return await self.session.ask(sql, *values)

    async def _insert(self, into: str, types: str, rows: Sequence[tuple[Any, ...]], then: str = "") -> None:
        """Insert rows by one statement; `into` is the table with its columns, `types` are theirs, with commas between."""
        if rows:
            insert, columns = inserting(into, types, rows, then)
            await self._change(insert, *columns)


def inserting(
    into: str, types: str, rows: Sequence[tuple[Any, ...]], then: str = "", *, after: int = 0
) -> tuple[str, list[list[Any]]]:
    """Give the statement that inserts rows, and its values, which come after so many others."""
    arrays = ", ".join(f"${after + number}::{of.strip()}[]" for number, of in enumerate(types.split(","), 1))
    columns = [list(column) for column in zip(*rows, strict=True)]
    return f"INSERT INTO {into} SELECT * FROM unnest({arrays}) {then}", columns  # noqa: S608
