"""Controls: what a person lays on the daemon or on one run, and lifts again. Each is an event, with its author."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from remediator.engine import record
from remediator.engine.approving import approvals
from remediator.engine.engine import Engine
from remediator.engine.laying import lay
from remediator.engine.laying import lift as undo
from remediator.engine.moves import pause_so_far
from remediator.engine.noticing import Notice, give_notices
from remediator.engine.occasions import Occasion, propose
from remediator.errors import RemediatorError
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
from remediator.model.run import State
from remediator.model.time import Seconds, format_rfc3339
from remediator.store.protocol import Transaction

_log = structlog.get_logger("remediator")


class Impossible(RemediatorError):
    """What was asked of a run can't be done in its state."""


async def pause(
    engine: Engine, author: str, reason: str, *, rule: str | None, target: str | None, span: Seconds | None
) -> Control:
    """Hold everything, one rule, one target or both; for a span, or until somebody resumes. Survives restarts."""
    standing = engine.desk.standing

    async def script(tx: Transaction) -> Control:
        now = engine.clock.now()
        control = Control(
            id=new_id(now), kind=ControlKind.PAUSE, laid_at=now, author=author, reason=reason, rule=rule, target=target,
            until=None if span is None else now + span,
        )  # fmt: skip
        await lay(tx, control, now)
        await tx.wake_held(now)  # what rests notes the time: a pause is nobody's delay
        till = f"`remediator resume --control {control.id}`" if control.until is None else format_rfc3339(control.until)
        text = f"paused by {author}: {reason}: {_on(control)} is held till {till}"
        await give_notices(tx, standing, [Notice("pause", text)], now)
        return control

    control = await engine.store.transact(script)
    engine.look()
    _log.warning("paused", by=author, reason=reason, rule=rule, target=target, seconds=span)
    return control


def _on(control: Control) -> str:
    named = (("rule", control.rule), ("target", control.target))
    return " on ".join(f"{what} {name}" for what, name in named if name is not None) or "everything"


async def resume(
    engine: Engine, author: str, reason: str, *, rule: str | None, target: str | None
) -> Sequence[Control]:
    """Lift the pauses laid on just this (all of everything where neither is given); what they held is looked at again."""

    async def script(tx: Transaction) -> list[Control]:
        now = engine.clock.now()
        laid = [each for each in await tx.controls(now) if each.kind is ControlKind.PAUSE]
        mine = [each for each in laid if (each.rule, each.target) == (rule, target)]
        return [await undo(tx, control, author, reason, now) for control in mine]

    lifted = await engine.store.transact(script)
    _log.warning("resumed", by=author, reason=reason, rule=rule, target=target, pauses=len(lifted))
    engine.look()
    return lifted


async def lift(engine: Engine, control_id: str, author: str, reason: str) -> Control | None:
    """Lift what is laid on everything, a rule or a target, by its id; None where there is no such control in force."""

    async def script(tx: Transaction) -> Control | None:
        now = engine.clock.now()
        for control in await tx.controls(now):
            if control.id == control_id:
                return await undo(tx, control, author, reason, now)
        return None

    lifted = await engine.store.transact(script)
    if lifted is not None:
        _log.warning(f"{lifted.kind} lifted", by=author, reason=reason, control=control_id)
        engine.look()
    return lifted


async def lay_mode(engine: Engine, control: Control) -> Control:
    """Lay the highest mode that may be in force, on everything, a rule, a target; for a span, or until it is lifted."""

    async def script(tx: Transaction) -> None:
        now = engine.clock.now()
        await lay(tx, control, now)
        await tx.wake_held(now)

    await engine.store.transact(script)
    engine.look()
    _log.warning(
        f"mode {control.mode} laid", by=control.author, reason=control.reason, rule=control.rule, target=control.target
    )
    return control


async def by_hand(engine: Engine, rule_name: str, occasion: Occasion) -> str:
    """Propose a run of a rule by hand, or as a drill, and give its id. Raises KeyError, and NotProposed with the reason."""
    rule = engine.desk.rules.by_name[rule_name]
    story = await engine.store.transact(
        lambda tx: propose(tx, rule, occasion, engine.desk.standing, engine.clock.now())
    )
    record.tell_story(story)
    engine.look()
    return story.run.id


async def approve(engine: Engine, run_id: str, plan_hash: str, person: str, reason: str) -> None:
    """Approve one plan of one run, in a person's name. Raises Impossible, and KeyError where there is no such run.

    The person is whom the caller has proved it to be; who may approve is the rule's to say.
    """
    await _answer(engine, ControlKind.APPROVE, run_id, (person, reason), plan_hash)


async def reject(engine: Engine, run_id: str, person: str, reason: str) -> None:
    """Say no to what a run asks for. Raises Impossible, and KeyError where there is no such run."""
    await _answer(engine, ControlKind.REJECT, run_id, (person, reason), None)


async def _answer(engine: Engine, kind: ControlKind, run_id: str, by: tuple[str, str], plan_hash: str | None) -> None:
    person, reason = by
    asked = await engine.store.view(lambda tx: tx.run(run_id))
    if asked is None:
        raise KeyError(run_id)
    rule = await engine.desk.rule_of(asked.run, engine.store)

    async def script(tx: Transaction) -> None:
        now = engine.clock.now()
        story = await tx.run(run_id)
        if story is None:
            raise KeyError(run_id)
        run = story.run
        if run.state is not State.AWAITING_APPROVAL:
            raise Impossible(f"run {run_id} asks nobody: it is {run.state}")
        held = pause_so_far(run, now)  # uses up nobody's time to answer
        if run.ending is not None or (run.ask_until is not None and now >= run.ask_until + held):
            raise Impossible(f"run {run_id} asked till {format_rfc3339(run.ask_until or now)}, and that has passed")
        named = rule.rungs[run.rung].approval.approvers
        if named and person not in named:
            raise Impossible(
                f"{person} is not among the approvers of {run.rule}: one of {', '.join(named)} has to answer, "
                "with a token of their own"
            )
        if kind is ControlKind.APPROVE and plan_hash != run.plan_hash:
            raise Impossible(
                f"this is not the plan that run {run_id} asks about now: look at it again with `remediator show`"
            )
        if kind is ControlKind.APPROVE and person in approvals(run, await tx.controls(now, run_id)):
            raise Impossible(f"{person} has approved this plan already, and it takes others too")
        control = Control(
            id=new_id(now), kind=kind, laid_at=now, author=person, reason=reason, run=run_id, plan_hash=plan_hash
        )
        await lay(tx, control, now)
        await tx.wake([run_id], now)

    await engine.store.transact(script)
    _log.warning(f"{kind} of a run", run=run_id, by=person, reason=reason, plan=plan_hash)
    engine.look()


async def cancel(engine: Engine, run_id: str, author: str, reason: str) -> None:
    """Cancel a run; its step at work is ended. Raises Impossible, and KeyError where there is no such run.

    Where its end is decided already it keeps that end, and what was still to follow is skipped.
    """
    await _order(engine, ControlKind.CANCEL, run_id, (author, reason), None)
    engine.workers.interrupt(run_id)


async def resolve(engine: Engine, run_id: str, outcome: State, author: str, reason: str) -> None:
    """Settle an unknown run: a person has looked. Raises Impossible, and KeyError where there is no such run."""
    await _order(engine, ControlKind.RESOLVE, run_id, (author, reason), outcome)


async def _order(engine: Engine, kind: ControlKind, run_id: str, by: tuple[str, str], outcome: State | None) -> None:
    async def script(tx: Transaction) -> None:
        now = engine.clock.now()
        story = await tx.run(run_id)
        if story is None:
            raise KeyError(run_id)
        state = story.run.state
        if not state.open:
            raise Impossible(f"run {run_id} has ended already: {state}")
        if story.run.ending is not None and kind is not ControlKind.CANCEL:
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

    await engine.store.transact(script)
    _log.warning(f"{kind} ordered", run=run_id, by=by[0], reason=by[1], outcome=outcome)
    engine.look()
