"""The SQL of forgetting: a bounded number of rows at a time, oldest first, so that nothing holds the writer for long."""

from __future__ import annotations

from remediator.model.identity import id_floor
from remediator.model.time import Timestamp
from remediator.store.chain import read_line
from remediator.store.sqlite.rows import Rows

_AT_ONCE = 1000


class RetentionRows(Rows):
    """Prunes what is older than it has to be kept."""

    async def touch(self, now: Timestamp) -> None:
        self._insert(
            "meta (key, value)",
            2,
            [("touched_at", repr(now))],
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )

    async def newest(self) -> Timestamp | None:
        head = self._one("SELECT line FROM events ORDER BY seq DESC LIMIT 1")
        touched = self._one("SELECT value FROM meta WHERE key = 'touched_at'")
        instants = [] if head is None else [read_line(head[0])[0]]
        return max(instants if touched is None else [*instants, float(touched[0])], default=None)

    async def prune(self, runs: Timestamp, notifications: Timestamp, events: Timestamp) -> int:
        return (
            self._change(
                "DELETE FROM notifications WHERE received_at < ? AND seq IN "
                "(SELECT seq FROM notifications ORDER BY seq LIMIT ?)",
                notifications, _AT_ONCE,
            )
            + self._change("DELETE FROM controls WHERE run IS NULL AND lifted_at IS NULL AND until < ?", runs)
            + self._prune_runs(runs)
            + self._prune_events(events)
        )  # fmt: skip

    def _prune_runs(self, before: Timestamp) -> int:
        # A run whose change is still to be taken back stays as long as its revert is open.
        old = self._all(
            "SELECT id FROM runs WHERE id < ? AND ended_at < ? AND NOT EXISTS (SELECT 1 FROM runs AS later "
            "WHERE later.reverts = runs.id AND later.ended_at IS NULL) ORDER BY id LIMIT ?",
            id_floor(before), before, _AT_ONCE,
        )  # fmt: skip
        for (run,) in old:
            self._change("DELETE FROM steps WHERE run = ?", run)
            self._change("DELETE FROM controls WHERE run = ?", run)
            # While an alert still fires, that a rule has taken it up must not be forgotten.
            self._change(
                "DELETE FROM decisions WHERE run = ? AND episode IN (SELECT id FROM episodes WHERE ended_at IS NOT NULL)",
                run,
            )
            self._change("DELETE FROM runs WHERE id = ?", run)
        episodes = self._all(
            "SELECT id FROM episodes WHERE ended_at < ? AND NOT EXISTS (SELECT 1 FROM decisions "
            "JOIN runs ON runs.id = decisions.run WHERE decisions.episode = episodes.id) LIMIT ?",
            before, _AT_ONCE,
        )  # fmt: skip
        for (episode,) in episodes:
            self._change("DELETE FROM decisions WHERE episode = ?", episode)
            self._change("DELETE FROM episodes WHERE id = ?", episode)
        return len(old) + len(episodes)

    def _prune_events(self, before: Timestamp) -> int:
        oldest = self._all("SELECT seq, hash, line ->> 0 FROM events ORDER BY seq LIMIT ?", _AT_ONCE)
        gone = [(seq, hash_) for seq, hash_, at in oldest if at < before]
        if not gone:
            return 0
        seq, hash_ = gone[-1]
        # The checkpoint: the chain goes on from the last line that was pruned.
        self._insert(
            "meta (key, value)", 2, [("base_seq", str(seq)), ("base_hash", hash_)],
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )  # fmt: skip
        return self._change("DELETE FROM events WHERE seq <= ?", seq)

    def _change(self, sql: str, *values: object) -> int:
        return self.connection.execute(sql, values).rowcount
