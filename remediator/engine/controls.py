"""Controls: what a person lays on the daemon or on one run, and lifts again. Each is an event, with its author."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import structlog
from msgspec.structs import replace

from remediator.engine.engine import Engine
from remediator.errors import RemediatorError
from remediator.model.identity import new_id
from remediator.model.run import Control, ControlKind, Event, EventKind, State
from remediator.model.time import Seconds, Timestamp, format_duration
from remediator.store.protocol import Transaction

_log = structlog.get_logger("remediator")


class Impossible(RemediatorError):
    """What was asked of a run can't be done in its state."""


async def pause(
    engine: Engine, author: str, reason: str, *, rule: str | None, target: str | None, span: Seconds | None
) -> Control:
    """Hold everything, one rule, one target or both; for a span, or until somebody resumes. Survives restarts."""
    now = engine.clock.now()
    control = Control(
        id=new_id(now), kind=ControlKind.PAUSE, laid_at=now, author=author, reason=reason, rule=rule, target=target,
        until=None if span is None else now + span,
    )  # fmt: skip
    await engine.store.transact(partial(lay, control=control, now=now))
    _log.warning("paused", by=author, reason=reason, rule=rule, target=target, seconds=span)
    return control


async def resume(
    engine: Engine, author: str, reason: str, *, rule: str | None, target: str | None
) -> Sequence[Control]:
    """Lift the pauses laid on just this (all of everything where neither is given); what they held is looked at again."""

    async def script(tx: Transaction) -> list[Control]:
        laid = [each for each in await tx.controls(now) if each.kind is ControlKind.PAUSE]
        mine = [each for each in laid if (each.rule, each.target) == (rule, target)]
        return [await _lift(tx, control, author, reason, now) for control in mine]

    now = engine.clock.now()
    lifted = await engine.store.transact(script)
    _log.warning("resumed", by=author, reason=reason, rule=rule, target=target, pauses=len(lifted))
    engine.look()
    return lifted


async def lift(engine: Engine, control_id: str, author: str, reason: str) -> Control | None:
    """Lift one pause by its id; None where there is none such in force."""

    async def script(tx: Transaction) -> Control | None:
        for control in await tx.controls(now):
            if control.id == control_id:
                return await _lift(tx, control, author, reason, now)
        return None

    now = engine.clock.now()
    lifted = await engine.store.transact(script)
    _log.warning("resumed", by=author, reason=reason, control=control_id)
    engine.look()
    return lifted


async def cancel(engine: Engine, run_id: str, author: str, reason: str) -> None:
    """Cancel a run; its step at work is ended. Raises Impossible, and KeyError where there is no such run."""
    await _order(engine, ControlKind.CANCEL, run_id, (author, reason), None)
    engine.workers.interrupt(run_id)


async def resolve(engine: Engine, run_id: str, outcome: State, author: str, reason: str) -> None:
    """Settle an unknown run: a person has looked. Raises Impossible, and KeyError where there is no such run."""
    await _order(engine, ControlKind.RESOLVE, run_id, (author, reason), outcome)


async def _order(engine: Engine, kind: ControlKind, run_id: str, by: tuple[str, str], outcome: State | None) -> None:
    async def script(tx: Transaction) -> None:
        story = await tx.run(run_id)
        if story is None:
            raise KeyError(run_id)
        state = story.run.state
        if not state.open:
            raise Impossible(f"run {run_id} has ended already: {state}")
        if story.run.ending is not None:
            raise Impossible(f"run {run_id} is ending already: it will be {story.run.ending}")
        if kind is ControlKind.CANCEL and state is State.UNKNOWN:
            raise Impossible(
                f"run {run_id} is unknown: look at {story.run.target}, then "
                f"`remediator resolve {run_id} --as succeeded|failed --reason …`"
            )
        if kind is ControlKind.RESOLVE and state is not State.UNKNOWN:
            raise Impossible(f"run {run_id} is {state}, and only an unknown run is resolved by hand: cancel it instead")
        author, reason = by
        control = Control(
            id=new_id(now), kind=kind, laid_at=now, author=author, reason=reason, run=run_id, outcome=outcome
        )
        await lay(tx, control, now)
        await tx.wake([run_id], now)

    now = engine.clock.now()
    await engine.store.transact(script)
    _log.warning(f"{kind} ordered", run=run_id, by=by[0], reason=by[1], outcome=outcome)
    engine.look()


async def lay(tx: Transaction, control: Control, now: Timestamp) -> None:
    """Lay a control, and say so in the history: the script under all of these."""
    await tx.lay(control)
    data = {
        "control": control.id, "kind": control.kind, "rule": control.rule, "target": control.target,
        "author": control.author, "reason": control.reason, "outcome": control.outcome,
        "for": None if control.until is None else format_duration(control.until - now),
    }  # fmt: skip
    await tx.append([Event(at=now, kind=EventKind.CONTROL_LAID, run=control.run, data=data)])


async def _lift(tx: Transaction, control: Control, author: str, reason: str, now: Timestamp) -> Control:
    lifted = replace(control, lifted_at=now, lifted_by=author)
    await tx.lift(lifted)
    await tx.wake_held(now)
    data = {"control": control.id, "kind": control.kind, "author": author, "reason": reason}
    await tx.append([Event(at=now, kind=EventKind.CONTROL_LIFTED, run=control.run, data=data)])
    return lifted
