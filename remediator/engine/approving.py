"""Approving: a person is asked before a plan is carried out, and a run waits for the answer.

An approval is for one plan: it carries the plan's hash, counts only if it was given after the person was asked, and once it
has let the run go on, everything is read again: a plan that has changed since is asked about again.
"""

from __future__ import annotations

from collections.abc import Sequence

from remediator.engine.moves import Move, Rest, Surroundings, by, cancelled, end, held, order
from remediator.engine.waiting import forget_reads, gone
from remediator.model.control import Control, ControlKind
from remediator.model.run import EventKind, Mode, Phase, Reason, Run, State
from remediator.model.story import Story
from remediator.model.time import Timestamp, format_duration, format_rfc3339
from remediator.rules.rule import Approval, Rule


def ask(story: Story, rule: Rule, now: Timestamp) -> Story:
    """Ask for the plan that the run holds now."""
    run, approval = story.run, rule.rungs[story.run.rung].approval
    story = story.with_run(
        asked_at=now, ask_until=now + approval.timeout, approved_hash=None, due_at=now + approval.timeout
    )
    again = "the plan has changed since it was approved; " if run.approved_hash is not None else ""
    told = story.tell(
        EventKind.ASKED, now, rule=rule.name, target=run.target, plan_hash=run.plan_hash, rung=run.rung,
        approvers=approval.approvers, quorum=approval.quorum, until=now + approval.timeout,
    )  # fmt: skip
    return told.move(State.AWAITING_APPROVAL, now, Reason.APPROVAL, again + _question(story.run, approval, ()))


def awaiting(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Wait for the answer: go on when enough have approved this very plan, end when one rejects it or nobody answers."""
    over = cancelled(story, around)
    if over is None and story.run.admitted_at is None:
        over = gone(story, around)
    if over is not None:
        return over, None
    run, now = story.run, around.now
    if around.resolved(run):
        because = "all its alerts have resolved while a person was asked for the next rung"
        return story.move(State.CANCELLED, now, Reason.RESOLVED, because), None
    mode = around.mode(rule, run)
    if mode is Mode.OFF:
        return story.move(
            State.CANCELLED, now, Reason.OFF, "the mode in force became `off` while a person was asked"
        ), None
    if mode is Mode.DRY_RUN and run.admitted_at is None:
        return _again(story, rule, now).move(State.WAITING, now), None
    story, pausing = held(story, around)
    if pausing:
        return story, Rest()
    run = story.run  # what a pause took is not counted
    rejected = order(around, ControlKind.REJECT)
    if rejected is not None and _since_asked(rejected, run):
        return _refused(story, rule, Reason.REJECTED, f"rejected by {by(rejected)}", now), None
    approval = rule.rungs[run.rung].approval
    given = approvals(run, around.controls)
    if len(given) >= approval.quorum:
        story = _again(story, rule, now).with_run(approved_hash=run.plan_hash)
        return story.move(State.WAITING if run.admitted_at is None else State.RUNNING, now), None
    if run.ask_until is not None and now >= run.ask_until:
        because = f"not approved within {format_duration(approval.timeout)}"
        return _refused(story, rule, Reason.EXPIRED, because, now), None
    asked_before = (
        run.because if run.reason is Reason.APPROVAL and not given else None
    )  # that may say why it asks again
    return story.rest(run.ask_until, now, Reason.APPROVAL, asked_before or _question(run, approval, given)), Rest()


def approvals(run: Run, controls: Sequence[Control]) -> tuple[str, ...]:
    """Give who has approved the plan that is asked about now, each person once."""
    given = (
        control.author
        for control in controls
        if control.kind is ControlKind.APPROVE and control.plan_hash == run.plan_hash and _since_asked(control, run)
    )
    return tuple(dict.fromkeys(given))


def _since_asked(control: Control, run: Run) -> bool:
    return run.asked_at is not None and control.laid_at >= run.asked_at


def _again(story: Story, rule: Rule, now: Timestamp) -> Story:
    """Forget what was read: it is read again before anything is done. The time that people took is no delay of the run's."""
    asked = story.run.asked_at if story.run.asked_at is not None else now
    waited = now - asked if story.run.admitted_at is not None else 0.0
    story = story.with_run(asked_at=None, ask_until=None, due_at=None, paused_for=story.run.paused_for + waited)
    return forget_reads(story, rule)


def _refused(story: Story, rule: Rule, reason: Reason, because: str, now: Timestamp) -> Story:
    """End a run that nobody let go on. On a ladder it has acted already, and did not help."""
    run = story.run
    if run.admitted_at is not None and (run.rung or run.phase is not Phase.FACTS):
        return end(story, rule, State.FAILED, (Reason.LADDER, f"rung {run.rung + 1}: {because}"))
    if reason is Reason.EXPIRED and rule.on_blocked:
        return story.with_run(ending=State.CANCELLED, phase=Phase.ON_BLOCKED, reason=reason, because=because)
    return story.move(State.CANCELLED, now, reason, because)


def _question(run: Run, approval: Approval, given: Sequence[str]) -> str:
    who = ", ".join(approval.approvers) or "whoever may operate the daemon"
    so_far = f"; {', '.join(given)} approved" if given else ""
    until = "" if run.ask_until is None else f" till {format_rfc3339(run.ask_until)}"
    asked = who if approval.quorum == 1 and len(approval.approvers) < 2 else f"{approval.quorum} of {who}"
    return f"{asked} may approve{until}: `remediator approve {run.id}`{so_far}"
