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
from remediator.store.postgres.books import BookRows
from remediator.store.postgres.history import EVENT_TYPES, EVENTS, HistoryRows
from remediator.store.postgres.rows import inserting
from remediator.store.protocol import REPORT_TIMER, OpenRun, RunFilter, Watch

_RUN = "body, due_at, fence"
_TYPES = {
    **dict.fromkeys(RUN_COLUMNS, "text"),
    **dict.fromkeys(("admitted_at", "started_at", "ended_at", "failed_at", "storm_at", "due_at"), "float8"),
    "rung": "integer",
    "fence": "bigint",
}
_INSERT_TYPES = ", ".join(_TYPES[column] for column in RUN_COLUMNS)
_CHANGING = RUN_COLUMNS[FIXED:]
_SET_RUN = ", ".join(f"{column} = ${number}" for number, column in enumerate(_CHANGING, 1))
_NEXT = len(_CHANGING) + 1  # the number of the first value after those
_UPDATE_RUN = f"UPDATE runs SET {_SET_RUN} WHERE id = ${_NEXT} AND fence = ${_NEXT + 1} AND worker = ${_NEXT + 2}"  # noqa: S608
_FENCE = f"fence = ${_CHANGING.index('fence') + 1}"
_AMEND_RUN = (
    f"UPDATE runs SET {_SET_RUN.replace(_FENCE, _FENCE.replace('= ', '= greatest(fence, ') + ') + 1')} "  # noqa: S608
    f"WHERE id = ${_NEXT} AND state = 'waiting'"
)
_EARLIEST = [
    f"(SELECT min(due_at) FROM runs WHERE priority = '{each}' AND due_at IS NOT NULL AND ended_at IS NULL)"  # noqa: S608
    for each in Priority
]
_EARLIEST.append(f"(SELECT min(due_at) FROM timers WHERE name != '{REPORT_TIMER}')")  # noqa: S608
_NEXT_DUE = f"SELECT least({', '.join(_EARLIEST)})"

_STEPS, _STEP_TYPES = "steps (run, rung, phase, position, item, body)", "text, integer, text, integer, integer, text"
_STEP_AGAIN = "ON CONFLICT (run, rung, phase, position, item) DO UPDATE SET body = excluded.body"

_encode = msgspec.json.encode
_step_decoder = msgspec.json.Decoder(Step)


class RunRows(BookRows, HistoryRows):
    """Runs, with what they were opened by and what is told of them."""

    # -- runs --

    async def open_run(self, rule: str, target: str, *, drill: bool = False) -> OpenRun | None:
        found = await self._open_runs([(rule, target)], drill=drill)
        return found[0] if found else None

    async def open_runs(self, pairs: Collection[tuple[str, str]]) -> Sequence[OpenRun]:
        return await self._open_runs(pairs, drill=False)

    async def _open_runs(self, pairs: Collection[tuple[str, str]], *, drill: bool) -> list[OpenRun]:
        rows = await self._all(
            "SELECT found.* FROM unnest($1::text[], $2::text[]) AS wanted (of, at), LATERAL (SELECT id, rule, target, "
            "admitted_at IS NOT NULL OR body::json ->> 'ending' IS NOT NULL FROM runs WHERE rule = wanted.of "
            "AND target = wanted.at AND (book = 'drill') = $3 AND target IS NOT NULL AND ended_at IS NULL "
            "AND origin NOT IN ('revert', 'notice') LIMIT 1) AS found",
            [rule for rule, _ in pairs], [target for _, target in pairs], drill,
        )  # fmt: skip
        return [OpenRun(*row) for row in rows]

    async def runs_of(self, episodes: Collection[int]) -> Sequence[Run]:
        rows = await self._all(
            "WITH theirs (run) AS (SELECT DISTINCT run FROM decisions WHERE episode = ANY($1::bigint[])), "  # noqa: S608
            f"found AS (SELECT id, 1 AS part, {_RUN} FROM runs WHERE id IN (SELECT run FROM theirs) "
            "AND (ended_at IS NULL OR (state = 'planned' AND body::json ->> 'healed_at' IS NULL)) UNION ALL "
            f"SELECT id, 2, {_RUN} FROM runs WHERE reverts IN (SELECT run FROM theirs) AND ended_at IS NULL) "
            f"SELECT {_RUN} FROM found ORDER BY part, id",
            list(episodes),
        )
        return [read_run(row) for row in rows]

    async def watch(self, run: str) -> Watch:
        firing, first_seen, lost = await self._one(
            "SELECT count(*) FILTER (WHERE ended_at IS NULL), min(first_seen) FILTER (WHERE ended_at IS NULL), "
            "count(*) FILTER (WHERE lost) FROM decisions JOIN episodes ON episodes.id = decisions.episode "
            "WHERE decisions.run = $1",
            run,
        )
        return Watch(firing=firing, first_seen=first_seen, lost=lost)

    async def waiting_revert(self, rule: str, target: str, *, drill: bool) -> Run | None:
        row = await self._one(
            f"SELECT {_RUN} FROM runs WHERE rule = $1 AND target = $2 AND (book = 'drill') = $3 "  # noqa: S608
            "AND origin = 'revert' AND state = 'waiting'",
            rule, target, drill,
        )  # fmt: skip
        return None if row is None else read_run(row)

    async def amend(self, run: Run) -> None:
        row = run_row(run, None, run.due_at)
        self.stirred = True
        if await self._change(_AMEND_RUN, *row[FIXED:], run.id) != 1:
            raise StaleLease(f"run {run.id} has begun or ended: it can't be amended any more")

    async def alerts_of(self, run: str) -> Sequence[Episode]:
        return await self._decided_episodes("decisions.run = $1", run)

    async def add(self, stories: Sequence[Story], worker: str | None = None) -> None:
        if not stories:
            return
        self.stirred = self.stirred or (worker is None and any(story.run.due_at is not None for story in stories))
        rows = [run_row(story.run, worker, story.run.due_at) for story in stories]
        insert, values = inserting(f"runs ({', '.join(RUN_COLUMNS)})", _INSERT_TYPES, rows)
        await self._write_with_history(insert, values, stories)

    async def save(self, story: Story, worker: str, keep: Timestamp | None) -> None:
        run = story.run
        row = run_row(run, None if keep is None else worker, run.due_at if keep is None else keep)
        if not await self._write_with_history(_UPDATE_RUN, [*row[FIXED:], run.id, run.fence, worker], [story]):
            raise StaleLease(f"run {run.id} has passed to another worker")

    async def _write_with_history(self, write: str, values: Sequence[Any], stories: Sequence[Story]) -> int:
        """Write runs, their steps and what is told of them by one statement; gives how many runs that were."""
        for story in stories:
            for rung, phase, position, item in story.touched - {step.key for step in story.steps}:
                await self._change(
                    "DELETE FROM steps WHERE run = $1 AND rung = $2 AND phase = $3 AND position = $4 AND item = $5",
                    story.run.id, rung, phase, position, item,
                )  # fmt: skip
        steps = [
            (story.run.id, step.rung, step.phase, step.position, step.item, _encode(step).decode())
            for story in stories
            for step in story.steps
            if step.key in story.touched
        ]
        parts, given = [f"written AS ({write} RETURNING 1)"], list(values)
        events = await self.chained([event for story in stories for event in story.events])
        for into, types, rows, then in (
            (_STEPS, _STEP_TYPES, steps, _STEP_AGAIN), (EVENTS, EVENT_TYPES, events, ""),
        ):  # fmt: skip
            if rows:
                insert, columns = inserting(into, types, rows, then, after=len(given))
                parts.append(f"part{len(parts)} AS ({insert})")
                given += columns
        (row,) = await self._change_and_give(f"WITH {', '.join(parts)} SELECT count(*) FROM written", *given)  # noqa: S608
        return int(row[0])

    async def mark_healed(self, run: Run) -> None:
        await self._change("UPDATE runs SET body = $1 WHERE id = $2", _encode(run).decode(), run.id)

    async def claim(
        self,
        worker: str,
        now: Timestamp,
        until: Timestamp,
        limit: int,
        priorities: Sequence[Priority] = tuple(Priority),
    ) -> Sequence[Story]:
        # One short index scan for each priority, instead of a sort of all that is due.
        due = " UNION ALL ".join(
            f"(SELECT id, {order} AS part, due_at FROM runs WHERE priority = '{each}' AND due_at <= $1 "  # noqa: S608
            "AND ended_at IS NULL ORDER BY due_at, id LIMIT $2)"
            for order, each in enumerate(priorities)
        )
        rows = await self._all(f"{due} ORDER BY part, due_at, id LIMIT $2", now, limit)
        ids = [row[0] for row in rows]
        if not ids:
            return []
        await self._change(
            "UPDATE runs SET worker = $1, due_at = $2, fence = fence + 1 WHERE id = ANY($3::text[])", worker, until, ids
        )
        stories = await self._stories(ids)
        return [stories[run] for run in ids]

    async def renew(self, worker: str, runs: Collection[str], until: Timestamp) -> None:
        await self._change(
            "UPDATE runs SET due_at = $1 WHERE worker = $2 AND ended_at IS NULL AND id = ANY($3::text[])",
            until, worker, list(runs),
        )  # fmt: skip

    async def take_over(self, now: Timestamp, worker: str | None) -> Sequence[str]:
        rows = await self._change_and_give(
            "UPDATE runs SET worker = NULL, due_at = $1, fence = fence + 1 "
            "WHERE worker = $2 AND ended_at IS NULL RETURNING id",
            now, worker,
        )  # fmt: skip
        return sorted(run for (run,) in rows)

    async def wake(self, runs: Collection[str], now: Timestamp) -> None:
        self.stirred = True
        await self._change(
            "UPDATE runs SET due_at = $1 WHERE id = ANY($2::text[]) AND worker IS NULL AND ended_at IS NULL",
            now, list(runs),
        )  # fmt: skip

    async def wake_held(self, now: Timestamp) -> None:
        self.stirred = True
        await self._change(
            "UPDATE runs SET due_at = $1 WHERE worker IS NULL AND ended_at IS NULL "
            # One whose end is decided keeps its reason under a pause.
            "AND (body::json ->> 'paused_since' IS NOT NULL OR reason IN ($2, $3) OR due_at IS NULL "
            "OR state != 'waiting' OR origin = 'revert')",
            now, Reason.BREAKER, Reason.STORM,
        )  # fmt: skip

    async def wake_waiting(self, closed: Run, place_free: bool, now: Timestamp) -> int:
        waits = "worker IS NULL AND ended_at IS NULL AND state = 'waiting'"
        concerned = [
            f"SELECT id FROM runs WHERE {waits} AND reason = 'busy' AND rule = $2 AND id != $3",  # noqa: S608
            f"SELECT id FROM runs WHERE {waits} AND reason = 'lock' AND $4",  # noqa: S608
        ]
        if place_free:  # whether the place is one of theirs too, each sees by its own books
            concerned += [
                f"(SELECT id FROM runs WHERE {waits} AND reason = 'max_running' AND book = '{book}' "  # noqa: S608
                "AND (due_at IS NULL OR due_at > $1) ORDER BY priority, id LIMIT 1)"
                for book in Book
            ]
        woken = await self._change(
            f"UPDATE runs SET due_at = $1 WHERE id IN ({' UNION ALL '.join(concerned)})",  # noqa: S608
            now, closed.rule, closed.id, closed.lock is not None,
        )  # fmt: skip
        self.stirred = self.stirred or woken > 0
        return woken

    async def next_due(self) -> Timestamp | None:
        # One short index seek for each priority and one for the timers, in one statement.
        due: Timestamp | None = (await self._one(_NEXT_DUE))[0]
        return due

    async def run(self, run_id: str) -> Story | None:
        return (await self._stories([run_id])).get(run_id)

    async def _stories(self, ids: Sequence[str]) -> dict[str, Story]:
        """Give runs by id, with their steps and the alerts that opened them."""
        rows = await self._all(f"SELECT {_RUN} FROM runs WHERE id = ANY($1::text[])", list(ids))  # noqa: S608
        runs = [read_run(row) for row in rows]
        if not runs:
            return {}
        steps: dict[str, list[Step]] = {}
        for run, body in await self._all(
            "SELECT run, body FROM steps WHERE run = ANY($1::text[]) ORDER BY run, rung, phase, position, item",
            list(ids),
        ):
            steps.setdefault(run, []).append(_step_decoder.decode(body))
        # A run that no alert opened has none, and retention may have forgotten it.
        opened_by = [run.opened_by for run in runs if run.opened_by is not None]
        alerts = {
            row[0]: read_episode(row)
            for row in await self._all(f"SELECT {EPISODE} FROM episodes WHERE id = ANY($1::bigint[])", opened_by)  # noqa: S608
        }
        return {
            run.id: Story(run=run, alert=alerts.get(run.opened_by) or stand_in(run), steps=tuple(steps.get(run.id, ())))
            for run in runs
        }

    async def runs(self, which: RunFilter) -> Sequence[Run]:
        where = ["true"]
        values: list[Any] = []
        for condition, value in (
            ("state =", which.state), ("rule =", which.rule),
            ("id >=", None if which.since is None else id_floor(which.since)), ("ended_at >=", which.ended_since),
            ("id <", which.before),
        ):  # fmt: skip
            if value is not None:
                values.append(value)
                where.append(f"{condition} ${len(values)}")
        if which.open_only:
            where.append("ended_at IS NULL")
        if not which.notices:
            where.append("origin != 'notice'")
        if which.drills:
            where.append("book = 'drill'")
        rows = await self._all(
            f"SELECT {_RUN} FROM runs WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ${len(values) + 1}",  # noqa: S608
            *values, which.limit,
        )  # fmt: skip
        return [read_run(row) for row in rows]

    async def steps_of(self, runs: Collection[str], phases: Collection[Phase]) -> Mapping[str, Sequence[Step]]:
        rows = await self._all(
            "SELECT run, body FROM steps WHERE run = ANY($1::text[]) AND phase = ANY($2::text[]) "
            "ORDER BY run, rung, phase, position, item",
            list(runs), list(phases),
        )  # fmt: skip
        found: dict[str, list[Step]] = {}
        for run, body in rows:
            found.setdefault(run, []).append(msgspec.structs.replace(_step_decoder.decode(body), result=None))
        return found

    async def resolved_at(self, runs: Collection[str]) -> Mapping[str, Timestamp]:
        rows = await self._all(
            "SELECT decisions.run, max(ended_at) FROM decisions JOIN episodes ON episodes.id = decisions.episode "
            "WHERE decisions.run = ANY($1::text[]) GROUP BY decisions.run "
            "HAVING count(*) = count(ended_at) AND NOT bool_or(lost)",
            list(runs),
        )
        return dict(map(tuple, rows))

    async def open_counts(self) -> Mapping[State, int]:
        rows = await self._all("SELECT state, count(*) FROM runs WHERE ended_at IS NULL GROUP BY state")
        return {State(state): count for state, count in rows}
