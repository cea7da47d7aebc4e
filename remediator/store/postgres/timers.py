"""The SQL of timers."""

from __future__ import annotations

from collections.abc import Sequence

from remediator.store.postgres.rows import Rows
from remediator.store.protocol import Timer


class TimerRows(Rows):
    """Times that belong to no run yet."""

    async def timers(self) -> Sequence[Timer]:
        rows = await self._all("SELECT name, due_at, about FROM timers ORDER BY name")
        return [Timer(name=name, due_at=due_at, about=about) for name, due_at, about in rows]

    async def set_timer(self, timer: Timer) -> None:
        self.stirred = True
        await self._insert(
            "timers (name, due_at, about)", "text, float8, text", [(timer.name, timer.due_at, timer.about)],
            "ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at, about = excluded.about",
        )  # fmt: skip

    async def drop_timer(self, name: str) -> None:
        await self._change("DELETE FROM timers WHERE name = $1", name)
