"""Laying: the scripts under every control. Each is an event, with its author."""

from __future__ import annotations

from msgspec.structs import replace

from remediator.model.control import Control, ControlKind
from remediator.model.run import Event, EventKind
from remediator.model.time import Timestamp, format_duration
from remediator.store.protocol import Timer, Transaction

STORM_TIMER = "storm"


async def lay(tx: Transaction, control: Control, now: Timestamp) -> Event:
    """Lay a control, and say so in the history: gives that event."""
    await tx.lay(control)
    data = {
        "control": control.id, "kind": control.kind, "rule": control.rule, "target": control.target,
        "author": control.author, "reason": control.reason, "outcome": control.outcome, "mode": control.mode,
        "plan_hash": control.plan_hash,
        "for": None if control.until is None else format_duration(control.until - now),
    }  # fmt: skip
    event = Event(at=now, kind=EventKind.CONTROL_LAID, run=control.run, data=data)
    await tx.append([event])
    return event


async def look_after_storm(tx: Transaction, at: Timestamp, laid_at: Timestamp) -> None:
    """Say when what a storm has stopped is taken up anew; from an earlier storm on, if that has not been done for it."""
    before = next((timer for timer in await tx.timers() if timer.name == STORM_TIMER), None)
    await tx.set_timer(Timer(STORM_TIMER, at, repr(laid_at) if before is None else before.about))


async def lift(tx: Transaction, control: Control, author: str, reason: str, now: Timestamp) -> Control:
    """Lift a control, say so, and wake what it held."""
    lifted = replace(control, lifted_at=now, lifted_by=author)
    await tx.alter(lifted)
    await tx.wake_held(now)
    if control.kind is ControlKind.STORM:
        await look_after_storm(tx, now, control.laid_at)
    data = {"control": control.id, "kind": control.kind, "author": author, "reason": reason}
    await tx.append([Event(at=now, kind=EventKind.CONTROL_LIFTED, run=control.run, data=data)])
    return lifted
