"""The hash chain over events: editing, deleting, reordering or cutting off a line is found against a head exported before."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec

from remediator.model.run import Event

GENESIS = "0" * 64


class Link(msgspec.Struct, frozen=True):
    """One stored line: what `verify_chain` reads."""

    chain: str
    number: int
    run: str | None
    line: str
    hash: str


class ChainReport(msgspec.Struct, frozen=True):
    """What an audit found."""

    ok: bool
    events: int
    head: str
    problems: tuple[str, ...]


def line_of(event: Event) -> str:
    """Write an event as the one line of JSON that is stored and hashed."""
    return msgspec.json.encode([event.at, event.kind, event.run, event.data]).decode()


def read_line(line: str) -> tuple[float, str, str | None, dict[str, Any]]:
    """Read a stored line back: instant, kind, run, data."""
    at, kind, run, data = msgspec.json.decode(line)
    return at, kind, run, data


def link_hash(before: str, line: str) -> str:
    """Give the hash that chains a line to the one before it."""
    return sha256(before.encode() + line.encode()).hexdigest()


def verify_chain(links: Iterable[Link], base: tuple[int, str], expected_head: str | None = None) -> ChainReport:
    """Walk the chain from its base (the number and hash of the last pruned line, or 0 and GENESIS).

    `expected_head` is a hash that was exported earlier: the chain must still contain it.
    """
    number, hash_ = base
    found_head = expected_head in (None, hash_)
    problems: list[str] = []
    count = 0
    for link in links:
        count += 1
        if link.number != number + 1:
            problems.append(f"event {number + 1} is missing: after {number} comes {link.number}")
        if link_hash(hash_, link.line) != link.hash:
            problems.append(
                f"event {link.number} does not follow from the one before it: it, or a line before it, was changed"
            )
        elif read_line(link.line)[2] != link.run:
            problems.append(f"event {link.number} is filed under run {link.run}, which is not the run it speaks of")
        number, hash_ = link.number, link.hash
        found_head = found_head or link.hash == expected_head
    if not found_head:
        problems.append(
            f"no event has the hash {expected_head}: the history was cut off or written anew since it was noted"
        )
    return ChainReport(ok=not problems, events=count, head=hash_, problems=tuple(problems[:100]))
