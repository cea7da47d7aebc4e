"""What all tests share."""

from __future__ import annotations

import sys

import pytest
import structlog

# Tests that spin their loop until it is calm would let the store's thread have a turn only every 5 ms, once a statement.
sys.setswitchinterval(0.00005)

pytest_plugins = ["faults.plugin"]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Keep the daemon's narration out of what commands print, whatever a test before has configured."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
