"""The SQL of notifications, episodes and decisions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from remediator.model.alert import Episode, Notification
from remediator.model.time import Timestamp
from remediator.store.columns import EPISODE, EPISODE_OF_JOIN, read_episode, told_of
from remediator.store.protocol import Decided
from remediator.store.sqlite.rows import Rows

_encode = msgspec.json.encode


class AlertRows(Rows):
    """What is told, and what became of it."""

    _episode_id: int | None = None

    # -- alerts --

    async def episodes(self, fingerprints: Collection[str]) -> Mapping[str, Episode]:
        rows = self._all(
            f"SELECT {EPISODE} FROM episodes WHERE id IN "  # noqa: S608
            "(SELECT (SELECT max(id) FROM episodes WHERE fingerprint = wanted.value) FROM json_each(?) AS wanted)",
            _encode(list(fingerprints)).decode(),
        )
        return {row[1]: read_episode(row) for row in rows}

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
                told_of(each),
                each.over,
            )
            for each in opened
        ]
        # Closed first: an alert may resolve and fire anew in one transaction, and has one open episode at most.
        for column, pairs in (("last_seen", seen), ("lost = 0, ended_at", closed)):
            if pairs:
                self.connection.execute(
                    f"UPDATE episodes SET {column} = changed.value ->> 1 FROM json_each(?) AS changed "  # noqa: S608
                    "WHERE episodes.id = changed.value ->> 0",
                    (_encode(pairs).decode(),),
                )
        self._insert(
            "episodes (id, fingerprint, alertname, starts_at, first_seen, last_seen, ended_at, told, over)", 9, rows
        )

    async def lose(self, before: Timestamp, now: Timestamp) -> Sequence[Episode]:
        rows = self._all(
            f"UPDATE episodes SET ended_at = ?, lost = 1 WHERE ended_at IS NULL AND last_seen < ? RETURNING {EPISODE}",  # noqa: S608
            now, before,
        )  # fmt: skip
        return [read_episode(row) for row in rows]

    async def count_open(self, fingerprints: Collection[str]) -> int:
        (count,) = self._one(
            "SELECT count(*) FROM episodes WHERE ended_at IS NULL AND fingerprint IN (SELECT value FROM json_each(?))",
            _encode(list(fingerprints)).decode(),
        )
        return int(count)

    async def begun_at(self, newest: int, after: Timestamp | None) -> Timestamp | None:
        # Ids grow with `first_seen`. Mostly so many episodes ago is long ago, and then there are not that many alerts either.
        oldest = self._one("SELECT first_seen FROM episodes ORDER BY id DESC LIMIT 1 OFFSET ?", newest - 1)
        if oldest is None or (after is not None and oldest[0] <= after):
            return None
        seen: set[str] = set()  # a walk back by id meets each alert's newest episode first, and ends with the span
        rows = self.connection.execute("SELECT fingerprint, first_seen FROM episodes WHERE NOT over ORDER BY id DESC")
        for fingerprint, first_seen in rows:
            if after is not None and first_seen <= after:
                break
            seen.add(fingerprint)
            if len(seen) == newest:
                return float(first_seen)
        return None

    async def firing(self, name: str | None = None) -> Sequence[Episode]:
        where, values = ("AND alertname = ?", (name,)) if name is not None else ("", ())
        return [
            read_episode(row)
            for row in self._all(f"SELECT {EPISODE} FROM episodes WHERE ended_at IS NULL {where} ORDER BY id", *values)  # noqa: S608
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

    async def release_deferred(self, rule: str, target: str) -> Sequence[Episode]:
        # What has resolved meanwhile began all the same: it stays, as nobody's, for the guard that counts episodes.
        self.connection.execute(
            "UPDATE decisions INDEXED BY deferred_decisions SET run = '' WHERE run IS NULL AND rule = ? AND target = ? "
            "AND (SELECT ended_at FROM episodes WHERE id = episode) IS NOT NULL",
            (rule, target),
        )
        released = self._all(
            "DELETE FROM decisions INDEXED BY deferred_decisions "
            "WHERE run IS NULL AND rule = ? AND target = ? RETURNING episode",
            rule, target,
        )  # fmt: skip
        if not released:
            return []
        rows = self._all(
            f"SELECT {EPISODE} FROM episodes WHERE ended_at IS NULL AND id IN (SELECT value FROM json_each(?)) ORDER BY id",  # noqa: S608
            _encode([row[0] for row in released]).decode(),
        )
        return [read_episode(row) for row in rows]

    async def hand_over(self, run: str, to: str) -> None:
        self.connection.execute(
            "UPDATE decisions SET run = ?1, target = coalesce(target, (SELECT target FROM runs WHERE id = ?1)) "
            "WHERE run = ?2",
            (to, run),
        )

    async def release(self, run: str) -> Sequence[Episode]:
        firing = self._decided_episodes("decisions.run = ? AND ended_at IS NULL", run)
        for episode in firing:  # what has resolved began all the same: the guard that counts episodes has to see it
            self.connection.execute("DELETE FROM decisions WHERE episode = ? AND run = ?", (episode.id, run))
        return firing

    async def name_target(self, run: str, target: str) -> None:
        self.connection.execute("UPDATE decisions SET target = ?1 WHERE run = ?2 AND target IS NOT ?1", (target, run))

    async def second_chances(self, since: Timestamp, limit: int) -> Sequence[tuple[str, Episode]]:
        # `storm_at` is cleared on every run that is done with, so that the next call doesn't meet it again: a storm may
        # have refused a hundred thousand.
        chances: list[tuple[str, Episode]] = []
        while not chances:
            refused = self._all("SELECT id FROM runs WHERE storm_at >= ? ORDER BY storm_at LIMIT ?", since, limit)
            if not refused:
                break
            runs = _encode([run for (run,) in refused]).decode()
            rows = self._all(
                f"SELECT {EPISODE_OF_JOIN}, decisions.rule FROM decisions JOIN episodes ON episodes.id = decisions.episode "  # noqa: S608
                "WHERE run IN (SELECT value FROM json_each(?)) AND ended_at IS NULL ORDER BY episodes.id LIMIT ?",
                runs, limit,
            )  # fmt: skip
            chances = [(row[-1], read_episode(row)) for row in rows]
            self.connection.execute(
                "DELETE FROM decisions WHERE (episode, rule) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
                (_encode([(episode.id, rule) for rule, episode in chances]).decode(),),
            )
            self.connection.execute(
                "UPDATE runs SET storm_at = NULL WHERE id IN (SELECT value FROM json_each(?)) AND NOT EXISTS "
                "(SELECT 1 FROM decisions JOIN episodes ON episodes.id = decisions.episode "
                "WHERE decisions.run = runs.id AND episodes.ended_at IS NULL)",
                (runs,),
            )
        return chances

    def _decided_episodes(self, where: str, *values: Any) -> list[Episode]:
        rows = self._all(
            f"SELECT {EPISODE_OF_JOIN} FROM decisions JOIN episodes ON episodes.id = decisions.episode "  # noqa: S608
            f"WHERE {where} ORDER BY episodes.id",
            *values,
        )
        return [read_episode(row) for row in rows]
