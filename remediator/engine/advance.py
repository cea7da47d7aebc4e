"""What a run does next: one pure function, from a story and its surroundings to the story further on and an effect.

`advance` goes on until the world has to do something: an action to call, a time or a person to wait for, or the books to be
read for admission. The daemon, dry-run and the explainer all drive this same function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from remediator.actions.protocol import Effect as ActionEffect
from remediator.engine.approving import awaiting
from remediator.engine.climbing import climb, climb_with_leave
from remediator.engine.moves import (
    Effect,
    Ended,
    Move,
    Rest,
    Surroundings,
    by,
    cancelled,
    end,
    go,
    held,
    in_time,
    late,
    order,
)
from remediator.engine.waiting import check_again, forget_reads, waiting
from remediator.execute import Call, Course, Failed, Interrupted, Next, Wait
from remediator.model.control import Control, ControlKind
from remediator.model.run import EventKind, Mode, Origin, Phase, Reason, State, Step, StepState
from remediator.model.story import Story
from remediator.model.time import Seconds, Timestamp, format_duration
from remediator.rules.rule import Rule, Verify
from remediator.verify import Judgement, doubts, judge, passed, verdict

_UNKNOWN_EVERY: Seconds = 60.0  # how often an unknown run's checks are polled once `within` has passed


def advance(story: Story, rule: Rule, around: Surroundings) -> tuple[Story, Effect]:
    """Take a story as far as it goes without the world. Pure; never called while a step of the run is at work."""
    while story.run.open:
        doubt = _in_doubt(story)
        if doubt is not None:
            story = _unsure(story, doubt, around.now)  # before anything else: no deadline and no order undoes a doubt
        stage = _follow_up if story.run.ending is not None else _STAGES[story.run.state]
        story, effect = stage(story, rule, around)
        if isinstance(effect, Call) and story.run.ending is None and story.run.state is not State.UNKNOWN:
            # At work: a pause or a `for` that is over is no longer its reason.
            story = story.with_run(reason=Reason.FACTS if story.run.state is State.WAITING else None, because=None)
        if effect is not None:
            return story, effect
    return story, Ended()


def _in_doubt(story: Story) -> Step | None:
    """Give a step that must not be repeated, was begun, and has no recorded end."""
    if not story.run.state.at_work:
        return None
    return next(
        (
            step
            for phase in (Phase.STEPS, Phase.UNDO, Phase.REVERT)
            for step in story.of(phase)
            if step.state is StepState.STARTED and not step.repeatable
        ),
        None,
    )


def _unsure(story: Story, step: Step, now: Timestamp) -> Story:
    lost = replace(step, state=StepState.INTERRUPTED, error=f"{step.uses} was begun, and how it ended is not known")
    run = story.run
    because = (
        f"step {step.id or step.uses}: {lost.error}: look at {run.target}, then "
        f"`remediator resolve {run.id} --as succeeded|failed --reason …`"
    )
    story = story.record(lost, now).with_run(
        ending=None, phase=step.phase, verify_since=now, poll=story.run.poll + 1, poll_at=now, good_since=None
    )
    return story.move(State.UNKNOWN, now, Reason.INTERRUPTED, because)


def _running(story: Story, rule: Rule, around: Surroundings) -> Move:
    paused = story.run.paused_since is not None
    story, effect, interrupted = _stopped(story, rule, around)
    if interrupted:
        return story, effect
    if paused and story.run.origin not in {Origin.REVERT, Origin.NOTICE}:
        story = _unread(story, rule) if not story.run.wrote else _resumed(story, around.now)
    now, run = around.now, story.run
    reverting = run.origin is Origin.REVERT
    mode = around.mode(rule, run)
    if mode in {Mode.OFF, Mode.DRY_RUN} and mode.rank < run.mode.rank and not reverting:
        because = f"the mode in force became `{mode}`: nothing more is begun"
        return story.move(State.CANCELLED, now, Reason.OFF, because), None
    if rule.when_resolved == "cancel" and around.resolved(run) and not run.dry:
        return story.move(State.CANCELLED, now, Reason.RESOLVED, "all its alerts have resolved"), None
    if run.phase is Phase.FACTS:
        return check_again(story, rule, around)
    if run.reads_ahead:
        return climb_with_leave(story, rule, around)
    phase = Phase.REVERT if reverting else Phase.STEPS
    steps = rule.list_for(phase, run.rung)
    course = Course(phase, steps, dry=run.dry, rung=run.rung, hosts=around.standing.hosts)
    story, found = go(story, course, rule, around)
    story = _started(story, phase, found, now)
    if isinstance(found, Call):
        return story, found
    if isinstance(found, Wait):
        return story.rest(in_time(found.until, story, rule), now), Rest()
    if isinstance(found, Failed | Interrupted):
        overdue = late(story, rule, now)
        because = f"step {found.step.id or found.step.uses}: {found.step.error}"
        return end(story, rule, State.FAILED, (Reason.DEADLINE if overdue else Reason.STEP, because)), None
    if run.dry:
        # In its books it counts as one that began: the next dry run cools down as a live one would.
        story = story.with_run(started_at=story.run.started_at if story.run.started_at is not None else now)
        return story.move(State.PLANNED, now, None, "dry-run: everything but the writing was done"), None
    if reverting or rule.rungs[run.rung].verify is None:
        return end(story, rule, State.SUCCEEDED, (None, None)), None
    story = story.with_run(phase=Phase.VERIFY, verify_since=now, poll=1, poll_at=now, good_since=None)
    return story.move(State.VERIFYING, now), None


def _unread(story: Story, rule: Rule) -> Story:
    """Take a run that has written nothing back to its facts: the world may have changed while a pause held it."""
    run, story = story.run, forget_reads(story, rule)
    if run.mode is Mode.APPROVE and not run.reads_ahead:
        story = story.with_run(
            reads_ahead=True, approved_hash=run.plan_hash
        )  # it was approved, and is if it stays the same
    return story.with_run(phase=Phase.FACTS)


def _resumed(story: Story, now: Timestamp) -> Story:
    """Say that a run goes on unchecked after a pause: half-done work is worse than finished."""
    run, because = story.run, "goes on after the pause, and is not checked again: it had begun to write"
    return story.tell(
        EventKind.MOVED, now, rule=run.rule, target=run.target, to=run.state, reason=None, because=because
    )


def _started(story: Story, phase: Phase, found: Next, now: Timestamp) -> Story:
    """Note that a first step has started, be it a timer or one that was read before a person was asked."""
    run = story.run
    writes = isinstance(found, Call) and found.rule.effect is ActionEffect.WRITE
    if run.started_at is None and any(step.started_at is not None for step in story.of(phase)):
        return story.with_run(started_at=now, wrote=run.wrote or writes)
    return story.with_run(wrote=True) if writes else story


def _verifying(story: Story, rule: Rule, around: Surroundings) -> Move:
    now = around.now
    story, effect, interrupted = _stopped(story, rule, around)
    if interrupted:
        return story, effect
    verify = rule.rungs[story.run.rung].verify or Verify()
    story, effect, polled = _poll(story, rule, verify, around)
    if effect is not None or polled is None:
        return story, effect
    judgement, words = polled
    if judgement is Judgement.HOLDS and passed(verify, story.run, now):
        return end(story, rule, State.SUCCEEDED, (None, None)), None
    over = verdict(verify, story.run, judgement, now)
    if over is not None:
        reason, because = over
        if reason is Reason.VERIFY and rule.ladder:
            return climb(story, rule, around, f"{because}: {words}"), None
        return end(story, rule, State.FAILED, (reason, f"{because}: {words}")), None
    until = (story.run.verify_since or now) + verify.within
    return _next_poll(story, rule, min(now + verify.every, until), now), Rest()


def _unknown(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Open till verification proves it good or a person resolves it."""
    now = around.now
    ordered = order(around, ControlKind.RESOLVE)
    if ordered is not None and ordered.outcome is not None:
        return story.move(ordered.outcome, now, Reason.OPERATOR, by(ordered)), None
    story, pausing = held(story, around)
    if pausing:
        return story, Rest()
    verify = rule.rungs[story.run.rung].verify
    if verify is None or story.run.phase in {Phase.UNDO, Phase.REVERT}:
        return story.rest(None, now, story.run.reason, story.run.because), Rest()
    story, effect, polled = _poll(story, rule, verify, around)
    if effect is not None or polled is None:
        return story, effect
    judgement, _ = polled
    if judgement is Judgement.HOLDS and passed(verify, story.run, now):
        return end(story, rule, State.SUCCEEDED, (Reason.INTERRUPTED, "verification has proved it good")), None
    young = now - (story.run.verify_since or now) < verify.within
    every = verify.every if young else max(verify.every, _UNKNOWN_EVERY)
    return _next_poll(story, rule, now + every, now), Rest()


def _follow_up(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Run what follows from an ending that is decided: `undo`, then `on_failure`; or `on_success`, or `on_blocked`."""
    now, run = around.now, story.run
    ordered = order(around, ControlKind.CANCEL)
    if ordered is not None:
        return _cut_short(story, rule, ordered, now), None
    story, pausing = held(story, around)
    if pausing:
        return story, Rest()
    steps = rule.list_for(run.phase, min(run.rung, len(rule.rungs) - 1))
    course = Course(run.phase, steps, dry=run.dry, rung=run.rung, hosts=around.standing.hosts)
    story, found = go(story, course, rule, around)
    if isinstance(found, Call):
        return story, found
    if isinstance(found, Wait):
        return story.with_run(due_at=found.until), Rest()
    if run.phase is Phase.UNDO:
        return story.with_run(phase=Phase.ON_FAILURE), None
    return _as_decided(story, now), None


def _cut_short(story: Story, rule: Rule, ordered: Control, now: Timestamp) -> Story:
    """Skip what is left to follow, `on_failure` after `undo` too: the run ends as it was decided to."""
    run = story.run
    because = f"a person has cancelled it ({by(ordered)})"
    for phase in (Phase.UNDO, Phase.ON_FAILURE) if run.phase is Phase.UNDO else (run.phase,):
        known = story.of(phase)
        for step in known:  # a timer, or a step whose end a daemon did not live to record
            if step.state is StepState.STARTED:
                story = story.record(replace(step, state=StepState.INTERRUPTED, ended_at=now, error=because), now)
        begun = {step.position for step in known}
        for position, each in enumerate(rule.list_for(phase, min(run.rung, len(rule.rungs) - 1))):
            if position not in begun:
                left = Step(
                    phase=phase, position=position, item=0, attempt=1, uses=each.uses, id=each.id,
                    state=StepState.SKIPPED, error=because, rung=run.rung,
                )  # fmt: skip
                story = story.record(left, now)
    return _as_decided(story, now)


def _as_decided(story: Story, now: Timestamp) -> Story:
    run = story.run
    if run.ending is None:
        raise AssertionError("a follow-up without an ending")
    return story.move(run.ending, now, run.reason, run.because)


def _stopped(story: Story, rule: Rule, around: Surroundings) -> tuple[Story, Effect | None, bool]:
    """Look at what stops a run at work before its next step: an order, a pause, the deadline. Tells whether one does."""
    over = cancelled(story, around)
    if over is not None:
        return over, None, True
    story, pausing = held(story, around)
    if pausing:
        return story, Rest(), True
    if late(story, rule, around.now):
        because = f"not done within its deadline of {format_duration(rule.deadline)}"
        return end(story, rule, State.FAILED, (Reason.DEADLINE, because)), None, True
    return story, None, False


def _poll(
    story: Story, rule: Rule, verify: Verify, around: Surroundings
) -> tuple[Story, Effect | None, tuple[Judgement, str] | None]:
    """Poll all checks once. Gives an effect while that isn't done, then what the poll came to, in words too."""
    run, now = story.run, around.now
    resolved_check = around.standing.resolved_check if run.by_alert else None
    # A run that no alert opened has none to resolve: that proves nothing.
    by_webhook = verify.resolved and resolved_check is None and run.by_alert
    resolved = around.firing == 0 if by_webhook else None
    unheard = resolved is True and around.lost > 0  # gone quiet is not resolved
    if run.poll_at is not None and now < run.poll_at and not (resolved and run.good_since is None):
        return _rest_between_polls(story, rule, run.poll_at, now), Rest(), None
    checks = verify.checks
    if verify.resolved and resolved_check is not None:
        checks = (*checks, resolved_check)
    if run.poll_at is not None and now - run.poll_at > max(verify.every, verify.stable_for):
        story = story.with_run(good_since=None)  # nobody has looked since: what held then proves nothing now
    course = Course(
        Phase.VERIFY, checks, rung=run.rung, first_attempt=run.poll, to_the_end=True, hosts=around.standing.hosts
    )
    story, found = go(story, course, rule, around)
    if isinstance(found, Call):
        return story, found, None
    if isinstance(found, Wait):
        return _rest_between_polls(story, rule, found.until, now), Rest(), None
    polled = tuple(step for step in story.of(Phase.VERIFY) if step.attempt >= run.poll)
    judgement = judge(polled, resolved, unheard=unheard)
    before = story.run.good_since
    good_since = (before if before is not None else now) if judgement is Judgement.HOLDS else None
    return story.with_run(good_since=good_since), None, (judgement, doubts(polled, resolved))


def _next_poll(story: Story, rule: Rule, at: Timestamp, now: Timestamp) -> Story:
    run, verify = story.run, rule.rungs[story.run.rung].verify or Verify()
    if run.good_since is not None:
        at = min(at, run.good_since + verify.stable_for)
    return _rest_between_polls(story.with_run(poll=run.poll + 1, poll_at=at), rule, at, now)


def _rest_between_polls(story: Story, rule: Rule, until: Timestamp, now: Timestamp) -> Story:
    if story.run.state is State.UNKNOWN:  # open for as long as it takes: no deadline counts
        return story.rest(until, now, Reason.INTERRUPTED, story.run.because)
    return story.rest(in_time(until, story, rule), now)


_STAGES: Mapping[State, Callable[[Story, Rule, Surroundings], Move]] = {
    State.WAITING: waiting,
    State.AWAITING_APPROVAL: awaiting,
    State.RUNNING: _running,
    State.VERIFYING: _verifying,
    State.UNKNOWN: _unknown,
}
