"""The SQL of runs and their steps: claims, leases, waking."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from remediator.errors import StaleLease
from remediator.model.alert import Episode
from remediator.model.identity import id_floor
from remediator.model.run import Book, Phase, Priority, Reason, Run, State, Step
from remediator.model.story import Story, stand_in
from remediator.model.time import Timestamp
from remediator.store.columns import EPISODE, FIXED, RUN_COLUMNS, read_episode, read_run, run_row
from remediator.store.protocol import REPORT_TIMER, OpenRun, RunFilter, Watch
from remediator.store.sqlite.books import BookRows
from remediator.store.sqlite.history import HistoryRows

_SET_RUN = ", ".join(f"{column} = ?" for column in RUN_COLUMNS[FIXED:])
_UPDATE_RUN = f"UPDATE runs SET {_SET_RUN} WHERE id = ? AND fence = ? AND worker = ?"  # noqa: S608 - our own names
_SET_AMENDED = _SET_RUN.replace("fence = ?", "fence = max(fence, ?) + 1")
_AMEND_RUN = f"UPDATE runs SET {_SET_AMENDED} WHERE id = ? AND state = 'waiting'"  # noqa: S608

_EARLIEST = [
    f"((SELECT min(due_at) FROM runs WHERE priority = '{each}' AND due_at IS NOT NULL AND ended_at IS NULL))"  # noqa: S608
    for each in Priority
]
_EARLIEST.append(f"((SELECT min(due_at) FROM timers WHERE name != '{REPORT_TIMER}'))")  # noqa: S608
_NEXT_DUE = f"SELECT min(column1) FROM (VALUES {', '.join(_EARLIEST)})"  # noqa: S608

_encode = msgspec.json.encode
_step_decoder = msgspec.json.Decoder(Step)


class RunRows(BookRows, HistoryRows):
    """Runs, with what they were opened by and what is told of them."""

    # -- runs --

    async def open_run(self, rule: str, target: str, *, drill: bool = False) -> OpenRun | None:
        row = self._one(
            "SELECT id, admitted_at IS NOT NULL OR body ->> 'ending' IS NOT NULL FROM runs "
            "WHERE rule = ? AND target = ? AND (book = 'drill') = ? AND ended_at IS NULL "
            "AND origin NOT IN ('revert', 'notice')",
            rule, target, drill,
        )  # fmt: skip
        return None if row is None else OpenRun(id=row[0], rule=rule, target=target, begun=bool(row[1]))

    async def open_runs(self, pairs: Collection[tuple[str, str]]) -> Sequence[OpenRun]:
        found = [await self.open_run(rule, target) for rule, target in pairs]
        return [each for each in found if each is not None]

    async def runs_of(self, episodes: Collection[int]) -> Sequence[Run]:
        rows = self._all(
            "WITH theirs (run) AS (SELECT DISTINCT run FROM decisions WHERE episode IN "
            "(SELECT value FROM json_each(?))) "
            "SELECT body, due_at, fence FROM runs WHERE id IN (SELECT run FROM theirs) "
            "AND (ended_at IS NULL OR (state = 'planned' AND body ->> 'healed_at' IS NULL)) UNION ALL "
            "SELECT body, due_at, fence FROM runs WHERE reverts IN (SELECT run FROM theirs) AND ended_at IS NULL",
            _encode(list(episodes)).decode(),
        )
        return [read_run(row) for row in rows]

    async def watch(self, run: str) -> Watch:
        firing, first_seen, lost = self._one(
            "SELECT count(*) FILTER (WHERE ended_at IS NULL), min(first_seen) FILTER (WHERE ended_at IS NULL), "
            "coalesce(sum(lost), 0) FROM decisions JOIN episodes ON episodes.id = decisions.episode "
            "WHERE decisions.run = ?",
            run,
        )
        return Watch(firing=firing, first_seen=first_seen, lost=lost)

    async def waiting_revert(self, rule: str, target: str, *, drill: bool) -> Run | None:
        row = self._one(
            "SELECT body, due_at, fence FROM runs "
            "WHERE rule = ? AND target = ? AND (book = 'drill') = ? AND origin = 'revert' AND state = 'waiting'",
            rule, target, drill,
        )  # fmt: skip
        return None if row is None else read_run(row)

    async def amend(self, run: Run) -> None:
        row = run_row(run, None, run.due_at)
        if self.connection.execute(_AMEND_RUN, (*row[FIXED:], run.id)).rowcount != 1:
            raise StaleLease(f"run {run.id} has begun or ended: it can't be amended any more")

    async def alerts_of(self, run: str) -> Sequence[Episode]:
        return self._decided_episodes("decisions.run = ?", run)

    async def add(self, stories: Sequence[Story], worker: str | None = None) -> None:
        rows = [run_row(story.run, worker, story.run.due_at) for story in stories]
        self._insert(f"runs ({', '.join(RUN_COLUMNS)})", len(RUN_COLUMNS), rows)
        for story in stories:
            self._save_steps(story)
        await self.append([event for story in stories for event in story.events])

    async def save(self, story: Story, worker: str, keep: Timestamp | None) -> None:
        run = story.run
        row = run_row(run, None if keep is None else worker, run.due_at if keep is None else keep)
        changed = self.connection.execute(_UPDATE_RUN, (*row[FIXED:], run.id, run.fence, worker)).rowcount
        if changed != 1:
            raise StaleLease(f"run {run.id} has passed to another worker")
        self._save_steps(story)
        await self.append(story.events)

    def _save_steps(self, story: Story) -> None:
        forgotten = story.touched - {step.key for step in story.steps}
        for rung, phase, position, item in forgotten:
            self.connection.execute(
                "DELETE FROM steps WHERE run = ? AND rung = ? AND phase = ? AND position = ? AND item = ?",
                (story.run.id, rung, phase, position, item),
            )
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

    async def claim(
        self,
        worker: str,
        now: Timestamp,
        until: Timestamp,
        limit: int,
        priorities: Sequence[Priority] = tuple(Priority),
    ) -> Sequence[Story]:
        ids: list[str] = []
        for priority in priorities:  # one short index scan each, instead of a sort of all that is due
            ids += [
                row[0]
                for row in self._all(
                    "SELECT id FROM runs WHERE priority = ? AND due_at <= ? AND ended_at IS NULL ORDER BY due_at LIMIT ?",
                    priority, now, limit - len(ids),
                )
            ]  # fmt: skip
        stories: list[Story] = []
        for run_id in ids:
            self.connection.execute(
                "UPDATE runs SET worker = ?, due_at = ?, fence = fence + 1 WHERE id = ?", (worker, until, run_id)
            )
            story = await self.run(run_id)
            if story is not None:
                stories.append(story)
        return stories

    async def renew(self, worker: str, runs: Collection[str], until: Timestamp) -> None:
        self.connection.execute(
            "UPDATE runs SET due_at = ? WHERE worker = ? AND ended_at IS NULL AND id IN (SELECT value FROM json_each(?))",
            (until, worker, _encode(list(runs)).decode()),
        )

    async def take_over(self, now: Timestamp, worker: str | None) -> Sequence[str]:
        rows = self._all(
            "UPDATE runs SET worker = NULL, due_at = ?, fence = fence + 1 "
            "WHERE worker IS NOT NULL AND ended_at IS NULL RETURNING id",
            now,
        )
        return [row[0] for row in rows]

    async def wake(self, runs: Collection[str], now: Timestamp) -> None:
        self.connection.execute(
            "UPDATE runs SET due_at = ? WHERE id IN (SELECT value FROM json_each(?)) AND worker IS NULL "
            "AND ended_at IS NULL",
            (now, _encode(list(runs)).decode()),
        )

    async def wake_held(self, now: Timestamp) -> None:
        self.connection.execute(
            "UPDATE runs SET due_at = ? WHERE worker IS NULL AND ended_at IS NULL "
            # One whose end is decided keeps its reason under a pause.
            "AND (body ->> 'paused_since' IS NOT NULL OR reason IN (?, ?) OR due_at IS NULL OR state != 'waiting' "
            "OR origin = 'revert')",
            (now, Reason.BREAKER, Reason.STORM),
        )

    async def wake_waiting(self, closed: Run, place_free: bool, now: Timestamp) -> int:
        woken = self.connection.execute(
            "UPDATE runs SET due_at = ? WHERE ended_at IS NULL AND state = 'waiting' AND worker IS NULL AND ("
            "(reason = 'busy' AND rule = ? AND id != ?) OR (reason = 'lock' AND ?)) AND reason IN ('busy', 'lock')",
            (now, closed.rule, closed.id, closed.lock is not None),
        ).rowcount
        for book in Book if place_free else ():  # whether the place is one of theirs too, each sees by its own books
            woken += self.connection.execute(
                "UPDATE runs SET due_at = ? WHERE id = (SELECT id FROM runs WHERE worker IS NULL AND ended_at IS NULL "
                "AND state = 'waiting' AND reason = 'max_running' AND book = ? AND (due_at IS NULL OR due_at > ?) "
                "ORDER BY priority, id LIMIT 1)",
                (now, book, now),
            ).rowcount
        return woken

    async def next_due(self) -> Timestamp | None:
        # One short index seek for each priority and one for the timers, in one statement.
        due: Timestamp | None = self._one(_NEXT_DUE)[0]
        return due

    async def run(self, run_id: str) -> Story | None:
        row = self._one("SELECT body, due_at, fence FROM runs WHERE id = ?", run_id)
        if row is None:
            return None
        run = read_run(row)
        steps = self._all("SELECT body FROM steps WHERE run = ? ORDER BY rung, phase, position, item", run_id)
        # A run that no alert opened has none, and retention may have forgotten it.
        alert = self._one(f"SELECT {EPISODE} FROM episodes WHERE id = ?", run.opened_by)  # noqa: S608
        episode = read_episode(alert) if alert is not None else stand_in(run)
        return Story(run=run, alert=episode, steps=tuple(_step_decoder.decode(body) for (body,) in steps))

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
            where.append("id >= ?")
            values.append(id_floor(which.since))
        if which.ended_since is not None:
            where.append("ended_at >= ?")
            values.append(which.ended_since)
        if which.before is not None:
            where.append("id < ?")
            values.append(which.before)
        if which.open_only:
            where.append("ended_at IS NULL")
        if not which.notices:
            where.append("origin != 'notice'")
        if which.drills:
            where.append("book = 'drill'")
        # `+`: sorts what the index of ends finds, where SQLite would walk all runs there are to have them sorted.
        order = "id" if which.ended_since is None else "+id"
        rows = self._all(
            f"SELECT body, due_at, fence FROM runs WHERE {' AND '.join(where)} ORDER BY {order} DESC LIMIT ?",  # noqa: S608
            *values, which.limit,
        )  # fmt: skip
        return [read_run(row) for row in rows]

    async def steps_of(self, runs: Collection[str], phases: Collection[Phase]) -> Mapping[str, Sequence[Step]]:
        rows = self._all(
            "SELECT run, json_remove(body, '$.result') FROM steps WHERE run IN (SELECT value FROM json_each(?)) "
            "AND phase IN (SELECT value FROM json_each(?)) ORDER BY run, rung, phase, position, item",
            _encode(list(runs)).decode(), _encode(list(phases)).decode(),
        )  # fmt: skip
        found: dict[str, list[Step]] = {}
        for run, body in rows:
            found.setdefault(run, []).append(_step_decoder.decode(body))
        return found

    async def resolved_at(self, runs: Collection[str]) -> Mapping[str, Timestamp]:
        rows = self._all(
            "SELECT decisions.run, max(ended_at) FROM decisions JOIN episodes ON episodes.id = decisions.episode "
            "WHERE decisions.run IN (SELECT value FROM json_each(?)) GROUP BY decisions.run "
            "HAVING count(*) = count(ended_at) AND NOT max(lost)",
            _encode(list(runs)).decode(),
        )
        return dict(rows)

    async def open_counts(self) -> Mapping[State, int]:
        rows = self._all("SELECT state, count(*) FROM runs WHERE ended_at IS NULL GROUP BY state")
        return {State(state): count for state, count in rows}
