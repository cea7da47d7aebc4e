"""What all tests share."""

from __future__ import annotations

import structlog

# The daemon's narration would mix with what commands print.
structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
