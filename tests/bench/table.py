"""The rows of the speed table: what was wanted, what was measured, and how both are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

Samples = Sequence[float]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    goal: str
    measured: str
    met: bool
    ratio: float | None = None  # against its limit, where there is one


def at_least(what: str, ours: float, limit: float, goal: float, unit: str) -> Row:
    """Judge a rate against the limit's rate."""
    ratio = ours / limit
    return Row(what, f"≥ {goal:g} of it", f"{ours:,.0f} against {limit:,.0f} {unit}", ratio >= goal, ratio)


def at_most(what: str, ours: float, limit: float, goal: float) -> Row:
    """Judge a time against the limit's time, both in seconds."""
    ratio = ours / limit
    return Row(what, f"≤ {goal:g} of it", f"{span(ours)} against {span(limit)}", ratio <= goal, ratio)


def within(what: str, seconds: float, goal: float) -> Row:
    """Judge a time in seconds."""
    return Row(what, f"≤ {span(goal)}", span(seconds), seconds <= goal)


def percentile(samples: Samples, percent: float) -> float:
    """Give a percentile of some samples: the smallest that so many of them do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def middle(samples: Samples) -> float:
    """Give the median."""
    return median(samples)


def span(seconds: float) -> str:
    """Write a time with three figures."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            return f"{seconds * factor:.3g} {unit}"
    raise AssertionError


def text(rows: Sequence[Row]) -> str:
    """Lay the rows out for a terminal."""
    cells = [("what", "goal", "measured", "ratio", ""), *map(_cells, rows)]
    widths = [max(len(cell[column]) for cell in cells) for column in range(4)]
    lines = ["  ".join(part.ljust(width) for part, width in zip(cell, [*widths, 0], strict=True)) for cell in cells]
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Sequence[Row]) -> str:
    """Lay the rows out for a document."""
    lines = ["| what | goal | measured | ratio | |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(row))} |" for row in rows)])


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    return row.what, row.goal, row.measured, ratio, "met" if row.met else "missed"
