"""One suite over every store: PostgreSQL joins the list of parameters when it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from remediator.store.sqlite import SqliteStore, open_store


@pytest.fixture(params=["sqlite"])
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[SqliteStore]:
    """An empty store."""
    opened = open_store(tmp_path / "store.db")
    yield opened
    await opened.close()
