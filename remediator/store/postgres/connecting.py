"""How a daemon comes to its database: connections, the schema's version, migrations, and in words what went wrong."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from remediator.errors import StoreError, StoreForeign
from remediator.model.time import Seconds
from remediator.store.migrations import migrations

_CONNECT: Seconds = 5.0
_AT_ONCE = 10  # tries to make the first table, while others do the same
_APPLICATION = "remediator"
_NEEDS = re.compile(r"^-- needs: (\d+)", re.MULTILINE)
_VERSION_TABLE = """
CREATE TABLE IF NOT EXISTS remediator_schema (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  version integer NOT NULL,
  needs integer NOT NULL
);
INSERT INTO remediator_schema (version, needs) VALUES (0, 0) ON CONFLICT DO NOTHING;
"""
# One that is frozen or cut off while it holds the version's row keeps the others from starting for no longer.
_HELD_UP = "SET LOCAL idle_in_transaction_session_timeout = '5s'"
# What may come of asking a database; all but a few of them mean that the connection is lost, or worth nothing.
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
# Errors that are the statement's own: a constraint that refuses it, a value that can't be stored.
_REFUSED = ("22", "23")
_AGAIN = "40"  # the database can't put the transaction in order with others: begun anew, it may


class Address:
    """Where the database is. Its text names the place, and no password."""

    def __init__(self, url: str) -> None:
        self._url = url
        parts = urlsplit(url)
        self.text = f"{parts.hostname or parts.path.lstrip('/')}{parts.path if parts.hostname else ''}"

    def __str__(self) -> str:
        return self.text

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """Open a connection that assumes nothing of the session behind it. Raises what `trouble` puts in words."""
        return await asyncpg.connect(self._url, **self.settings())

    async def pool(self, size: int) -> asyncpg.Pool[asyncpg.Record]:
        """Make a pool that opens its connections when they are needed."""
        return await asyncpg.create_pool(self._url, min_size=0, max_size=size, **self.settings())

    @staticmethod
    def settings() -> dict[str, Any]:
        """Give what holds for every connection: a pooler may give each transaction another session."""
        return {
            "timeout": _CONNECT, "statement_cache_size": 0, "server_settings": {"application_name": _APPLICATION},
        }  # fmt: skip


def newest() -> int:
    """Give the newest version of the schema that this daemon knows."""
    return migrations("postgres")[-1][0]


async def prepare(address: Address, *, migrate: bool) -> None:
    """Bring the schema up to date: one daemon does it, others wait for it.

    Raises StoreForeign when the database is not ours or has a schema that this version can't work with, and StoreError when
    it can't be reached.
    """
    try:
        connection = await address.connect()
    except LOST as error:
        advice = "see that it is up, and that host, database, user and password (PGPASSWORD, PGPASSFILE) are right"
        raise StoreError(f"the database {address} can't be reached: {trouble(error)}; {advice}") from error
    try:
        await _prepare(connection, address, migrate=migrate)
    except LOST as error:
        words = "the database can't be prepared as a store"
        raise StoreError(f"{words}: {address}: {trouble(error)}") from error
    finally:
        connection.terminate()


async def _prepare(connection: asyncpg.Connection[asyncpg.Record], address: Address, *, migrate: bool) -> None:
    there = await connection.fetchval("SELECT to_regclass('remediator_schema') IS NOT NULL")
    if not there:
        foreign = await connection.fetchval(
            "SELECT to_regclass('runs') IS NOT NULL OR to_regclass('events') IS NOT NULL"
        )
        if foreign:
            raise StoreForeign(f"{address} holds tables that are not Remediator's: give it a database of its own")
        for _ in range(_AT_ONCE):
            try:
                await connection.execute(_VERSION_TABLE)
                break
            except (asyncpg.UniqueViolationError, asyncpg.DuplicateObjectError, asyncpg.DuplicateTableError):
                continue  # two make it at once, `IF NOT EXISTS` or not, and the other one was first
    async with connection.transaction():
        await connection.execute(_HELD_UP)
        version, needs = await connection.fetchrow("SELECT version, needs FROM remediator_schema FOR UPDATE")
        if needs > newest():
            raise StoreForeign(
                f"{address} has schema {version}, which takes daemons that know {needs}, and this one knows {newest()}: "
                "upgrade Remediator"
            )
        if 0 < version < newest() and not migrate:
            raise StoreForeign(f"{address} has schema {version} of {newest()}: run `remediator migrate`")
        for number, script in migrations("postgres"):
            if number > version:
                await connection.execute(script)
                said = _NEEDS.search(script)
                needs = int(said[1]) if said else needs
                await connection.execute("UPDATE remediator_schema SET version = $1, needs = $2", number, needs)


def refused(error: BaseException) -> bool:
    """Tell whether a statement was refused for what it says, so that the transaction alone is to blame."""
    return (getattr(error, "sqlstate", None) or "").startswith(_REFUSED)


def out_of_order(error: BaseException) -> bool:
    """Tell whether a transaction has to be begun anew: nothing of it was kept."""
    return (getattr(error, "sqlstate", None) or "").startswith(_AGAIN)


def trouble(error: BaseException) -> str:
    """Say in a line what went wrong with the database."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    words = " ".join(str(error).split()) or type(error).__name__
    return words.rstrip(".")
