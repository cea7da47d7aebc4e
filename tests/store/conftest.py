"""One suite over every store: PostgreSQL joins the list of parameters when it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from remediator.store.protocol import Store
from remediator.store.sqlite import open_memory, open_store


@pytest.fixture(params=["sqlite", "memory"])
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty store."""
    opened: Store = open_store(tmp_path / "store.db") if request.param == "sqlite" else open_memory()
    yield opened
    await opened.close()
