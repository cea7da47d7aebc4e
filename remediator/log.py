"""How the daemon talks: lines for people on a terminal, JSON for machines. Every line of a run carries its id."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def configure_log(level: str, style: Literal["auto", "console", "json"]) -> None:
    """Set up structlog and the standard library's logging, both to standard error."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    last: list[structlog.typing.Processor]
    if console:
        # Strings are shown quoted, so that nothing in a label can steer the terminal.
        last = [_without_nothing, structlog.dev.ConsoleRenderer(repr_native_str=True, colors=sys.stderr.isatty())]
    else:
        last = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def _without_nothing(
    logger: structlog.typing.WrappedLogger, name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Leave out what isn't there: a terminal has little room."""
    return {key: value for key, value in event.items() if value is not None}
