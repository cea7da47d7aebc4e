"""What a request of the API asks: its body and its query, read and bounded. What can't be read raises BadRequest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from remediator.model.run import State
from remediator.model.time import Seconds, parse_duration

_LARGEST_PAGE = 1000
_LONGEST_TEXT = 10_000  # characters of a reason, a name, a target


class BadRequest(Exception):
    """The request can't be understood."""


async def read_document(request: web.Request) -> Mapping[str, Any]:
    """Read the body: an object of JSON."""
    try:
        document = msgspec.json.decode(await request.read() or b"{}")
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadRequest("the body is not a JSON object")
    return document


def read_text(document: Mapping[str, Any], key: str) -> str | None:
    """Read a text of the body; None where there is none."""
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{key} is not a text")
    if value is not None and ("\0" in value or len(value) > _LONGEST_TEXT):
        raise BadRequest(f"{key} holds a NUL, or is longer than {_LONGEST_TEXT} characters")
    return value


def _guarded(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ValueError as error:
        raise BadRequest(str(error)) from None


def read_whole(request: web.Request, key: str, default: int, least: int = 1) -> int:
    """Read a whole number of the query; a limit is bounded."""
    value: int = _guarded(lambda: int(request.query.get(key, default)))
    if not least <= value < 2**63:
        raise BadRequest(f"{key} is not a number from {least} on")
    return min(value, _LARGEST_PAGE) if key == "limit" else value


def read_span(text: str) -> Seconds:
    """Read a duration."""
    span: Seconds = _guarded(lambda: parse_duration(text))
    return span


def read_state(text: str | None) -> State | None:
    """Read a state of runs."""
    state: State | None = _guarded(lambda: None if text is None else State(text))
    return state
