"""The SQL of controls, kept rules and the chain of events."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from remediator.errors import StoreError
from remediator.model.control import Control, ControlKind
from remediator.model.run import Book, Event, EventKind
from remediator.model.time import Timestamp
from remediator.store.chain import GENESIS, Head, line_of, link_hash
from remediator.store.columns import read_events
from remediator.store.protocol import StoredEvent
from remediator.store.sqlite.rows import Rows

CHAIN = "local"  # only one daemon can hold this store, so there is one chain, and an event's number in it is its `seq`
_EVENT = f"seq, '{CHAIN}', seq, line, hash"
_encode = msgspec.json.encode
_control_decoder = msgspec.json.Decoder(Control)


class HistoryRows(Rows):
    """What people laid, which rules there were, and what has happened."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._head: tuple[int, str] | None = None  # number and hash of the newest event

    def head_state(self) -> tuple[int, str] | None:
        """Give what a rolled back script has to be undone to."""
        return self._head

    def restore_head(self, head: tuple[int, str] | None) -> None:
        """Forget the events of a script that was rolled back."""
        self._head = head

    async def controls(self, now: Timestamp, run: str | None = None) -> Sequence[Control]:
        rows = self._all(
            "SELECT body FROM controls WHERE lifted_at IS NULL AND (until IS NULL OR until > ?) "
            "AND (run IS NULL OR run = ?) ORDER BY id",
            now, run,
        )  # fmt: skip
        return [_control_decoder.decode(body) for (body,) in rows]

    async def cancelled(self, runs: Collection[str]) -> Sequence[str]:
        rows = self._all(
            "SELECT DISTINCT run FROM controls WHERE kind = 'cancel' AND lifted_at IS NULL "
            "AND run IN (SELECT value FROM json_each(?)) ORDER BY run",
            _encode(list(runs)).decode(),
        )
        return [run for (run,) in rows]

    async def lay(self, control: Control) -> None:
        self._insert(
            "controls (id, kind, run, rule, book, until, lifted_at, body)", 8,
            [
                (
                    control.id, control.kind, control.run, control.rule, control.book, control.until, control.lifted_at,
                    _encode(control).decode(),
                )
            ],
        )  # fmt: skip

    async def alter(self, control: Control) -> None:
        self.connection.execute(
            "UPDATE controls SET until = ?, lifted_at = ?, body = ? WHERE id = ?",
            (control.until, control.lifted_at, _encode(control).decode(), control.id),
        )

    async def last_lifted(self, kind: ControlKind, rule: str | None, book: Book) -> Timestamp | None:
        row = self._one(
            "SELECT lifted_at FROM controls WHERE kind = ? AND book = ? AND rule IS ? AND lifted_at IS NOT NULL "
            "AND run IS NULL AND body ->> 'target' IS NULL ORDER BY lifted_at DESC LIMIT 1",
            kind, book, rule,
        )  # fmt: skip
        return None if row is None else row[0]

    async def keep_rules(self, definitions: Mapping[str, Mapping[str, Any]], now: Timestamp) -> None:
        rows = [(key, now, _encode(definition).decode()) for key, definition in definitions.items()]
        self._insert(
            "rules (hash, seen_at, definition)", 3, rows, "ON CONFLICT (hash) DO UPDATE SET seen_at = excluded.seen_at"
        )

    async def rule_definition(self, rule_hash: str) -> Mapping[str, Any] | None:
        row = self._one("SELECT definition FROM rules WHERE hash = ?", rule_hash)
        return None if row is None else msgspec.json.decode(row[0], type=dict[str, Any])

    async def append(self, events: Sequence[Event]) -> None:
        if not events:
            return
        if self._head is None:
            self._head = self._stored_head()
        seq, hash_ = self._head
        rows: list[tuple[Any, ...]] = []
        for event in events:
            line = line_of(event)
            seq, hash_ = seq + 1, link_hash(hash_, line)
            rows.append((seq, event.run, line, hash_))
        self._insert("events (seq, run, line, hash)", 4, rows)
        self._head = (seq, hash_)

    def _stored_head(self) -> tuple[int, str]:
        newest = self._one("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")
        if newest is not None:
            return newest[0], newest[1]
        base = checkpoint(self.connection)
        return base.number, base.hash

    async def events(self, after: int, limit: int, run: str | None = None) -> Sequence[StoredEvent]:
        mine = "AND run = ?" if run is not None else ""
        rows = self._all(
            f"SELECT {_EVENT} FROM events WHERE seq > ? {mine} ORDER BY seq LIMIT ?",  # noqa: S608
            after, *([run] if run is not None else []), limit,
        )  # fmt: skip
        return list(read_events(rows))

    async def events_since(self, kind: EventKind, since: Timestamp, limit: int) -> Sequence[StoredEvent]:
        rows = self._all(
            f"SELECT {_EVENT} FROM events WHERE seq >= ? AND line LIKE ? ORDER BY seq DESC LIMIT ?",  # noqa: S608
            self._first_since(since), f'%,"{kind}",%', limit,
        )  # fmt: skip
        return [event for event in read_events(rows[::-1]) if event.kind == kind and event.at >= since]

    def _first_since(self, since: Timestamp) -> int:
        """Find by halves the number of the first line since then: a report must not read all there ever was."""
        low, high = self._one("SELECT coalesce(min(seq), 0), coalesce(max(seq), -1) + 1 FROM events") or (0, 0)
        while low < high:
            middle = (low + high) // 2
            row = self._one("SELECT line ->> '$[0]' FROM events WHERE seq = ?", middle)
            if row is not None and row[0] < since:
                low = middle + 1
            else:
                high = middle
        return int(low)

    async def head(self) -> StoredEvent | None:
        rows = self._all(f"SELECT {_EVENT} FROM events ORDER BY seq DESC LIMIT 1")  # noqa: S608
        return next(read_events(rows), None)

    async def heads(self) -> tuple[Head, Sequence[Head]]:
        return Head(CHAIN, *(self._head or self._stored_head())), ()

    async def remembers(self, head: Head) -> bool:
        row = self._one("SELECT hash FROM events WHERE seq = ?", head.number)
        return head.number <= checkpoint(self.connection).number if row is None else bool(row[0] == head.hash)

    async def keep_head(self, head: Head) -> None:
        # Some 2 KB a day, for as long as the store lives: somebody may have noted any of them.
        self._insert("meta (key, value)", 2, [(f"head:{head.hash}", str(head.number))], "ON CONFLICT (key) DO NOTHING")


def checkpoint(connection: sqlite3.Connection) -> Head:
    """Give the last event that retention has pruned. Raises StoreError where that was tampered with."""
    rows = connection.execute("SELECT key, value FROM meta WHERE key IN ('base_seq', 'base_hash')")
    meta = dict(rows.fetchall())
    try:
        return Head(CHAIN, int(meta.get("base_seq", 0)), meta.get("base_hash", GENESIS))
    except ValueError:
        raise StoreError(
            f"the history's checkpoint names event {meta['base_seq']!r}, which is no number: it was changed"
        ) from None
