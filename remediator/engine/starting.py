"""Starting: what a daemon does first with a store that another has left, before it claims anything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from remediator.actions.children import sweep
from remediator.engine.breaking import DAEMON
from remediator.engine.engine import Engine
from remediator.engine.laying import lay
from remediator.engine.noticing import Notice
from remediator.engine.replicas import HEARD, host
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
from remediator.model.run import Event, State
from remediator.model.time import Seconds, Timestamp
from remediator.store.protocol import RunFilter, Transaction

_log = structlog.get_logger("remediator")

_MANY = 10_000
_SLACK: Seconds = 60.0  # that the clock may have gone back between two starts (NTP steps)
_BACK = "the clock is behind the newest record: cooldowns and limits can't be trusted; mend it, then resume"
CLOCK_BACK = Notice("pause", f"everything is paused since the start: {_BACK}")


@dataclass(frozen=True, slots=True)
class Start:
    """What was found."""

    left: Sequence[str]  # runs that were at work when the last daemon in our place ended
    strays: Sequence[str]  # runs of which programs may still be about on this machine, whoever has them now
    behind: Seconds  # how far the clock has gone back, if it has


async def start(engine: Engine, started: Event, before: str | None) -> bool:
    """Take over what the worker before us left; tells whether the clock has gone back since. Raises StoreError."""
    found = await engine.store.transact(lambda tx: start_over(tx, started, before))
    runs = {*found.left, *found.strays}
    swept = await asyncio.to_thread(sweep, runs) if runs else 0
    if found.left or swept:
        words = "runs were at work when the last daemon ended; they are taken up again"
        _log.warning(words, runs=len(found.left), programs_ended=swept)
    if found.behind:
        _log.error(CLOCK_BACK.text, behind_seconds=round(found.behind))
    return bool(found.behind)


async def start_over(tx: Transaction, started: Event, before: str | None) -> Start:
    """Take over what the last daemon left; where the clock has gone back since, everything is paused (P17).

    The pause is laid in the same transaction as the record of this start: the next start would compare with that.
    """
    now = started.at
    newest = await tx.newest()
    behind = 0.0 if newest is None else newest - now
    await tx.append([started])
    if behind > _SLACK:
        await lay(tx, Control(new_id(now), ControlKind.PAUSE, laid_at=now, author=DAEMON, reason=_BACK), now)
    await tx.touch(now)
    strays = await _at_work(tx) if await _alone(tx, now, before) else ()
    return Start(await tx.take_over(now, before), strays, behind if behind > _SLACK else 0.0)


async def _at_work(tx: Transaction) -> Sequence[str]:
    """Name the runs that may have a step at work: another replica may have taken over what a dead one has left here."""
    states = (State.RUNNING, State.VERIFYING)
    return [run.id for state in states for run in await tx.runs(RunFilter(state=state, open_only=True, limit=_MANY))]


async def _alone(tx: Transaction, now: Timestamp, before: str | None) -> bool:
    """Tell whether no other daemon works on this machine, whose programs a sweep would end."""
    return not any(each.host == host() and each.worker != before for each in await tx.replicas(now - HEARD))
