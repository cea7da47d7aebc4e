"""Climbing: from a remedy that did not help to the next one on the ladder."""

from __future__ import annotations

from remediator.engine.approving import ask
from remediator.engine.moves import Move, Rest, Surroundings, end, in_time, scope_of
from remediator.engine.plan import hash_plan, render_plan
from remediator.engine.waiting import read_ahead
from remediator.execute import Call, Failed, Interrupted, Wait
from remediator.model.run import EventKind, Mode, Phase, Reason, State, lowest
from remediator.model.story import Story
from remediator.rules.rule import Rule
from remediator.rules.templates import TemplateError, UnsafeValue


def climb(story: Story, rule: Rule, around: Surroundings, because: str) -> Story:
    """Go on with the next rung, or end where none is left that may be tried."""
    now, number = around.now, story.run.rung + 1
    if number >= len(rule.rungs):
        return end(story, rule, State.FAILED, (Reason.LADDER, f"the last rung did not help: {because}"))
    in_force = around.standing.mode_in_force(rule, number, story.run.target, around.controls, now)
    mode = lowest(in_force, story.run.mode)  # since it began it may only fall
    if mode in {Mode.OFF, Mode.DRY_RUN}:
        words = f"rung {number} did not help ({because}), and on rung {number + 1} the mode in force is `{mode}`"
        return end(story, rule, State.FAILED, (Reason.LADDER, words))
    story = story.with_run(
        rung=number, mode=mode, phase=Phase.STEPS, reads_ahead=mode is Mode.APPROVE, approved_hash=None,
        verify_since=None, poll=0, poll_at=None, good_since=None,
    )  # fmt: skip
    told = story.tell(EventKind.CLIMBED, now, rule=rule.name, target=story.run.target, rung=number, because=because)
    return _planned(told.move(State.RUNNING, now), rule, around)


def climb_with_leave(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Ask a person for the rung that the run has come to, or go on with what was approved if it is still the same."""
    story, found = read_ahead(story, rule, around)
    if isinstance(found, Call):
        return story, found
    if isinstance(found, Wait):
        return story.rest(in_time(found.until, story, rule), around.now), Rest()
    if isinstance(found, Failed | Interrupted):
        because = f"{found.step.id or found.step.uses} could not be read: {found.step.error}"
        return end(story, rule, State.FAILED, (Reason.STEP, because)), None
    story = _planned(story, rule, around)
    if story.run.ending is not None:
        return story, None
    if story.run.approved_hash == story.run.plan_hash:
        return story.with_run(reads_ahead=False, approved_hash=None), None
    return ask(story, rule, around.now), None


def _planned(story: Story, rule: Rule, around: Surroundings) -> Story:
    """Give the run the plan of the rung that it is on: it shows no other. What has none can't be begun."""
    try:
        plan = render_plan(rule, story.run.rung, scope_of(story, rule, around, planning=True), around.standing.hosts)
    except (TemplateError, UnsafeValue) as error:
        story = story.with_run(plan=None, plan_hash=None)
        return end(story, rule, State.FAILED, (Reason.STEP, str(error)))
    return story.with_run(plan=plan, plan_hash=hash_plan(plan))
