"""The SQL of controls, kept rules and the chain of events."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from remediator.model.control import Control, ControlKind
from remediator.model.run import Book, Event, EventKind
from remediator.model.time import Timestamp
from remediator.store.chain import GENESIS, Head, line_of, link_hash
from remediator.store.columns import read_events
from remediator.store.postgres.rows import Rows
from remediator.store.postgres.session import Session
from remediator.store.protocol import StoredEvent

_READ = "SELECT seq, chain, number, line, hash FROM events"
EVENTS, EVENT_TYPES = "events (seq, chain, number, run, line, hash)", "bigint, text, bigint, text, text, text"

_encode = msgspec.json.encode
_control_decoder = msgspec.json.Decoder(Control)


class HistoryRows(Rows):
    """What people laid, which rules there were, and what has happened."""

    def __init__(self, session: Session, chain: str = "", seq: int | None = None) -> None:
        super().__init__(session)
        self.chain = chain  # the one that this daemon's lines belong to
        self.seq = seq  # the newest line of all, under lock; None where nothing is written
        self.chain_head: Head | None = None  # of our chain, once it was read
        self.found: Head | None = None  # the same, as it was read
        self._laid: list[Control] | None = None  # what is laid on anything that is open, once it was read

    async def controls(self, now: Timestamp, run: str | None = None) -> Sequence[Control]:
        # Nobody else can lay one while this transaction decides, and it asks for every run: they are read once.
        if self._laid is None:
            rows = await self._all(
                "SELECT body FROM controls WHERE lifted_at IS NULL AND (until IS NULL OR until > $1) "
                "AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = controls.run AND ended_at IS NOT NULL) "
                "ORDER BY id",
                now,
            )
            self._laid = [_control_decoder.decode(body) for (body,) in rows]
        return [each for each in self._laid if each.run in {None, run} and (each.until is None or each.until > now)]

    async def cancelled(self, runs: Collection[str]) -> Sequence[str]:
        rows = await self._all(
            "SELECT DISTINCT run FROM controls WHERE kind = 'cancel' AND lifted_at IS NULL AND run = ANY($1::text[]) "
            "ORDER BY run",
            list(runs),
        )
        return [run for (run,) in rows]

    async def lay(self, control: Control) -> None:
        self.stirred, self._laid = True, None
        self.ordered = self.ordered or control.run is not None
        await self._change(
            "INSERT INTO controls (id, kind, run, rule, book, until, lifted_at, body) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            control.id, control.kind, control.run, control.rule, control.book, control.until, control.lifted_at,
            _encode(control).decode(),
        )  # fmt: skip

    async def alter(self, control: Control) -> None:
        self.stirred, self._laid = True, None
        await self._change(
            "UPDATE controls SET until = $1, lifted_at = $2, body = $3 WHERE id = $4",
            control.until, control.lifted_at, _encode(control).decode(), control.id,
        )  # fmt: skip

    async def last_lifted(self, kind: ControlKind, rule: str | None, book: Book) -> Timestamp | None:
        row = await self._one(
            "SELECT lifted_at FROM controls WHERE kind = $1 AND book = $2 AND rule IS NOT DISTINCT FROM $3 "
            "AND lifted_at IS NOT NULL AND run IS NULL AND body::json ->> 'target' IS NULL "
            "ORDER BY lifted_at DESC LIMIT 1",
            kind, book, rule,
        )  # fmt: skip
        return None if row is None else row[0]

    async def keep_rules(self, definitions: Mapping[str, Mapping[str, Any]], now: Timestamp) -> None:
        rows = [(key, now, _encode(definition).decode()) for key, definition in definitions.items()]
        await self._insert(
            "rules (hash, seen_at, definition)", "text, float8, text", rows,
            "ON CONFLICT (hash) DO UPDATE SET seen_at = excluded.seen_at",
        )  # fmt: skip

    async def rule_definition(self, rule_hash: str) -> Mapping[str, Any] | None:
        row = await self._one("SELECT definition FROM rules WHERE hash = $1", rule_hash)
        return None if row is None else msgspec.json.decode(row[0], type=dict[str, Any])

    async def append(self, events: Sequence[Event]) -> None:
        await self._insert(EVENTS, EVENT_TYPES, await self.chained(events))

    async def chained(self, events: Sequence[Event]) -> list[tuple[Any, ...]]:
        """Give the rows of new lines, each with its place in the chain, which then ends with them."""
        if self.seq is None:
            raise RuntimeError("a script that was only to read has written")
        rows: list[tuple[Any, ...]] = []
        if events:
            _, number, hash_ = msgspec.structs.astuple(await self._own_head())
            for event in events:
                line = line_of(event)
                self.seq, number, hash_ = self.seq + 1, number + 1, link_hash(hash_, line)
                rows.append((self.seq, self.chain, number, event.run, line, hash_))
            self.chain_head = Head(self.chain, number, hash_)
        return rows

    async def _own_head(self) -> Head:
        if self.chain_head is None:
            row = await self._one("SELECT number, hash FROM chains WHERE chain = $1", self.chain)
            self.found = self.chain_head = Head(self.chain, *(row or (0, GENESIS)))
        return self.chain_head

    async def heads(self) -> tuple[Head, Sequence[Head]]:
        rows = await self._all("SELECT chain, number, hash FROM chains WHERE chain != $1 ORDER BY chain", self.chain)
        return await self._own_head(), [Head(*row) for row in rows]

    async def remembers(self, head: Head) -> bool:
        row = await self._one("SELECT hash FROM events WHERE chain = $1 AND number = $2", head.chain, head.number)
        if row is not None:
            return bool(row[0] == head.hash)
        base = await self._one("SELECT base_number FROM chains WHERE chain = $1", head.chain)
        return base is not None and head.number <= base[0]

    async def keep_head(self, head: Head) -> None:
        # Some 2 KB a day, for as long as the store lives: somebody may have noted any of them.
        await self._change(
            "INSERT INTO published (hash, chain, number) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING",
            head.hash, head.chain, head.number,
        )  # fmt: skip

    async def events(self, after: int, limit: int, run: str | None = None) -> Sequence[StoredEvent]:
        rows = await self._all(
            f"{_READ} WHERE seq > $1 {'' if run is None else 'AND run = $3'} ORDER BY seq LIMIT $2",
            after, limit, *([] if run is None else [run]),
        )  # fmt: skip
        return list(read_events(rows))

    async def events_since(self, kind: EventKind, since: Timestamp, limit: int) -> Sequence[StoredEvent]:
        rows = await self._all(
            f"{_READ} WHERE seq >= $1 AND line LIKE $2 ORDER BY seq DESC LIMIT $3",
            await self._first_since(since), f'%,"{kind}",%', limit,
        )  # fmt: skip
        return [event for event in read_events(rows[::-1]) if event.kind == kind and event.at >= since]

    async def _first_since(self, since: Timestamp) -> int:
        """Find by halves the number of the first line since then: a report must not read all there ever was."""
        low, high = await self._one("SELECT coalesce(min(seq), 0), coalesce(max(seq), -1) + 1 FROM events")
        while low < high:
            middle = (low + high) // 2
            row = await self._one("SELECT (line::json ->> 0)::float8 FROM events WHERE seq = $1", middle)
            if row is not None and row[0] < since:
                low = middle + 1
            else:
                high = middle
        return int(low)

    async def head(self) -> StoredEvent | None:
        rows = await self._all(f"{_READ} ORDER BY seq DESC LIMIT 1")
        return next(read_events(rows), None)
