"""Worlds over PostgreSQL: the same replicas, people and faults, and a real server in the place of the store in memory.

The server answers in real time, and the world's time stands still meanwhile: a script runs in a loop of its own thread, and
the simulation waits for it without turning its own. So a seed goes the same way each time here too.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import re
import threading
from collections.abc import Coroutine, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

from postgres import OWNER, running

from remediator.store.postgres import PostgresStore, open_store
from remediator.store.protocol import Script

T = TypeVar("T")

_EMPTY = """
TRUNCATE notifications, episodes, decisions, runs, steps, controls, rules, events, timers, outbox, commits, replicas, chains,
published;
UPDATE head SET seq = 0, episode = 0
"""
_ANSWER = 60.0  # seconds


class Elsewhere:
    """A loop in a thread of its own, for what has to wait for a server."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something there, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER)


class Rows(Sequence[Any]):
    """What a question brought, as SQLite's cursor gives it."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = [tuple(row) for row in rows]

    def __getitem__(self, at: Any) -> Any:
        return self._rows[at]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def fetchall(self) -> list[Any]:
        """Give all."""
        return self._rows

    def fetchone(self) -> Any:
        """Give the first, if there is one."""
        return self._rows[0] if self._rows else None


class Looking:
    """A connection for who looks on from outside, and writes questions as for SQLite."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Ask."""
        numbers = itertools.count(1)
        asked = re.sub(r"\?", lambda _: f"${next(numbers)}", sql)

        async def script(tx: Any) -> Any:
            return await tx._all(asked, *values)

        return Rows(self._store._run(script, only_reads=True))

    def close(self) -> None:
        """Leave the server to the next world."""


class SharedStore:
    """A store over PostgreSQL that is empty at the beginning of a world."""

    def __init__(self) -> None:
        there, self._elsewhere = _server()
        self._store = there
        self._connection = Looking(self)
        running().run(_EMPTY, there.place.rpartition("/")[2], OWNER)
        there._seen = None

    def _run(self, script: Script[T], *, only_reads: bool = False) -> T:
        return self._elsewhere.do(self._store.view(script) if only_reads else self._store.transact(script))


class SteppedStore(SharedStore):
    """The same for tests of the engine: it takes some turns of the loop, and no time."""

    broken = failing = None
    place = "PostgreSQL"

    async def transact(self, script: Script[T]) -> T:
        """Run a script."""
        await asyncio.sleep(0)
        value = self._run(script)
        await asyncio.sleep(0)
        return value

    async def view(self, script: Script[T]) -> T:
        """Run a reading script."""
        await asyncio.sleep(0)
        return self._run(script, only_reads=True)

    async def close(self) -> None:
        """Leave the server to the next one."""


@cache
def _server() -> tuple[PostgresStore, Elsewhere]:
    elsewhere = Elsewhere()
    store = elsewhere.do(open_store(running().store(), "local", lambda now: None, 0.0))
    atexit.register(lambda: elsewhere.do(store.close()))
    return store, elsewhere
