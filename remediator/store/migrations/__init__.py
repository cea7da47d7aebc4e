"""The schema, one numbered SQL file a version, for each kind of store. A released file is never edited."""

from __future__ import annotations

from importlib.resources import files


def migrations(kind: str) -> tuple[tuple[int, str], ...]:
    """Give the (version, SQL script) pairs of a kind of store, oldest first."""
    scripts = [entry for entry in files(__name__).joinpath(kind).iterdir() if entry.name.endswith(".sql")]
    return tuple(sorted((int(entry.name.split("_")[0]), entry.read_text("utf-8")) for entry in scripts))
