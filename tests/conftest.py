"""What all tests share."""

from __future__ import annotations

import pytest
import structlog

pytest_plugins = ["faults.plugin"]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Keep the daemon's narration out of what commands print, whatever a test before has configured."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
