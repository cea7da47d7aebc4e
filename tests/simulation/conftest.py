"""What all tests of the simulation share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from simulation.world import small


@pytest.fixture(autouse=True)
def _small(_quiet: None) -> Iterator[None]:
    """Keep worlds small."""
    with small():
        yield
