"""The stand of what needs no platform, `wait` and `log`: the log is what arrives."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from platforms.stand import Stand
from structlog.testing import capture_logs


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Listen to the log."""
    lines = stack.enter_context(capture_logs())

    def arrived() -> Any:
        return [dict(line) for line in lines]

    return Stand(settings={}, arrived=arrived, reset=lines.clear)
