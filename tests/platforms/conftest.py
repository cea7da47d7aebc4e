"""What the suites over the whole catalog share: a stand for the group of each action, started when first wanted."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from platforms.stand import Stand, stand_of

from remediator.actions.protocol import Resources


@pytest.fixture
async def resources() -> AsyncIterator[Resources]:
    """Connections that are closed with the test."""
    made = Resources()
    yield made
    await made.close()


@pytest.fixture
async def stand(tmp_path: Path, resources: Resources) -> AsyncIterator[Callable[[str], Awaitable[Stand]]]:
    """Start the stand of an action's group, in a folder of its own."""
    numbers = itertools.count()
    async with AsyncExitStack() as stack:

        async def start(name: str) -> Stand:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            return await stand_of(name, stack, folder)

        yield start
