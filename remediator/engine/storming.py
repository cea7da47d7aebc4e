"""Storming: when too much begins at once, nothing is admitted till a while after it has passed.

A failure that wide is no rule's to mend. Whole bodies are counted before anything of them is decided.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from remediator.engine.breaking import DAEMON
from remediator.engine.laying import lay, look_after_storm
from remediator.engine.noticing import Notice, give_notices
from remediator.model.alert import Alert, AlertStatus
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
from remediator.model.run import Book, Event
from remediator.model.time import Timestamp, format_duration
from remediator.rules.standing import Standing, Storm
from remediator.store.protocol import Transaction


async def watch_for_storm(
    tx: Transaction, standing: Standing, to_come: Sequence[Alert], now: Timestamp, events: list[Event]
) -> bool:
    """Lay a storm, or make the one that is laid last longer. Tells whether anything is due for it.

    `to_come` are the alerts of a large body that the transactions after this one will keep; that a storm was laid is added
    to `events`.
    """
    storm = standing.storm
    if storm is None:
        return False
    fresh = await _fresh(tx, to_come)
    began = await _crossed(tx, storm, fresh, None, now)
    if began is None:
        return False
    laid = next((each for each in await tx.controls(now) if each.kind is ControlKind.STORM), None)
    if laid is None:
        lifted = await tx.last_lifted(ControlKind.STORM, None, Book.LIVE)
        began = await _crossed(tx, storm, fresh, lifted, now)  # what a person has seen and lifted counts no more
        if began is None:
            return False
    until = began + storm.per + storm.hold
    if laid is not None and laid.until is not None and laid.until >= until:
        return False
    if laid is not None:
        await tx.alter(replace(laid, until=until))
        await look_after_storm(tx, until, laid.laid_at)
        return False
    reason = f"a storm: more than {storm.alerts} alerts began to fire within {format_duration(storm.per)}"
    control = Control(id=new_id(now), kind=ControlKind.STORM, laid_at=now, author=DAEMON, reason=reason, until=until)
    events.append(await lay(tx, control, now))
    await look_after_storm(tx, until, now)
    return await give_notices(tx, standing, [Notice("storm", f"{reason}: nothing is admitted till it has passed")], now)


async def _fresh(tx: Transaction, to_come: Sequence[Alert]) -> int:
    firing = {alert.fingerprint for alert in to_come if alert.status is AlertStatus.FIRING}
    return len(firing) - await tx.count_open(firing) if firing else 0


async def _crossed(
    tx: Transaction, storm: Storm, fresh: int, after: Timestamp | None, now: Timestamp
) -> Timestamp | None:
    """Say when the oldest began of just so many alerts that there are one too many in the span; None: there are fewer."""
    nth = storm.alerts + 1 - fresh
    since = now - storm.per if after is None else max(after, now - storm.per)
    return now if nth <= 0 else await tx.begun_at(nth, since)
