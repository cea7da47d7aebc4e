"""The SQL of notifications, episodes and decisions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from remediator.model.alert import Episode, Notification
from remediator.model.time import Timestamp
from remediator.store.columns import EPISODE, EPISODE_OF_JOIN, read_episode, told_of
from remediator.store.postgres.rows import Rows
from remediator.store.protocol import Decided

_PREFETCH = 200  # rows of a walk that mostly ends soon


class AlertRows(Rows):
    """What is told, and what became of it."""

    # -- alerts --

    async def episodes(self, fingerprints: Collection[str]) -> Mapping[str, Episode]:
        rows = await self._all(
            f"SELECT newest.* FROM unnest($1::text[]) AS wanted, LATERAL (SELECT {EPISODE} FROM episodes "  # noqa: S608
            "WHERE fingerprint = wanted ORDER BY id DESC LIMIT 1) AS newest",
            list(fingerprints),
        )
        return {row[1]: read_episode(row) for row in rows}

    async def episode_ids(self, count: int) -> Sequence[int]:
        (row,) = await self._change_and_give("UPDATE head SET episode = episode + $1 RETURNING episode", count)
        newest = int(row[0])
        return range(newest - count + 1, newest + 1)

    async def add_notifications(self, notifications: Sequence[Notification]) -> None:
        rows = [(each.id, each.received_at, each.body) for each in notifications]
        await self._insert("notifications (id, received_at, body)", "text, float8, bytea", rows)

    async def save_episodes(
        self, opened: Sequence[Episode], seen: Sequence[tuple[int, Timestamp]], closed: Sequence[tuple[int, Timestamp]]
    ) -> None:
        # Closed first: an alert may resolve and fire anew in one transaction, and has one open episode at most.
        for column, pairs in (("last_seen", seen), ("lost = false, ended_at", closed)):
            if pairs:  # of several for one episode the last holds
                ids, instants = zip(*dict(pairs).items(), strict=True)
                await self._change(
                    f"UPDATE episodes SET {column} = instant FROM unnest($1::bigint[], $2::float8[]) AS changed (id, instant) "  # noqa: S608
                    "WHERE episodes.id = changed.id",
                    list(ids), list(instants),
                )  # fmt: skip
        rows = [
            (
                each.id, each.fingerprint, each.labels.get("alertname", ""), each.starts_at, each.first_seen,
                each.last_seen, each.ended_at, told_of(each), each.over,
            )
            for each in opened
        ]  # fmt: skip
        await self._insert(
            "episodes (id, fingerprint, alertname, starts_at, first_seen, last_seen, ended_at, told, over)",
            "bigint, text, text, float8, float8, float8, float8, text, boolean", rows,
        )  # fmt: skip

    async def lose(self, before: Timestamp, now: Timestamp) -> Sequence[Episode]:
        rows = await self._change_and_give(
            "UPDATE episodes SET ended_at = $1, lost = true WHERE ended_at IS NULL AND last_seen < $2 "  # noqa: S608
            f"RETURNING {EPISODE}",
            now, before,
        )  # fmt: skip
        return sorted(map(read_episode, rows), key=lambda episode: episode.id)

    async def count_open(self, fingerprints: Collection[str]) -> int:
        row = await self._one(
            "SELECT count(*) FROM episodes WHERE ended_at IS NULL AND fingerprint = ANY($1::text[])", list(fingerprints)
        )
        return int(row[0])

    async def begun_at(self, newest: int, after: Timestamp | None) -> Timestamp | None:
        # Ids grow with `first_seen`. Mostly so many episodes ago is long ago, and then there are not that many alerts either.
        oldest = await self._one("SELECT first_seen FROM episodes ORDER BY id DESC LIMIT 1 OFFSET $1", newest - 1)
        if oldest is None or (after is not None and oldest[0] <= after):
            return None
        seen: set[str] = set()  # a walk back by id meets each alert's newest episode first, and ends with the span
        newest_first = "SELECT fingerprint, first_seen FROM episodes WHERE NOT over ORDER BY id DESC"
        walk = self.session.walk(newest_first, max(_PREFETCH, newest))
        async for fingerprint, first_seen in walk:
            if after is not None and first_seen <= after:
                break
            seen.add(fingerprint)
            if len(seen) == newest:
                return float(first_seen)
        return None

    async def firing(self, name: str | None = None) -> Sequence[Episode]:
        rows = await self._all(
            f"SELECT {EPISODE} FROM episodes WHERE ended_at IS NULL {'' if name is None else 'AND alertname = $1'} ORDER BY id",  # noqa: S608
            *([] if name is None else [name]),
        )
        return [read_episode(row) for row in rows]

    # -- decisions --

    async def decided(self, episodes: Collection[int]) -> frozenset[tuple[int, str]]:
        rows = await self._all("SELECT episode, rule FROM decisions WHERE episode = ANY($1::bigint[])", list(episodes))
        return frozenset((episode, rule) for episode, rule in rows)

    async def add_decisions(self, decisions: Sequence[Decided]) -> None:
        rows = {
            (each.episode, each.rule): (each.episode, each.rule, each.run, each.target, each.at) for each in decisions
        }
        await self._insert(
            "decisions (episode, rule, run, target, at)", "bigint, text, text, text, float8", list(rows.values()),
            "ON CONFLICT (episode, rule) DO UPDATE SET run = excluded.run, target = excluded.target, at = excluded.at",
        )  # fmt: skip

    async def release_deferred(self, rule: str, target: str) -> Sequence[Episode]:
        where = "run IS NULL AND rule = $1 AND target = $2"
        if not await self._all(f"SELECT 1 FROM decisions WHERE {where} LIMIT 1", rule, target):  # noqa: S608
            return []
        # What has resolved meanwhile began all the same: it stays, as nobody's, for the guard that counts episodes.
        await self._change(
            "UPDATE decisions SET run = '' FROM episodes WHERE episodes.id = decisions.episode "  # noqa: S608
            f"AND episodes.ended_at IS NOT NULL AND {where}",
            rule, target,
        )  # fmt: skip
        deleted = f"DELETE FROM decisions WHERE {where} RETURNING episode"  # noqa: S608
        released = await self._change_and_give(deleted, rule, target)
        rows = await self._all(
            f"SELECT {EPISODE} FROM episodes WHERE ended_at IS NULL AND id = ANY($1::bigint[]) ORDER BY id",  # noqa: S608
            [episode for (episode,) in released],
        )
        return [read_episode(row) for row in rows]

    async def hand_over(self, run: str, to: str) -> None:
        await self._change(
            "UPDATE decisions SET run = $1, target = coalesce(target, (SELECT target FROM runs WHERE id = $1)) "
            "WHERE run = $2",
            to, run,
        )  # fmt: skip

    async def release(self, run: str) -> Sequence[Episode]:
        firing = await self._decided_episodes("decisions.run = $1 AND ended_at IS NULL", run)
        if firing:  # what has resolved began all the same: the guard that counts episodes has to see it
            await self._change(
                "DELETE FROM decisions WHERE run = $1 AND episode = ANY($2::bigint[])",
                run, [episode.id for episode in firing],
            )  # fmt: skip
        return firing

    async def name_target(self, run: str, target: str) -> None:
        await self._change(
            "UPDATE decisions SET target = $1 WHERE run = $2 AND target IS DISTINCT FROM $1", target, run
        )

    async def second_chances(self, since: Timestamp, limit: int) -> Sequence[tuple[str, Episode]]:
        # `storm_at` is cleared on every run that is done with, so that the next call doesn't meet it again: a storm may
        # have refused a hundred thousand.
        chances: list[tuple[str, Episode]] = []
        while not chances:
            refused = await self._all(
                "SELECT id FROM runs WHERE storm_at >= $1 ORDER BY storm_at, id LIMIT $2", since, limit
            )
            if not refused:
                break
            runs = [run for (run,) in refused]
            rows = await self._all(
                f"SELECT {EPISODE_OF_JOIN}, decisions.rule FROM decisions JOIN episodes ON episodes.id = decisions.episode "  # noqa: S608
                "WHERE run = ANY($1::text[]) AND ended_at IS NULL ORDER BY episodes.id LIMIT $2",
                runs, limit,
            )  # fmt: skip
            chances = [(row[-1], read_episode(row)) for row in rows]
            await self._change(
                "DELETE FROM decisions WHERE (episode, rule) IN (SELECT * FROM unnest($1::bigint[], $2::text[]))",
                [episode.id for _, episode in chances], [rule for rule, _ in chances],
            )  # fmt: skip
            await self._change(
                "UPDATE runs SET storm_at = NULL WHERE id = ANY($1::text[]) AND NOT EXISTS "
                "(SELECT 1 FROM decisions JOIN episodes ON episodes.id = decisions.episode "
                "WHERE decisions.run = runs.id AND episodes.ended_at IS NULL)",
                runs,
            )
        return chances

    async def _decided_episodes(self, where: str, *values: Any) -> list[Episode]:
        rows = await self._all(
            f"SELECT {EPISODE_OF_JOIN} FROM decisions JOIN episodes ON episodes.id = decisions.episode "  # noqa: S608
            f"WHERE {where} ORDER BY episodes.id",
            *values,
        )
        return [read_episode(row) for row in rows]
