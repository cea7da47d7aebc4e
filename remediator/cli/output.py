"""Text for people: tables and colour on a terminal, plain columns in a pipe, nothing that could steer the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from remediator.actions.bounds import visible

_COLOURS = {
    "succeeded": "green", "planned": "cyan", "failed": "red", "unknown": "red", "blocked": "yellow",
    "cancelled": "bright_black", "running": "blue", "verifying": "blue", "waiting": "magenta",
    "awaiting_approval": "magenta",
}  # fmt: skip


def document(value: Any) -> None:
    """Print one JSON document, and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def line(text: str = "") -> None:
    """Print one line, made harmless."""
    click.echo(visible(text))


def state(text: str) -> str:
    """Colour a state where a terminal shows it."""
    colour = _COLOURS.get(text)
    return click.style(text, fg=colour) if colour else text


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under headings, in aligned columns; in colour on a terminal."""
    cells = [[visible("" if cell is None else str(cell)) for cell in row] for row in rows]
    # Never cut to a terminal's width: the end of an id is what one names a run by.
    widths = [max(len(row[number]) for row in [list(columns), *cells]) for number in range(len(columns))]
    click.secho("  ".join(cell.ljust(width) for cell, width in zip(columns, widths, strict=True)).rstrip(), bold=True)
    for row in cells:
        click.echo("  ".join(_coloured(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _coloured(cell: str, width: int) -> str:
    colour = _COLOURS.get(cell)
    return click.style(cell.ljust(width), fg=colour) if colour else cell.ljust(width)


def count(number: int, noun: str) -> str:
    """Say how many of something there are."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
