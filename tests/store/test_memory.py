"""The store in memory: what is its own, beside the suite that runs over every store."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time

import pytest
from samples import NOW, event

from remediator.errors import StoreError
from remediator.store.protocol import Transaction
from remediator.store.sqlite import open_memory


async def test_each_store_is_its_own() -> None:
    """What one keeps, no other has; after its end it can promise nothing."""
    first, second = open_memory(), open_memory()
    await first.transact(lambda tx: tx.append([event(1)]))
    assert await second.view(lambda tx: tx.head()) is None
    await first.close()
    with pytest.raises(StoreError):
        await first.transact(lambda tx: tx.append([event(2)]))
    await second.close()


async def test_a_view_that_writes_is_refused() -> None:
    """As over the file, where the reading connection can't."""
    store = open_memory()
    with pytest.raises(StoreError, match="only to read"):
        await store.view(lambda tx: tx.append([event(1)]))
    assert await store.view(lambda tx: tx.head()) is None
    await store.transact(lambda tx: tx.touch(NOW))
    await store.close()


async def test_a_script_that_waits_for_something_else_is_undone() -> None:
    """A transaction ends at the moment in which it began."""

    async def waits(tx: Transaction) -> None:
        await tx.append([event(1)])
        await asyncio.sleep(1)

    store = open_memory()
    with pytest.raises(RuntimeError, match="not its transaction"):
        await store.transact(waits)
    assert await store.view(lambda tx: tx.head()) is None
    await store.close()


async def test_whoever_is_cancelled_has_written_all_or_nothing() -> None:
    """Before its turn nothing, after it everything: both can happen to a task that a crash ends."""
    store, kept = open_memory(), []
    for ticks in range(4):
        task = asyncio.create_task(store.transact(lambda tx: tx.append([event(1)])))
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        head = await store.view(lambda tx: tx.head())
        kept.append((task.cancelled(), 0 if head is None else head.seq))
    assert kept == [(True, 0), (True, 0), (True, 1), (False, 2)]
    await store.close()


async def test_making_one_is_quick() -> None:
    """A simulation makes ten thousand of them; the limit leaves a slow machine its time."""
    sqlite3.connect(":memory:").close()
    gc.collect()
    await open_memory().close()
    began = time.perf_counter()
    for _ in range(100):
        store = open_memory()
        await store.transact(lambda tx: tx.touch(NOW))
        await store.close()
    assert time.perf_counter() - began < 100 * 0.02
