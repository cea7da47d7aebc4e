"""The hash chains over events: editing, deleting, reordering or cutting off a line is found against a head noted before.

Each replica has a chain of its own, and writes the heads of the others into it now and then: whoever cuts off or rewrites one
chain has to rewrite the others too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from remediator.model.run import Event, EventKind

GENESIS = "0" * 64
_ANCHORED = str(EventKind.ANCHORED)
_TOLD = 100  # problems that are told one by one
# What an audit compares of a line; instant and data are only passed over, which is most of the cost of decoding it.
_outline = msgspec.json.Decoder(tuple[msgspec.Raw, str, str | None, msgspec.Raw])


class Head(msgspec.Struct, frozen=True):
    """One event of a chain by its hash: the newest, the last that was pruned (number 0: none was), or one noted elsewhere."""

    chain: str
    number: int
    hash: str


class Link(msgspec.Struct, frozen=True, gc=False):
    """One stored line, as an audit reads it."""

    chain: str
    number: int
    run: str | None
    line: str
    hash: str


class ChainReport(msgspec.Struct, frozen=True):
    """What an audit found."""

    ok: bool
    events: int
    head: str  # of the chain that was written to last
    problems: tuple[str, ...]
    checkpoints: tuple[Head, ...]  # after which each chain begins
    heads: tuple[Head, ...]  # with which each chain ends


def line_of(event: Event) -> str:
    """Write an event as the one line of JSON that is stored and hashed."""
    return msgspec.json.encode([event.at, event.kind, event.run, event.data]).decode()


def read_line(line: str) -> tuple[float, str, str | None, dict[str, Any]]:
    """Read a stored line back: instant, kind, run, data."""
    at, kind, run, data = msgspec.json.decode(line)
    return at, kind, run, data


def link_hash(before: str, line: str) -> str:
    """Give the hash that chains a line to the one before it."""
    return sha256((before + line).encode()).hexdigest()


@dataclass(slots=True)
class _Walk:
    """How far one chain has been looked at."""

    number: int
    hash: str
    begins_after: int = 0
    events: int = 0


class Audit:
    """A walk over the chains of one history, each from its checkpoint.

    `expected` is the hash of a head that was noted earlier: one of the chains must still contain it.
    """

    def __init__(self, checkpoints: Iterable[Head], expected: str | None = None) -> None:
        self._checkpoints = tuple(checkpoints)
        self._walks = {each.chain: _Walk(each.number, each.hash, each.number) for each in self._checkpoints}
        self._expected = expected
        self._found = expected is None or any(each.hash == expected for each in self._checkpoints)
        self._newest = next(iter(self._walks), "")
        self._anchors: list[tuple[str, Head]] = []  # which event says that, and what it says
        self._problems: list[str] = []
        self._untold = 0

    def walk(self, links: Iterable[Link]) -> None:
        """Look at more lines: those of each chain in their order, the chains in any."""
        walk, chain = _Walk(0, GENESIS), None
        for link in links:
            if link.chain != chain:
                chain = self._newest = link.chain
                walk = self._walks.setdefault(chain, _Walk(0, GENESIS))
            if link.number != walk.number + 1:
                self.note(
                    f"event {walk.number + 1} of chain {chain} is missing: after {walk.number} comes {link.number}"
                )
            if link_hash(walk.hash, link.line) != link.hash:
                self.note(
                    f"{_event(link)} does not follow from the one before it: it, or a line before it, was changed"
                )
            else:
                self._read(link)
            walk.number, walk.hash = link.number, link.hash
            walk.events += 1
            if link.hash == self._expected:
                self._found = True

    def _read(self, link: Link) -> None:
        try:
            _, kind, run, data = _outline.decode(link.line)
            if kind == _ANCHORED:
                self._anchors.append((_event(link), msgspec.json.decode(data, type=Head)))
        except msgspec.MsgspecError as error:
            self.note(f"{_event(link)} is not what a daemon writes: {error}")
            return
        if run != link.run:
            self.note(f"{_event(link)} is filed under run {link.run}, which is not the run it speaks of")

    def note(self, problem: str) -> None:
        """Add to what is wrong; of very much the first is told."""
        if len(self._problems) < _TOLD:
            self._problems.append(problem)
        else:
            self._untold += 1

    def anchored(self) -> frozenset[tuple[str, int]]:
        """Name the events, by chain and number, that other chains have seen, and that must be there: `report` compares them."""
        return frozenset((says.chain, says.number) for _, says in self._anchors if self._missing(says) is None)

    def _missing(self, head: Head) -> str | None:
        """Say why an event can't be looked at; the empty text where that is as it should be."""
        walk = self._walks.get(head.chain)
        if walk is None:
            return f"nothing is left of chain {head.chain}"
        if head.number <= walk.begins_after:
            return ""
        return (
            None if head.number <= walk.number else f"chain {head.chain} ends with event {walk.number}: it was cut off"
        )

    def report(self, held: Mapping[tuple[str, int], str], published: Head | None = None) -> ChainReport:
        """Say what was found.

        `held` has the hashes of the events that `anchored` names. `published` is the expected head with its number, where the
        daemon has kept that: so one that retention pruned is not taken for one that was cut off.
        """
        for where, says in self._anchors:
            fault = self._missing(says)
            if fault is None and held.get((says.chain, says.number)) != says.hash:
                fault = f"event {says.number} of chain {says.chain} is another one now: that chain was written anew"
            if fault:
                self.note(f"{where} has seen event {says.number} of chain {says.chain}, and {fault}")
        if not self._found:
            self.note(self._not_found(published))
        problems = [*self._problems, *([f"and {self._untold} more"] if self._untold else [])]
        return ChainReport(
            ok=not problems,
            events=sum(walk.events for walk in self._walks.values()),
            head=self._walks[self._newest].hash if self._walks else GENESIS,
            problems=tuple(problems),
            checkpoints=self._checkpoints,
            heads=tuple(Head(chain, walk.number, walk.hash) for chain, walk in self._walks.items()),
        )

    def _not_found(self, published: Head | None) -> str:
        told = f"no event has the hash {self._expected}"
        if published is not None and (walk := self._walks.get(published.chain)) is not None:
            was = f"{told}, which event {published.number} of chain {published.chain} had when it was published"
            if published.number <= walk.begins_after:
                return (
                    f"{was}: pruned by retention, as all up to event {walk.begins_after} was. What came later holds or is told "
                    "here; note a head more often than `retention.events` prunes"
                )
            return f"{was}: the history was cut off or written anew since"
        pruned = any(each.number for each in self._checkpoints)
        older = ", or retention has pruned that event" if pruned else ""
        return f"{told}: the history was cut off or written anew since it was noted{older}"


def _event(link: Link) -> str:
    return f"event {link.number} of chain {link.chain}"
