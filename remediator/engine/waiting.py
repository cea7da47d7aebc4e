"""Waiting: what a run goes through before it is admitted. `for`, its facts, Alertmanager's word, its target."""

from __future__ import annotations

from remediator.engine.moves import (
    Admit,
    Effect,
    Move,
    Rest,
    Surroundings,
    block,
    cancelled,
    go,
    held,
    refuse,
    scope_of,
)
from remediator.engine.reverting import waiting_to_revert
from remediator.execute import Call, Course, Failed, Interrupted, Next, Wait
from remediator.guard import Refusal
from remediator.model.run import Mode, Origin, Phase, Reason, State, lowest
from remediator.model.story import Story
from remediator.model.time import Seconds, Timestamp, format_duration
from remediator.rules.rule import Rule
from remediator.rules.templates import PendingValue, TemplateError, UnsafeValue

FACTS_AGE: Seconds = 30.0  # facts older than this are read again before they decide anything


def waiting(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Take a run that has not begun towards its admission."""
    over = cancelled(story, around)
    if over is not None:
        return over, None
    if story.run.origin is Origin.NOTICE:
        return story.with_run(phase=Phase.STEPS).move(State.RUNNING, around.now), None
    if story.run.origin is Origin.REVERT:
        return waiting_to_revert(story, rule, around)
    run, now = story.run, around.now
    over = gone(story, around)
    if over is not None:
        return over, None
    mode = lowest(around.mode(rule, run), run.mode)  # since it was proposed it may only fall
    if mode is Mode.OFF:
        return story.move(State.CANCELLED, now, Reason.OFF, "the mode in force became `off` before it began"), None
    story, pausing = held(story.with_run(mode=mode), around)
    if pausing:
        return story, Rest()
    if run.by_alert:
        ready = (around.first_seen if around.first_seen is not None else run.created_at) + rule.for_
        if ready > now:
            return story.rest(ready, now, Reason.FOR, f"for {format_duration(rule.for_)}"), Rest()
    story, effect = _facts(story, rule, around)
    if effect is not None or not story.run.open or story.run.ending is not None:
        return story, effect
    return (story, Admit()) if story.run.target is not None else _target(story, rule, around)


def gone(story: Story, around: Surroundings) -> Story | None:
    """Cancel a run whose alerts have all resolved, or have not been heard of for too long."""
    if not story.run.by_alert or around.firing > 0:
        return None
    if around.lost:
        return story.move(State.CANCELLED, around.now, Reason.LOST, "nothing was heard of its alerts for too long")
    return story.move(State.CANCELLED, around.now, Reason.RESOLVED, "its alerts resolved before it began")


def forget_reads(story: Story, rule: Rule) -> Story:
    """Forget the facts and the leading reads, to read them again; what came after those is never done again."""
    rung = rule.rungs[story.run.rung]
    after = range(len(rung.leading), len(rung.steps))
    if not any(step.position in after for step in story.of(Phase.STEPS)):
        story = story.forget(Phase.STEPS)
    return story.forget(Phase.FACTS)


def check_again(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Check a run again that was admitted, was held by a pause, and has written nothing yet."""
    over = gone(story, around)
    if over is not None:
        return over, None
    story, effect = _facts(story, rule, around)
    if effect is not None or not story.run.open or story.run.ending is not None:
        return story, effect
    return story, Admit()


def _facts(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Read what has to be known; once all is read, read all of it again where the last reading is too old to decide by."""
    presence = around.standing.presence_check if story.run.by_alert else None
    story, found = read_ahead(story, rule, around)
    facts = _newest(story, Phase.FACTS)
    newest = max(facts, _newest(story, Phase.STEPS) if story.run.reads_ahead else 0.0)
    too_old = around.now - FACTS_AGE
    if not isinstance(found, Call | Wait) and (0.0 < facts < too_old or 0.0 < newest < too_old):
        story = story.forget(Phase.FACTS)
        if newest < too_old:  # else the reads after them took long, and would again
            story = story.forget(Phase.STEPS)
        if "facts" in rule.target.names and story.run.admitted_at is None:
            story = story.with_run(target=None)  # other facts may name another
        story, found = read_ahead(story, rule, around)
    if isinstance(found, Call):
        return story, found
    if isinstance(found, Wait):
        return story.rest(found.until, around.now, Reason.FACTS), Rest()
    if isinstance(found, Failed | Interrupted):
        step = found.step
        what = "fact" if step.phase is Phase.FACTS else "step"
        because = f"the {what} {step.id or step.uses} could not be read: {step.error}"
        return refuse(story, rule, Refusal(Reason.FACTS, because), around.now)
    return (story, None) if presence is None else _presence(story, rule, around)


def _newest(story: Story, phase: Phase) -> Timestamp:
    """Say when a step of a phase was last read; 0 where none was."""
    return max((step.ended_at for step in story.of(phase) if step.ended_at is not None), default=0.0)


def read_ahead(story: Story, rule: Rule, around: Surroundings) -> tuple[Story, Next]:
    """Read the facts, and where a person is to be asked the leading reads of the rung, so that the plan is whole."""
    deciding = story.run.admitted_at is None or story.run.phase is Phase.FACTS
    presence = around.standing.presence_check if story.run.by_alert and deciding else None
    facts = (*rule.facts, *((presence,) if presence is not None else ()))
    hosts = around.standing.hosts
    story, found = go(story, Course(Phase.FACTS, facts, hosts=hosts), rule, around)
    if story.run.reads_ahead and not isinstance(found, Call | Wait | Failed | Interrupted):
        leading = rule.rungs[story.run.rung].leading
        story, found = go(story, Course(Phase.STEPS, leading, rung=story.run.rung, hosts=hosts), rule, around)
    return story, found


def _presence(story: Story, rule: Rule, around: Surroundings) -> tuple[Story, Effect | None]:
    """Judge what Alertmanager's API says of the run's alerts: gone means resolved, suppressed starts nothing."""
    answers = [step.result for step in story.of(Phase.FACTS) if step.position == len(rule.facts)]
    mine = {alert.fingerprint for alert in around.alerts if alert.firing}
    there = [each for answer in answers for each in answer["alerts"] if each["fingerprint"] in mine]
    if not there:
        because = "Alertmanager no longer has its alerts"
        return story.move(State.CANCELLED, around.now, Reason.RESOLVED, because), None
    if all(each["state"] == "suppressed" for each in there):
        because = "its alerts are silenced or inhibited in Alertmanager"
        return refuse(story, rule, Refusal(Reason.SILENCED, because), around.now)
    return story, None


def _target(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Name the target; a pause may hold it by that name. It is kept only once no other run is open on it."""
    try:
        target = str(rule.target.render(scope_of(story, rule, around))).strip()
        if not target:
            raise TemplateError("target is an empty text, and an empty target would mean anything")
    except UnsafeValue as error:
        return block(story, rule, Reason.UNSAFE_VALUE, str(error), around.now), None
    except (TemplateError, PendingValue) as error:
        return block(story, rule, Reason.TEMPLATE_ERROR, str(error), around.now), None
    story, pausing = held(story.with_run(target=target), around)
    return (story.with_run(target=None), Rest()) if pausing else (story, Admit())
