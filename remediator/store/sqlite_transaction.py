"""Transactions over one SQLite connection: all of the SQL of the embedded store.

Methods are coroutine functions for the sake of the protocol; none of them ever waits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from remediator.errors import StaleLease
from remediator.model.alert import Episode, Notification
from remediator.model.books import Allowance, Books, Question
from remediator.model.run import Control, Event, Priority, Reason, Run, State, Step
from remediator.model.story import Story
from remediator.model.time import Timestamp
from remediator.store.chain import GENESIS, line_of, link_hash, read_line
from remediator.store.protocol import Decided, OpenRun, RunFilter, StoredEvent, Watch

_EPISODE = "id, fingerprint, starts_at, first_seen, last_seen, ended_at, told"
_RUN_COLUMNS = (
    "id", "rule", "target", "state", "reason", "dry", "priority", "admitted_at", "started_at", "ended_at", "lock",
    "worker", "due_at", "fence", "body",
)  # fmt: skip
_SET_RUN = ", ".join(f"{column} = ?" for column in _RUN_COLUMNS[2:])
_UPDATE_RUN = f"UPDATE runs SET {_SET_RUN} WHERE id = ? AND fence = ? AND worker = ?"  # noqa: S608 - our own names
# Rows of one INSERT. Each statement lets go of the interpreter's lock and has to get it back, so a few long statements
# cost the event loop far less than many short ones; fixed sizes keep them in the statement cache.
_CHUNKS = (64, 8, 1)

_encode = msgspec.json.encode
_run_decoder = msgspec.json.Decoder(Run)
_step_decoder = msgspec.json.Decoder(Step)
_control_decoder = msgspec.json.Decoder(Control)


class _Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of an episode that no query asks for."""

    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str = ""
    group_key: str = ""
    group_labels: dict[str, str] = {}
    truncated: int = 0


_told_decoder = msgspec.json.Decoder(_Told)


class SqliteTransaction:
    """Implements `remediator.store.protocol.Transaction`, which says what each method does."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._head: tuple[int, str] | None = None  # number and hash of the newest event
        self._episode_id: int | None = None

    # -- what the store does around scripts --

    def head_state(self) -> tuple[int, str] | None:
        """Give what a rolled back script has to be undone to."""
        return self._head

    def restore_head(self, head: tuple[int, str] | None) -> None:
        """Forget the events of a script that was rolled back."""
        self._head = head

    def _all(self, sql: str, *values: Any) -> list[Any]:
        return self.connection.execute(sql, values).fetchall()

    def _one(self, sql: str, *values: Any) -> Any:
        return self.connection.execute(sql, values).fetchone()

    def _insert(self, into: str, width: int, rows: Sequence[tuple[Any, ...]], then: str = "") -> None:
        """Insert rows by few statements; `into` is the table with its columns."""
        done = 0
        place = "(" + ",".join("?" * width) + ")"
        for size in _CHUNKS:
            while len(rows) - done >= size:
                values = [value for row in rows[done : done + size] for value in row]
                self.connection.execute(f"INSERT INTO {into} VALUES {','.join([place] * size)} {then}", values)  # noqa: S608
                done += size

    # -- alerts --

    async def episodes(self, fingerprints: Collection[str]) -> Mapping[str, Episode]:
        rows = self._all(
            f"SELECT {_EPISODE} FROM episodes WHERE id IN "  # noqa: S608
            "(SELECT (SELECT max(id) FROM episodes WHERE fingerprint = wanted.value) FROM json_each(?) AS wanted)",
            _encode(list(fingerprints)).decode(),
        )
        return {row[1]: _episode(row) for row in rows}

    async def episode_ids(self, count: int) -> Sequence[int]:
        if self._episode_id is None:
            self._episode_id = self._one("SELECT coalesce(max(id), 0) FROM episodes")[0]
        first = self._episode_id + 1
        self._episode_id += count
        return range(first, first + count)

    async def add_notifications(self, notifications: Sequence[Notification]) -> None:
        rows = [(each.id, each.received_at, each.body) for each in notifications]
        self._insert("notifications (id, received_at, body)", 3, rows)

    async def save_episodes(
        self, opened: Sequence[Episode], seen: Sequence[tuple[int, Timestamp]], closed: Sequence[tuple[int, Timestamp]]
    ) -> None:
        rows = [
            (
                each.id,
                each.fingerprint,
                each.labels.get("alertname", ""),
                each.starts_at,
                each.first_seen,
                each.last_seen,
                each.ended_at,
                _encode(
                    _Told(
                        labels=dict(each.labels),
                        annotations=dict(each.annotations),
                        generator_url=each.generator_url,
                        group_key=each.group_key,
                        group_labels=dict(each.group_labels),
                        truncated=each.truncated,
                    )
                ).decode(),
            )
            for each in opened
        ]
        self._insert("episodes (id, fingerprint, alertname, starts_at, first_seen, last_seen, ended_at, told)", 8, rows)
        for column, pairs in (("last_seen", seen), ("ended_at", closed)):
            if pairs:
                self.connection.execute(
                    f"UPDATE episodes SET {column} = changed.value ->> 1 FROM json_each(?) AS changed "  # noqa: S608
                    "WHERE episodes.id = changed.value ->> 0",
                    (_encode(pairs).decode(),),
                )

    async def firing(self, name: str | None = None) -> Sequence[Episode]:
        where, values = ("AND alertname = ?", (name,)) if name is not None else ("", ())
        return [
            _episode(row)
            for row in self._all(f"SELECT {_EPISODE} FROM episodes WHERE ended_at IS NULL {where} ORDER BY id", *values)  # noqa: S608
        ]

    # -- decisions --

    async def decided(self, episodes: Collection[int]) -> frozenset[tuple[int, str]]:
        rows = self._all(
            "SELECT episode, rule FROM decisions WHERE episode IN (SELECT value FROM json_each(?))",
            _encode(list(episodes)).decode(),
        )
        return frozenset((episode, rule) for episode, rule in rows)

    async def add_decisions(self, decisions: Sequence[Decided]) -> None:
        rows = [(each.episode, each.rule, each.run, each.target, each.at) for each in decisions]
        self._insert(
            "decisions (episode, rule, run, target, at)", 5, rows,
            "ON CONFLICT (episode, rule) DO UPDATE SET run = excluded.run, target = excluded.target, at = excluded.at",
        )  # fmt: skip

    async def deferred(self, rule: str, target: str) -> Sequence[Episode]:
        return self._decided_episodes(
            "decisions.run IS NULL AND rule = ? AND target = ? AND ended_at IS NULL", rule, target
        )

    async def hand_over(self, run: str, to: str) -> None:
        self.connection.execute("UPDATE decisions SET run = ? WHERE run = ?", (to, run))

    async def release(self, run: str) -> Sequence[Episode]:
        firing = self._decided_episodes("decisions.run = ? AND ended_at IS NULL", run)
        self.connection.execute("DELETE FROM decisions WHERE run = ?", (run,))
        return firing

    def _decided_episodes(self, where: str, *values: Any) -> list[Episode]:
        columns = ", ".join(f"episodes.{column}" for column in _EPISODE.split(", "))
        rows = self._all(
            f"SELECT {columns} FROM decisions JOIN episodes ON episodes.id = decisions.episode "  # noqa: S608
            f"WHERE {where} ORDER BY episodes.id",
            *values,
        )
        return [_episode(row) for row in rows]

    # -- runs --

    async def open_run(self, rule: str, target: str) -> OpenRun | None:
        row = self._one("SELECT id, state FROM runs WHERE rule = ? AND target = ? AND ended_at IS NULL", rule, target)
        return None if row is None else OpenRun(id=row[0], rule=rule, target=target, state=State(row[1]))

    async def runs_of(self, episodes: Collection[int]) -> Sequence[Run]:
        rows = self._all(
            "SELECT body, due_at, fence FROM runs WHERE id IN (SELECT run FROM decisions WHERE episode IN "
            "(SELECT value FROM json_each(?)) AND run IS NOT NULL) "
            "AND (ended_at IS NULL OR (state = 'planned' AND body ->> 'healed_at' IS NULL))",
            _encode(list(episodes)).decode(),
        )
        return [_run(row) for row in rows]

    async def watch(self, run: str) -> Watch:
        firing, first_seen = self._one(
            "SELECT count(*), min(first_seen) FROM decisions JOIN episodes ON episodes.id = decisions.episode "
            "WHERE decisions.run = ? AND ended_at IS NULL",
            run,
        )
        return Watch(firing=firing, first_seen=first_seen)

    async def alerts_of(self, run: str) -> Sequence[Episode]:
        return self._decided_episodes("decisions.run = ?", run)

    async def books(self, question: Question) -> Books:
        live = "" if question.dry else "AND dry = 0"
        last = self._one(
            f"SELECT ended_at FROM runs WHERE rule = ? AND target = ? AND admitted_at IS NOT NULL {live} "  # noqa: S608
            "AND started_at IS NOT NULL AND ended_at IS NOT NULL ORDER BY admitted_at DESC LIMIT 1",
            question.rule, question.target,
        )  # fmt: skip
        holder = None
        if question.lock is not None:
            holder = self._one(
                f"SELECT id FROM runs WHERE lock = ? AND ended_at IS NULL AND id != ? {live}",  # noqa: S608
                question.lock, question.run,
            )  # fmt: skip
        (at_work,) = self._one("SELECT count(*) FROM runs WHERE ended_at IS NULL AND state IN ('running', 'verifying')")
        firing = [await self.firing(name) for name in question.firing]
        return Books(
            last_ended_at=None if last is None else last[0],
            full_since=tuple(self._full_since(each, live) for each in question.allowances),
            lock_holder=None if holder is None else holder[0],
            at_work=at_work,
            firing=tuple(episode.labels for some in firing for episode in some),
        )

    def _full_since(self, allowance: Allowance, live: str) -> Timestamp | None:
        where = ""
        values: list[Any] = []
        for column, value in (("rule", allowance.rule), ("target", allowance.target)):
            if value is not None:
                where += f" AND {column} = ?"
                values.append(value)
        row = self._one(
            f"SELECT admitted_at FROM runs WHERE admitted_at IS NOT NULL {where} {live} "  # noqa: S608
            "ORDER BY admitted_at DESC LIMIT 1 OFFSET ?",
            *values, allowance.count - 1,
        )  # fmt: skip
        return None if row is None else row[0]

    async def add(self, stories: Sequence[Story], worker: str | None = None) -> None:
        rows = [_row(story.run, worker, story.run.due_at) for story in stories]
        self._insert(f"runs ({', '.join(_RUN_COLUMNS)})", len(_RUN_COLUMNS), rows)
        for story in stories:
            self._save_steps(story)
        await self.append([event for story in stories for event in story.events])

    async def save(self, story: Story, worker: str, keep: Timestamp | None) -> None:
        run = story.run
        row = _row(run, None if keep is None else worker, run.due_at if keep is None else keep)
        changed = self.connection.execute(_UPDATE_RUN, (*row[2:], run.id, run.fence, worker)).rowcount
        if changed != 1:
            raise StaleLease(f"run {run.id} has passed to another worker")
        self._save_steps(story)
        await self.append(story.events)

    def _save_steps(self, story: Story) -> None:
        rows = [
            (story.run.id, step.rung, step.phase, step.position, step.item, _encode(step).decode())
            for step in story.steps
            if step.key in story.touched
        ]
        self._insert(
            "steps (run, rung, phase, position, item, body)", 6, rows,
            "ON CONFLICT (run, rung, phase, position, item) DO UPDATE SET body = excluded.body",
        )  # fmt: skip

    async def mark_healed(self, run: Run) -> None:
        self.connection.execute("UPDATE runs SET body = ? WHERE id = ?", (_encode(run).decode(), run.id))

    async def claim(self, worker: str, now: Timestamp, until: Timestamp, limit: int) -> Sequence[Story]:
        ids: list[str] = []
        for priority in Priority:  # one short index scan each, instead of a sort of all that is due
            ids += [
                row[0]
                for row in self._all(
                    "SELECT id FROM runs WHERE priority = ? AND due_at <= ? AND ended_at IS NULL ORDER BY due_at LIMIT ?",
                    priority, now, limit - len(ids),
                )
            ]  # fmt: skip
            if len(ids) >= limit:
                break
        stories: list[Story] = []
        for run_id in ids:
            self.connection.execute(
                "UPDATE runs SET worker = ?, due_at = ?, fence = fence + 1 WHERE id = ?", (worker, until, run_id)
            )
            story = await self.run(run_id)
            if story is not None:
                stories.append(story)
        return stories

    async def renew(self, worker: str, until: Timestamp) -> None:
        self.connection.execute("UPDATE runs SET due_at = ? WHERE worker = ? AND ended_at IS NULL", (until, worker))

    async def take_over(self, now: Timestamp) -> int:
        return self.connection.execute(
            "UPDATE runs SET worker = NULL, due_at = ?, fence = fence + 1 WHERE worker IS NOT NULL AND ended_at IS NULL",
            (now,),
        ).rowcount

    async def wake(self, runs: Collection[str], now: Timestamp) -> None:
        self.connection.execute(
            "UPDATE runs SET due_at = ? WHERE id IN (SELECT value FROM json_each(?)) AND worker IS NULL "
            "AND ended_at IS NULL",
            (now, _encode(list(runs)).decode()),
        )

    async def wake_held(self, now: Timestamp) -> None:
        self.connection.execute(
            "UPDATE runs SET due_at = ? WHERE worker IS NULL AND ended_at IS NULL "
            "AND (reason = ? OR due_at IS NULL OR state != 'waiting')",
            (now, Reason.PAUSED),
        )

    async def wake_waiting(self, closed: Run, place_free: bool, now: Timestamp) -> None:
        self.connection.execute(
            "UPDATE runs SET due_at = ? WHERE worker IS NULL AND ended_at IS NULL AND state = 'waiting' AND ("
            "(reason = 'busy' AND rule = ? AND id != ?) OR (? AND reason = 'lock'))",
            (now, closed.rule, closed.id, closed.lock is not None),
        )
        if place_free:
            self.connection.execute(
                "UPDATE runs SET due_at = ? WHERE id = (SELECT id FROM runs WHERE worker IS NULL AND ended_at IS NULL "
                "AND state = 'waiting' AND reason = 'max_running' AND (due_at IS NULL OR due_at > ?) "
                "ORDER BY priority, id LIMIT 1)",
                (now, now),
            )

    async def next_due(self) -> Timestamp | None:
        rows = [
            self._one(
                "SELECT min(due_at) FROM runs WHERE priority = ? AND due_at IS NOT NULL AND ended_at IS NULL", each
            )[0]
            for each in Priority
        ]
        return min((due for due in rows if due is not None), default=None)

    async def run(self, run_id: str) -> Story | None:
        row = self._one("SELECT body, due_at, fence FROM runs WHERE id = ?", run_id)
        if row is None:
            return None
        run = _run(row)
        steps = self._all("SELECT body FROM steps WHERE run = ? ORDER BY rung, phase, position, item", run_id)
        alert = self._one(f"SELECT {_EPISODE} FROM episodes WHERE id = ?", run.opened_by)  # noqa: S608
        return Story(run=run, alert=_episode(alert), steps=tuple(_step_decoder.decode(body) for (body,) in steps))

    async def runs(self, which: RunFilter) -> Sequence[Run]:
        where = ["1"]
        values: list[Any] = []
        if which.state is not None:
            where.append("state = ?")
            values.append(which.state)
        if which.rule is not None:
            where.append("rule = ?")
            values.append(which.rule)
        if which.since is not None:
            where.append("body ->> 'created_at' >= ?")
            values.append(which.since)
        if which.before is not None:
            where.append("id < ?")
            values.append(which.before)
        if which.open_only:
            where.append("ended_at IS NULL")
        rows = self._all(
            f"SELECT body, due_at, fence FROM runs WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",  # noqa: S608
            *values, which.limit,
        )  # fmt: skip
        return [_run(row) for row in rows]

    async def open_counts(self) -> Mapping[State, int]:
        rows = self._all("SELECT state, count(*) FROM runs WHERE ended_at IS NULL GROUP BY state")
        return {State(state): count for state, count in rows}

    # -- controls, rules, history --

    async def controls(self, now: Timestamp, run: str | None = None) -> Sequence[Control]:
        rows = self._all(
            "SELECT body FROM controls WHERE lifted_at IS NULL AND (until IS NULL OR until > ?) "
            "AND (run IS NULL OR run = ?) ORDER BY id",
            now, run,
        )  # fmt: skip
        return [_control_decoder.decode(body) for (body,) in rows]

    async def lay(self, control: Control) -> None:
        self._insert(
            "controls (id, kind, run, until, lifted_at, body)", 6,
            [(control.id, control.kind, control.run, control.until, control.lifted_at, _encode(control).decode())],
        )  # fmt: skip

    async def lift(self, control: Control) -> None:
        self.connection.execute(
            "UPDATE controls SET lifted_at = ?, body = ? WHERE id = ?",
            (control.lifted_at, _encode(control).decode(), control.id),
        )

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
        base = dict(self._all("SELECT key, value FROM meta WHERE key IN ('base_seq', 'base_hash')"))
        return (int(base["base_seq"]), base["base_hash"]) if base else (0, GENESIS)

    async def events(self, after: int, limit: int, run: str | None = None) -> Sequence[StoredEvent]:
        mine = "AND run = ?" if run is not None else ""
        rows = self._all(
            f"SELECT seq, line, hash FROM events WHERE seq > ? {mine} ORDER BY seq LIMIT ?",  # noqa: S608
            after, *([run] if run is not None else []), limit,
        )  # fmt: skip
        return list(_stored_events(rows))

    async def head(self) -> StoredEvent | None:
        rows = self._all("SELECT seq, line, hash FROM events ORDER BY seq DESC LIMIT 1")
        return next(_stored_events(rows), None)

    async def prune(self, runs: Timestamp, notifications: Timestamp, events: Timestamp) -> int:
        gone = self.connection.execute("DELETE FROM notifications WHERE received_at < ?", (notifications,)).rowcount
        old = "SELECT id FROM runs WHERE ended_at < ?"
        for table in ("steps", "controls"):
            self.connection.execute(f"DELETE FROM {table} WHERE run IN ({old})", (runs,))  # noqa: S608
        # While an alert still fires, that a rule has taken it up must not be forgotten.
        self.connection.execute(
            f"DELETE FROM decisions WHERE run IN ({old}) AND episode IN "  # noqa: S608
            "(SELECT id FROM episodes WHERE ended_at IS NOT NULL)",
            (runs,),
        )
        gone += self.connection.execute("DELETE FROM runs WHERE ended_at < ?", (runs,)).rowcount
        gone += self.connection.execute(
            "DELETE FROM episodes WHERE ended_at < ? AND NOT EXISTS "
            "(SELECT 1 FROM decisions WHERE decisions.episode = episodes.id)",
            (runs,),
        ).rowcount
        last = self._one("SELECT seq, hash FROM events WHERE line ->> 0 < ? ORDER BY seq DESC LIMIT 1", events)
        if last is not None:
            # The checkpoint: the chain goes on from the last line that was pruned.
            gone += self.connection.execute("DELETE FROM events WHERE seq <= ?", (last[0],)).rowcount
            self._insert(
                "meta (key, value)", 2, [("base_seq", str(last[0])), ("base_hash", last[1])],
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )  # fmt: skip
        return gone


def _episode(row: Any) -> Episode:
    told = _told_decoder.decode(row[6])
    return Episode(
        id=row[0],
        fingerprint=row[1],
        starts_at=row[2],
        first_seen=row[3],
        last_seen=row[4],
        ended_at=row[5],
        labels=told.labels,
        annotations=told.annotations,
        generator_url=told.generator_url,
        group_key=told.group_key,
        group_labels=told.group_labels,
        truncated=told.truncated,
    )


def _run(row: Any) -> Run:
    body, due_at, fence = row
    return replace(_run_decoder.decode(body), due_at=due_at, fence=fence)


def _row(run: Run, worker: str | None, due_at: Timestamp | None) -> tuple[Any, ...]:
    return (
        run.id, run.rule, run.target, run.state, run.reason, run.dry, run.priority, run.admitted_at, run.started_at,
        run.ended_at, run.lock, worker, due_at, run.fence, _encode(run).decode(),
    )  # fmt: skip


def _stored_events(rows: Sequence[Any]) -> Iterator[StoredEvent]:
    for seq, line, hash_ in rows:
        at, kind, run, data = read_line(line)
        yield StoredEvent(seq=seq, at=at, kind=kind, run=run, data=data, hash=hash_)
