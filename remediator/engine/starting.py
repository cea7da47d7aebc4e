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
from remediator.store.chain import Head
from remediator.store.protocol import RunFilter, Transaction

_log = structlog.get_logger("remediator")

_MANY = 10_000
_SLACK: Seconds = 60.0  # that the clock may have gone back between two starts (NTP steps)
_BACK = "the clock is behind the newest record: cooldowns and limits can't be trusted; mend it, then resume"
_OLDER = (
    "the store has lost history that it had, as one restored from an older backup: what was done since is forgotten, so that "
    "cooldowns and limits can't be trusted; look what is in force, then resume"
)


@dataclass(frozen=True, slots=True)
class Start:
    """What was found."""

    left: Sequence[str]  # runs that were at work when the last daemon in our place ended
    strays: Sequence[str]  # runs of which programs may still be about on this machine, whoever has them now
    distrust: str | None  # why everything is paused, if it is


async def start(engine: Engine, started: Event, before: str | None, head: Head | None) -> Notice | None:
    """Take over what the worker before us left; gives what is to be told of the pause with which we begin, if so.

    `head` is how far the history had got as far as is known beside the store. Raises StoreError.
    """
    found = await engine.store.transact(lambda tx: start_over(tx, started, before, head))
    runs = {*found.left, *found.strays}
    swept = await asyncio.to_thread(sweep, runs) if runs else 0
    if found.left or swept:
        words = "runs were at work when the last daemon ended; they are taken up again"
        _log.warning(words, runs=len(found.left), programs_ended=swept)
    if found.distrust is None:
        return None
    notice = Notice("pause", f"everything is paused since the start: {found.distrust}")
    _log.error(notice.text)
    return notice


async def start_over(tx: Transaction, started: Event, before: str | None, head: Head | None) -> Start:
    """Take over what the last daemon left; where the clock or the history has gone back since, everything is paused (P17).

    The pause is laid in the same transaction as the record of this start: the next start would compare with that.
    """
    now = started.at
    newest = await tx.newest()
    distrust = _BACK if newest is not None and newest - now > _SLACK else None
    if head is not None and not await tx.remembers(head):
        distrust = _OLDER
    await tx.append([started])
    if distrust is not None:
        await lay(tx, Control(new_id(now), ControlKind.PAUSE, laid_at=now, author=DAEMON, reason=distrust), now)
    await tx.touch(now)
    strays = await _at_work(tx) if await _alone(tx, now, before) else ()
    return Start(await tx.take_over(now, before), strays, distrust)


async def _at_work(tx: Transaction) -> Sequence[str]:
    """Name the runs that may have a step at work: another replica may have taken over what a dead one has left here."""
    states = (State.RUNNING, State.VERIFYING)
    return [run.id for state in states for run in await tx.runs(RunFilter(state=state, open_only=True, limit=_MANY))]


async def _alone(tx: Transaction, now: Timestamp, before: str | None) -> bool:
    """Tell whether no other daemon works on this machine, whose programs a sweep would end."""
    return not any(each.host == host() and each.worker != before for each in await tx.replicas(now - HEARD))
