"""How the daemon talks: lines for people on a terminal, JSON for machines. Every line of a run carries its id."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Literal

import structlog

from remediator.actions.bounds import visible

# Without local variables: a secret may be among them.
_tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def configure_log(level: str, style: Literal["auto", "console", "json"], hide: Callable[[str], str] = str) -> bool:
    """Set up structlog and the standard library's logging, both to standard error; tells whether people read it.

    Every line goes through `hide` last, which takes secrets out.
    """
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    last: list[structlog.typing.Processor]
    if console:
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), sort_keys=False, pad_event_to=20, exception_formatter=plain
        )
        last = [_for_the_eye, renderer]
    else:
        last = [_tracebacks, structlog.processors.JSONRenderer()]
    last.append(lambda logger, name, line: hide(str(line)))
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
    return console


def _for_the_eye(
    logger: structlog.typing.WrappedLogger, name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Leave out what isn't there, and make harmless what is: nothing in a label may steer the terminal."""
    return {key: _harmless(value) for key, value in event.items() if value is not None}


def _harmless(value: object) -> object:
    if isinstance(value, str):
        return visible(str(value))
    if isinstance(value, list | dict):
        return visible(json.dumps(value, ensure_ascii=False, default=str))
    return value
