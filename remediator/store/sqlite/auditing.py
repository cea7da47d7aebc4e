"""Reading a store's history whole, beside a running daemon or without one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from remediator.errors import StoreError
from remediator.store.chain import GENESIS, Audit, ChainReport, Head, Link
from remediator.store.export import export_lines
from remediator.store.sqlite.history import CHAIN, checkpoint
from remediator.store.sqlite.store import connect


def audit(path: Path, expected: str | None = None) -> ChainReport:
    """Verify the chain of a store, beside a running daemon or without one. Raises StoreError when it can't be read."""
    with _reading(path) as connection:
        walk = _begun(connection, expected)
        walk.walk(_links(connection))
        held = {(chain, number): _hash_of(connection, number) for chain, number in walk.anchored()}
        return walk.report(held, _published(connection, expected))


def _begun(connection: sqlite3.Connection, expected: str | None) -> Audit:
    try:
        return Audit([checkpoint(connection)], expected)
    except StoreError as error:
        walk = Audit([Head(CHAIN, 0, GENESIS)], expected)
        walk.note(str(error))
        return walk


def export(path: Path) -> Iterator[bytes]:
    """Give the lines of an export of the history, as it is at this moment. Raises StoreError when it can't be read."""
    with _reading(path) as connection:
        events = ((link.number, link) for link in _links(connection))
        yield from export_lines([checkpoint(connection)], events)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open one snapshot."""
    if not path.exists():
        raise StoreError(f"{path} does not exist: there is no history in it")
    connection: sqlite3.Connection | None = None
    try:
        connection = connect(f"{path.absolute().as_uri()}?mode=ro")
        connection.execute("BEGIN")
        yield connection
    except sqlite3.Error as error:
        raise StoreError(f"{path} can't be read ({error})") from error
    finally:
        if connection is not None:
            connection.close()


def _links(connection: sqlite3.Connection) -> Iterator[Link]:
    rows = connection.execute("SELECT seq, run, line, hash FROM events ORDER BY seq")
    return (Link(CHAIN, *row) for row in rows)


def _hash_of(connection: sqlite3.Connection, number: int) -> str:
    row = connection.execute("SELECT hash FROM events WHERE seq = ?", (number,)).fetchone()
    return "" if row is None else str(row[0])


def _published(connection: sqlite3.Connection, hash_: str | None) -> Head | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (f"head:{hash_}",)).fetchone()
    return None if row is None or not row[0].isdigit() else Head(CHAIN, int(row[0]), str(hash_))
