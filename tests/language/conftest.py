"""A stage for every row that has to be seen at work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from stage import Stage, stage_in


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A started stage without rules."""
    async with stage_in(tmp_path) as started:
        yield started
