"""Values on their way to the server, as its types want them, and from it, as JSON has them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from remediator.actions.bounds import visible
from remediator.actions.protocol import JsonValue
from remediator.model.time import parse_duration

_QUERY = 300  # characters of a statement that a result shows
_PASSWORD = re.compile(r"(?i)\b(password\s+)(E?'(?:[^'\\]|\\.|'')*('|$))")
_LONGEST_WHOLE = 2**63


def plain(value: Any) -> JsonValue:
    """Give a value from the server as JSON: instants as RFC 3339, spans as seconds, what JSON can't hold as text."""
    if value is None or isinstance(value, bool | str):
        return value.replace("\0", "\ufffd") if isinstance(value, str) else value
    if isinstance(value, int):
        return value if -_LONGEST_WHOLE <= value < _LONGEST_WHOLE else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _without_number(value)
    if isinstance(value, Decimal):
        return (
            plain(int(value) if value == value.to_integral_value() else float(value))
            if value.is_finite()
            else str(value)
        )
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping) or hasattr(value, "items"):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value)


def _without_number(value: float) -> str:
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")


def row(record: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Give a record as a mapping; statements in it are shortened, and passwords that stand in them are left out."""
    found = {name: plain(value) for name, value in record.items()}
    if isinstance(found.get("query"), str):
        found["query"] = shortened(found["query"])
    return found


def shortened(query: str) -> str:
    """Give a statement on one line, for people."""
    return visible(" ".join(_PASSWORD.sub(r"\1'…'", query).split()), longest=_QUERY)


def fitted(value: Any, kind: str) -> Any:
    """Give a JSON value as asyncpg takes it for a parameter of that type. Raises ValueError for one that is none.

    What comes out of a label is text, so a text that writes a number, an instant or a span is taken as one.
    """
    if value is None:
        return None
    if kind.endswith("[]"):
        if not isinstance(value, list):
            raise ValueError(f"it should be a list, for the type {kind}")
        return [fitted(item, kind.removesuffix("[]")) for item in value]
    if kind in {"json", "jsonb"}:
        return msgspec.json.encode(value).decode()
    if isinstance(value, list):
        raise ValueError(f"it should be no list, for the type {kind}")
    make = _MAKERS.get(kind)
    if make is not None:
        try:
            return make(value)
        except (ValueError, ArithmeticError, TypeError):
            raise ValueError(f"it can't be read as {kind}") from None
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _truth(value: Any) -> bool:
    words = {"true": True, "false": False}
    return value if isinstance(value, bool) else words[value] if value in words else bool(_whole(value))


def _instant(value: Any) -> datetime:
    found = datetime.fromisoformat(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _span(value: Any) -> timedelta:
    return timedelta(seconds=parse_duration(value) if isinstance(value, str) else value)


_MAKERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _whole),
    **dict.fromkeys(("float4", "float8"), float),
    "numeric": lambda value: Decimal(str(value)),
    "bool": _truth,
    "timestamptz": _instant,
    "timestamp": lambda value: _instant(value).astimezone(UTC).replace(tzinfo=None),
    "date": date.fromisoformat,
    "interval": _span,
}
