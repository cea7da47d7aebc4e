"""The pieces of a text under construction, and the refusal of one: what all gates share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from remediator.actions.bounds import visible

SHOWN = 60  # characters of a value that an error message shows


class UnsafeValue(ValueError):
    """A gate refused a value; the message names the place, the reason and the value."""


class Piece(NamedTuple):
    """One stretch of a text: what the author wrote (his `vars` included), or a value from outside."""

    text: str
    outside: bool


def shown(value: object) -> str:
    """Give a value for an error message, a text in quotes: visible and shortened."""
    text = visible(value if isinstance(value, str) else repr(value))
    text = f"{text[:SHOWN]}…" if len(text) > SHOWN else text
    return f"'{text}'" if isinstance(value, str) else text


def unsafe(value: object, place: str, why: str) -> UnsafeValue:
    """Make the refusal of a value: the place that it can't stand in, and the reason."""
    return UnsafeValue(f"{shown(value)} can't stand in {place}: {why}")


def joined(pieces: Sequence[Piece]) -> str:
    """Put the pieces together as they are."""
    return "".join(piece.text for piece in pieces)
