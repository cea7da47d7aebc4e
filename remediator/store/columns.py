"""How the model stands in columns, alike in every kind of store: what queries ask for by itself, the rest as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from remediator.model.alert import Episode
from remediator.model.run import Book, Reason, Run, State
from remediator.model.time import Timestamp
from remediator.store.chain import read_line
from remediator.store.protocol import StoredEvent

EPISODE = "id, fingerprint, starts_at, first_seen, last_seen, ended_at, told, lost, over"
EPISODE_OF_JOIN = ", ".join(f"episodes.{column}" for column in EPISODE.split(", "))

RUN_COLUMNS = (
    "id", "rule", "origin", "target", "state", "reason", "book", "priority", "rung", "admitted_at", "started_at",
    "ended_at", "failed_at", "storm_at", "lock", "reverts", "worker", "due_at", "fence", "body",
)  # fmt: skip
FIXED = 3  # columns of a run that never change: the first ones

# Which books a run of each book sees.
SEES: Mapping[Book, tuple[Book, ...]] = {
    Book.LIVE: (Book.LIVE,),
    Book.DRY: (Book.LIVE, Book.DRY),
    Book.DRILL: (Book.DRILL,),
}
SEEN = {book: "book IN (" + ", ".join(f"'{each}'" for each in sees) + ")" for book, sees in SEES.items()}
COUNTED = "origin NOT IN ('revert', 'notice')"

_encode = msgspec.json.encode
_run_decoder = msgspec.json.Decoder(Run)


class _Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of an episode that no query asks for."""

    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str = ""
    group_key: str = ""
    group_labels: dict[str, str] = {}
    truncated: int = 0


_told_decoder = msgspec.json.Decoder(_Told)


def told_of(episode: Episode) -> str:
    """Write the part of an episode that no query asks for."""
    told = _Told(
        labels=dict(episode.labels),
        annotations=dict(episode.annotations),
        generator_url=episode.generator_url,
        group_key=episode.group_key,
        group_labels=dict(episode.group_labels),
        truncated=episode.truncated,
    )
    return _encode(told).decode()


def read_episode(row: Sequence[Any]) -> Episode:
    """Make an episode of the columns `EPISODE`."""
    told = _told_decoder.decode(row[6])
    return Episode(
        id=row[0],
        fingerprint=row[1],
        starts_at=row[2],
        first_seen=row[3],
        last_seen=row[4],
        ended_at=row[5],
        lost=bool(row[7]),
        over=bool(row[8]),
        labels=told.labels,
        annotations=told.annotations,
        generator_url=told.generator_url,
        group_key=told.group_key,
        group_labels=told.group_labels,
        truncated=told.truncated,
    )


def read_run(row: Sequence[Any]) -> Run:
    """Make a run of its `body`, `due_at` and `fence`."""
    body, due_at, fence = row
    return replace(_run_decoder.decode(body), due_at=due_at, fence=fence)


def run_row(run: Run, worker: str | None, due_at: Timestamp | None) -> tuple[Any, ...]:
    """Give the columns `RUN_COLUMNS` of a run, with who holds it and when it is due."""
    stormed = run.state is State.BLOCKED and run.reason is Reason.STORM and not run.second_chance
    return (
        run.id, run.rule, run.origin, run.target, run.state, run.reason, run.book, run.priority, run.rung,
        run.admitted_at, run.started_at, run.ended_at, run.failed_at, run.ended_at if stormed else None, run.lock,
        run.reverts, worker, due_at, run.fence, _encode(run).decode(),
    )  # fmt: skip


def read_events(rows: Sequence[Any]) -> Iterator[StoredEvent]:
    """Make lines of history of their number in all, their chain and number there, their text and hash."""
    for seq, chain, number, line, hash_ in rows:
        at, kind, run, data = read_line(line)
        yield StoredEvent(seq=seq, chain=chain, number=number, at=at, kind=kind, run=run, data=data, hash=hash_)
