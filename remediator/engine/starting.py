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
from remediator.engine.replicas import HEARD, host
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
from remediator.model.run import Event, State
from remediator.model.time import Seconds, Timestamp
from remediator.store.protocol import RunFilter, Transaction

_log = structlog.get_logger("remediator")

_MANY = 10_000
_CLOCK_SLACK: Seconds = 5.0  # that the clock may have gone back between two starts (NTP steps)


async def start(engine: Engine, started: Event, before: str | None) -> None:
    """Record the start, pause where the clock can't be trusted, and take over what the worker before left. Raises StoreError."""
    now = engine.clock.now()
    head = await engine.store.view(lambda tx: tx.head())
    behind = 0.0 if head is None else head.at - now
    reason = "the clock is behind the newest record: cooldowns and limits can't be trusted; mend it, then resume"

    async def script(tx: Transaction) -> tuple[Sequence[str], Sequence[str]]:
        await tx.append([started])
        if behind > _CLOCK_SLACK:  # in the same transaction: the next start would compare with this one's record
            pausing = Control(new_id(now), ControlKind.PAUSE, laid_at=now, author="remediator", reason=reason)
            await lay(tx, pausing, now)
        at_work = await _at_work(tx)
        return await tx.take_over(now, before), at_work if await _alone(tx, now, before) else ()

    left, at_work = await engine.store.transact(script)
    swept = await asyncio.to_thread(sweep, {*left, *at_work}) if left or at_work else 0
    if left or swept:
        words = "runs were at work when the last daemon ended; they are taken up again"
        _log.warning(words, runs=len(left), programs_ended=swept)
    if behind > _CLOCK_SLACK:
        _log.error(reason, behind_seconds=round(behind))


async def _at_work(tx: Transaction) -> Sequence[str]:
    """Name the runs that may have a step at work: another replica may have taken over what a dead one has left here."""
    states = (State.RUNNING, State.VERIFYING)
    return [run.id for state in states for run in await tx.runs(RunFilter(state=state, open_only=True, limit=_MANY))]


async def _alone(tx: Transaction, now: Timestamp, before: str | None) -> bool:
    """Tell whether no other daemon works on this machine, whose programs a sweep would end."""
    return not any(each.host == host() and each.worker != before for each in await tx.replicas(now - HEARD))
