"""One suite over every store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from postgres import running

from remediator.store.postgres import open_store as open_postgres
from remediator.store.protocol import Store
from remediator.store.sqlite import open_memory, open_store


async def opened(kind: str, folder: Path) -> Store:
    """Open an empty store of some kind."""
    if kind == "postgres":
        url = running().store()
        return await open_postgres(url, "local", lambda now: None, 0.0)
    return open_store(folder / "store.db") if kind == "sqlite" else open_memory()


@pytest.fixture(params=["sqlite", "memory", "postgres"])
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty store."""
    there = await opened(request.param, tmp_path)
    yield there
    await there.close()
