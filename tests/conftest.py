"""What all tests share."""

from __future__ import annotations

import sys

import hypothesis
import pytest
import structlog

# Tests that spin their loop until it is calm would let the store's thread have a turn only every 5 ms, once a statement.
sys.setswitchinterval(0.00005)

# How long an example takes says more of what else the machine does than of us.
hypothesis.settings.register_profile("unhurried", deadline=None)
if hypothesis.settings.get_current_profile_name() == "default":
    hypothesis.settings.load_profile("unhurried")

pytest_plugins = ["faults.plugin"]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Keep the daemon's narration out of what commands print, whatever a test before has configured."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
