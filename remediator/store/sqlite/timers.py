"""The SQL of timers."""

from __future__ import annotations

from collections.abc import Sequence

from remediator.store.protocol import Timer
from remediator.store.sqlite.rows import Rows


class TimerRows(Rows):
    """Times that belong to no run yet."""

    async def timers(self) -> Sequence[Timer]:
        rows = self._all("SELECT name, due_at, about FROM timers ORDER BY name")
        return [Timer(name=name, due_at=due_at, about=about) for name, due_at, about in rows]

    async def set_timer(self, timer: Timer) -> None:
        self._insert(
            "timers (name, due_at, about)", 3, [(timer.name, timer.due_at, timer.about)],
            "ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at, about = excluded.about",
        )  # fmt: skip

    async def drop_timer(self, name: str) -> None:
        self.connection.execute("DELETE FROM timers WHERE name = ?", (name,))
