"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import secrets

from remediator.model.time import Timestamp

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]  # ten bits at a time: an id is made for every body
_SHIFTS = range(120, -1, -10)
_newest = 0


def new_id(now: Timestamp) -> str:
    """Make a ULID: 48 bits of milliseconds, then 80 random bits, as 26 characters that sort by time.

    Within one millisecond each is the one before plus one, so that ids of one process sort as they were made.
    """
    global _newest  # noqa: PLW0603 - one process, one sequence
    millisecond = int(now * 1000)
    _newest = _newest + 1 if millisecond == _newest >> 80 else (millisecond << 80) | secrets.randbits(80)
    return _write(_newest)


def id_floor(instant: Timestamp) -> str:
    """Give the smallest id that can have been made at an instant: ids from before it sort below."""
    return _write(max(0, int(instant * 1000)) << 80)


def _write(number: int) -> str:
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])
