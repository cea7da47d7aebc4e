"""A stage for every row that has to be seen at work, and a loader for those that are told at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from language.writing import Load
from stage import Stage, stage_in

from remediator.rules.load import Loaded, load_rules


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A started stage without rules."""
    async with stage_in(tmp_path) as started:
        yield started


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a rule file, with the actions of the stage beside the real ones."""
    catalog = Stage(tmp_path).catalog

    def load(text: str, settings: dict[str, Any] | None = None, **vars_: Any) -> Loaded:
        (tmp_path / "written.yml").write_text(text)
        return load_rules([tmp_path / "written.yml"], catalog, vars=vars_, settings=settings)

    return load
