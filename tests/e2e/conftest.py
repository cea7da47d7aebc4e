"""What the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Lend a folder with a shop in it that is open."""
    with ExitStack() as closing:
        yield World(tmp_path, closing)
