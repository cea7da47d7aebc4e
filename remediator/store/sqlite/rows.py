"""What the row classes share: a connection, short ways to ask it, and inserting many rows by few statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

# Rows of one INSERT. Each statement lets go of the interpreter's lock and has to get it back, so a few long statements
# cost the event loop far less than many short ones; fixed sizes keep them in the statement cache.
_CHUNKS = (64, 32, 16, 8, 4, 2, 1)


class Rows:
    """One SQLite connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def _all(self, sql: str, *values: Any) -> list[Any]:
        return self.connection.execute(sql, values).fetchall()

    def _one(self, sql: str, *values: Any) -> Any:
        return self.connection.execute(sql, values).fetchone()

    def _insert(self, into: str, width: int, rows: Sequence[tuple[Any, ...]], then: str = "") -> None:
        """Insert rows by few statements; `into` is the table with its columns."""
        done = 0
        place = "(" + ",".join("?" * width) + ")"
        for size in _CHUNKS:
            while len(rows) - done >= size:
                values = [value for row in rows[done : done + size] for value in row]
                self.connection.execute(f"INSERT INTO {into} VALUES {','.join([place] * size)} {then}", values)  # noqa: S608
                done += size
