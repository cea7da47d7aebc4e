"""Reverting: a temporary change is taken back by a run of its own, which knows what the run that made it knew."""

from __future__ import annotations

from msgspec.structs import replace

from remediator.engine.moves import Admit, Move, Rest, Surroundings, held
from remediator.model.identity import new_id
from remediator.model.run import EventKind, Mode, Origin, Phase, Reason, Run, State, StepState
from remediator.model.story import Story
from remediator.model.time import Seconds, Timestamp, format_rfc3339
from remediator.rules.rule import Rule
from remediator.store.protocol import Transaction

_LOOK_AGAIN: Seconds = 60.0  # how often a revert that the mode holds is looked at again

_ENDED = {State.SUCCEEDED, State.FAILED, State.CANCELLED}


async def plan_revert(tx: Transaction, before: Run, story: Story, rule: Rule, now: Timestamp) -> Story | None:
    """Propose the revert of a run that has just ended, or move the one that waits. Gives the one proposed.

    There is one at most for a rule and target: a newer success moves it, and what the first run found is what it goes back to.
    """
    run, revert = story.run, rule.revert
    if revert is None or not before.open or run.state not in _ENDED or not run.wrote or run.target is None:
        return None
    if run.origin is Origin.REVERT or _undone(story, rule) or (revert.after is None and not run.by_alert):
        return None
    done = max((step.ended_at for step in story.steps if step.phase is Phase.STEPS and step.ended_at), default=now)
    at = None if revert.after is None else done + revert.after
    waiting = await tx.waiting_revert(rule.name, run.target, drill=run.drill)
    if waiting is not None:
        if run.state is State.SUCCEEDED:
            # It keeps its rule: where this run's has no time of its own, the one that it had stays, lest it is never due.
            at = waiting.revert_at if at is None else at
            await tx.amend(replace(waiting, reverts=run.id, revert_at=at, due_at=now, given=run.given))
        return None
    told = tuple(step for step in story.steps if step.phase in {Phase.FACTS, Phase.STEPS})
    reverting = Run(
        id=new_id(now), rule=run.rule, rule_hash=run.rule_hash, state=State.WAITING, created_at=now,
        opened_by=run.opened_by, origin=Origin.REVERT, given=run.given, priority=run.priority, target=run.target,
        mode=Mode.AUTO, drill=run.drill, rung=run.rung, reason=Reason.REVERT, reverts=run.id, revert_at=at, due_at=now,
        phase=Phase.REVERT,
    )  # fmt: skip
    proposed = Story(run=reverting, alert=story.alert, steps=told, touched=frozenset(step.key for step in told))
    return proposed.tell(
        EventKind.PROPOSED, now, rule=rule.name, rule_hash=rule.hash, target=run.target, mode=reverting.mode,
        priority=run.priority, reverts=run.id, due=at, labels=story.alert.labels,
    )  # fmt: skip


def _undone(story: Story, rule: Rule) -> bool:
    undo = [step for step in story.steps if step.phase is Phase.UNDO]
    done = {StepState.SUCCEEDED, StepState.SKIPPED}
    return bool(undo) and all(step.state in done and step.error is None for step in undo)  # not: cancelled


def waiting_to_revert(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Wait for the first of what the rule names; then for leave to begin."""
    run, now, revert = story.run, around.now, rule.revert
    if revert is None:
        raise AssertionError("a revert of a rule without one")
    resolved = revert.resolved and run.given is None and around.firing == 0
    due = run.revert_at is not None and now >= run.revert_at
    if not resolved and not due:
        when = "when its alerts have resolved" if revert.resolved and run.given is None else ""
        at = "" if run.revert_at is None else f"at {format_rfc3339(run.revert_at)}"
        because = f"what run {run.reverts} did is taken back {' or '.join(filter(None, (when, at)))}"
        return story.rest(run.revert_at, now, Reason.REVERT, because), Rest()
    before = run.reason
    story, pausing = held(story, around)
    if pausing:
        return _tell_held(story, before, now), Rest()
    mode = around.mode(rule, run)
    if mode in {Mode.OFF, Mode.DRY_RUN}:
        because = (
            f"the mode in force is `{mode}`: what run {run.reverts} did to {run.target} is not taken back till it rises"
        )
        return _tell_held(story.rest(now + _LOOK_AGAIN, now, Reason.OFF, because), before, now), Rest()
    return story, Admit()


def _tell_held(story: Story, before: Reason | None, now: Timestamp) -> Story:
    """Say once that what is due is held."""
    run = story.run
    if run.reason is before:
        return story
    return story.tell(
        EventKind.REVERT_HELD, now, rule=run.rule, target=run.target, reverts=run.reverts, because=run.because
    )
