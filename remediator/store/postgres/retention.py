"""The SQL of forgetting: a bounded number of rows at a time, oldest first, so that nothing holds the others up for long."""

from __future__ import annotations

from remediator.model.identity import id_floor
from remediator.model.time import Timestamp
from remediator.store.postgres.rows import Rows

_AT_ONCE = 1000


class RetentionRows(Rows):
    """Prunes what is older than it has to be kept."""

    async def touch(self, now: Timestamp) -> None:
        await self._change("UPDATE head SET touched_at = $1", now)

    async def newest(self) -> Timestamp | None:
        row = await self._one(
            "SELECT greatest((SELECT (line::json ->> 0)::float8 FROM events ORDER BY seq DESC LIMIT 1), touched_at) FROM head"
        )
        newest: Timestamp | None = row[0]
        return newest

    async def prune(self, runs: Timestamp, notifications: Timestamp, events: Timestamp) -> int:
        return (
            await self._change(
                "DELETE FROM notifications WHERE received_at < $1 AND seq IN "
                "(SELECT seq FROM notifications ORDER BY seq LIMIT $2)",
                notifications, _AT_ONCE,
            )
            + await self._change("DELETE FROM controls WHERE run IS NULL AND lifted_at IS NULL AND until < $1", runs)
            + await self._prune_runs(runs)
            + await self._prune_events(events)
        )  # fmt: skip

    async def _prune_runs(self, before: Timestamp) -> int:
        # A run whose change is still to be taken back stays as long as its revert is open.
        rows = await self._all(
            "SELECT id FROM runs WHERE id < $1 AND ended_at < $2 AND NOT EXISTS (SELECT 1 FROM runs AS later "
            "WHERE later.reverts = runs.id AND later.ended_at IS NULL) ORDER BY id LIMIT $3",
            id_floor(before), before, _AT_ONCE,
        )  # fmt: skip
        old = [run for (run,) in rows]
        if old:
            await self._change("DELETE FROM steps WHERE run = ANY($1::text[])", old)
            await self._change("DELETE FROM controls WHERE run = ANY($1::text[])", old)
            # While an alert still fires, that a rule has taken it up must not be forgotten.
            await self._change(
                "DELETE FROM decisions USING episodes WHERE run = ANY($1::text[]) AND episodes.id = episode "
                "AND episodes.ended_at IS NOT NULL",
                old,
            )
            await self._change("DELETE FROM runs WHERE id = ANY($1::text[])", old)
        done = await self._all(
            "SELECT id FROM episodes WHERE ended_at < $1 AND NOT EXISTS (SELECT 1 FROM decisions "
            "JOIN runs ON runs.id = decisions.run WHERE decisions.episode = episodes.id) LIMIT $2",
            before, _AT_ONCE,
        )  # fmt: skip
        episodes = [episode for (episode,) in done]
        await self._change("DELETE FROM decisions WHERE episode = ANY($1::bigint[])", episodes)
        await self._change("DELETE FROM episodes WHERE id = ANY($1::bigint[])", episodes)
        await self._change("DELETE FROM replicas WHERE seen_at < $1", before)
        await self._change("DELETE FROM commits WHERE at < $1", before)
        return len(old) + len(episodes)

    async def _prune_events(self, before: Timestamp) -> int:
        oldest = await self._all(
            "SELECT seq, chain, number, hash, (line::json ->> 0)::float8 FROM events ORDER BY seq LIMIT $1", _AT_ONCE
        )
        last = max((seq for seq, *_, at in oldest if at < before), default=None)
        if last is None:
            return 0
        # The checkpoints: each chain goes on from its last line that was pruned. The times of several daemons need not be in
        # order, and a line that is no older than asked goes with those after it that are.
        ends = {chain: (number, hash_) for seq, chain, number, hash_, _ in oldest if seq <= last}
        for chain, (number, hash_) in ends.items():
            await self._change(
                "UPDATE chains SET base_number = $1, base_hash = $2 WHERE chain = $3", number, hash_, chain
            )
        return await self._change("DELETE FROM events WHERE seq <= $1", last)
