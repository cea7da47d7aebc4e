"""Starting: what a daemon does once, before it claims anything.

It looks whether the clock has gone back, and takes up what the daemon that had its place before has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from remediator.actions.children import sweep
from remediator.engine.engine import Engine
from remediator.engine.laying import lay
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
from remediator.model.run import Event
from remediator.model.time import Seconds
from remediator.store.protocol import Transaction

_log = structlog.get_logger("remediator")

_CLOCK_SLACK: Seconds = 5.0  # that the clock may have gone back between two starts (NTP steps)


async def start(engine: Engine, started: Event, before: str | None) -> None:
    """Record the start, pause where the clock can't be trusted, and take over what the worker before left. Raises StoreError."""
    now = engine.clock.now()
    head = await engine.store.view(lambda tx: tx.head())
    behind = 0.0 if head is None else head.at - now
    reason = "the clock is behind the newest record: cooldowns and limits can't be trusted; mend it, then resume"

    async def script(tx: Transaction) -> Sequence[str]:
        await tx.append([started])
        if behind > _CLOCK_SLACK:  # in the same transaction: the next start would compare with this one's record
            pausing = Control(new_id(now), ControlKind.PAUSE, laid_at=now, author="remediator", reason=reason)
            await lay(tx, pausing, now)
        return await tx.take_over(now, before)

    left = await engine.store.transact(script)
    if left:
        swept = await asyncio.to_thread(sweep, left)
        words = "runs were at work when the last daemon ended; they are taken up again"
        _log.warning(words, runs=len(left), programs_ended=swept)
    if behind > _CLOCK_SLACK:
        _log.error(reason, behind_seconds=round(behind))
