"""The shared store, for several daemons: `store` runs scripts, `connecting` opens; the SQL is in the row classes."""

from __future__ import annotations

from collections.abc import Callable

from remediator.errors import StoreError
from remediator.model.identity import new_id
from remediator.model.time import Timestamp
from remediator.store.postgres.connecting import Address, prepare
from remediator.store.postgres.store import PostgresStore
from remediator.store.protocol import Transaction

__all__ = ["PostgresStore", "open_store"]


async def open_store(
    url: str, chain: str, tell_time: Callable[[Timestamp], None], now: Timestamp, *, migrate: bool = True
) -> PostgresStore:
    """Open the store at a `postgresql://` address, and bring its schema up to date.

    This daemon's history is the chain of that name; `tell_time` is told the database's time whenever it is heard.
    Raises StoreForeign when the database is not ours or has a schema that this version can't use, and StoreError when it
    can't be reached.
    """
    address = Address(url)
    await prepare(address, migrate=migrate)
    store = PostgresStore(address, chain, new_id(now), tell_time)
    try:
        await store.transact(_nothing)  # so that its time is known before anything is decided by ours
    except StoreError:
        await store.close()
        raise
    return store


async def _nothing(tx: Transaction) -> None:
    """Hold the lock for a moment."""
