"""Instants and durations.

An instant is a float of seconds since the epoch, UTC: it is compared, stored and sent as it is. Text forms exist at the
edges only: RFC 3339 for instants, Prometheus's notation for durations.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TypeAlias

Timestamp: TypeAlias = float
Seconds: TypeAlias = float

_UNITS = {"y": 365 * 86400.0, "w": 7 * 86400.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(
    r"(?:(?P<y>\d+)y)?(?:(?P<w>\d+)w)?(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?(?:(?P<ms>\d+)ms)?",
    re.ASCII,
)
_LONGEST = 292 * _UNITS["y"]  # what Prometheus can hold: int64 nanoseconds


def parse_duration(text: str) -> Seconds:
    """Read a Prometheus duration such as `90s` or `1h30m`; a bare `0` is allowed.

    Units run from large to small, each at most once (prometheus/common, `model.ParseDuration`).
    Raises ValueError with a sentence for the author.
    """
    if text == "0":
        return 0.0
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"{text!r} is not a duration: write it as in 90s, 5m, 1h30m or 7d")
    seconds = sum(int(count) * _UNITS[unit] for unit, count in found.groupdict().items() if count)
    if seconds > _LONGEST:
        raise ValueError(f"{text!r} is longer than 292 years")
    return seconds


def format_duration(seconds: Seconds) -> str:
    """Write a duration in Prometheus's notation, in its two largest units at most, for people."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 1:
        return f"{round(seconds * 1000)}ms" if round(seconds * 1000) else "0s"
    left = round(seconds)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def parse_rfc3339(text: str) -> Timestamp:
    """Read an RFC 3339 instant, with up to nanoseconds as Go writes them (cut to microseconds).

    Raises ValueError when it is not one or lies outside the years 1 to 9999.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:64]!r} is not an RFC 3339 time") from None
    if instant.tzinfo is None or "T" not in text.upper():
        raise ValueError(f"{text[:64]!r} is not an RFC 3339 time: it has no offset")
    try:
        return instant.astimezone(UTC).timestamp()
    except (OverflowError, ValueError):
        raise ValueError(f"{text[:64]!r} is out of range") from None


def format_rfc3339(instant: Timestamp) -> str:
    """Write an instant as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
