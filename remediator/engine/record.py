"""Record: what the terminal, the log and the metrics are told, once the store has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog

from remediator import metrics
from remediator.model.run import Event, EventKind, Origin, State
from remediator.model.story import Story
from remediator.model.time import format_duration

_log = structlog.get_logger("remediator")
_LOUD = {State.FAILED, State.UNKNOWN}
_MANY = 20  # runs that one rule is proposed for in one transaction: more are told in one line


def tell_stories(stories: Sequence[Story]) -> None:
    """Tell of all that has become durable with one transaction.

    A storm is not to drown what matters in the log, nor to hold up the loop that writes it: many runs that are only proposed
    are one line a rule.
    """
    proposed = Counter(story.run.rule for story in stories if _only_proposed(story))
    for rule, runs in proposed.items():
        if runs > _MANY:
            _log.info("alerts matched", rule=rule, runs=runs)
    for story in stories:
        if not _only_proposed(story) or proposed[story.run.rule] <= _MANY:
            tell_story(story)


def _only_proposed(story: Story) -> bool:
    return all(event.kind is EventKind.PROPOSED for event in story.events)


def tell_story(story: Story) -> None:
    """Tell of everything in a story that has just become durable."""
    run = story.run
    for event in story.events:
        if run.origin is Origin.NOTICE and event.kind is not EventKind.STEP_ENDED:
            continue  # what it says is told by its step; how it went concerns nobody while it goes well
        match event.kind:
            case EventKind.MOVED if event.data["to"] == run.state:
                _tell_state(story, event)
            case EventKind.REFUSED:
                metrics.GUARD_REFUSALS.labels(guard=str(event.data["reason"])).inc()
            case EventKind.STEP_STARTED:
                _log.info("step started", **_whose(story), uses=event.data["uses"], parameters=event.data["parameters"])
            case EventKind.STEP_ENDED:
                _tell_step(story, event)
            case EventKind.PROPOSED:
                _tell_proposed(story, event)
            case _:
                pass


def _tell_proposed(story: Story, event: Event) -> None:
    run, alert = story.run, event.data["labels"].get("alertname", "?")
    match run.origin:
        case Origin.ALERT:
            _log.info("alert matched", **_whose(story), alert=alert, mode=run.mode)
        case _:
            _log.info(f"run proposed by {run.origin}", **_whose(story), mode=run.mode)


def _whose(story: Story) -> dict[str, str | None]:
    return {"run": story.run.id, "rule": story.run.rule, "target": story.run.target}


def _tell_state(story: Story, event: Event) -> None:
    run = story.run
    log = _log.warning if run.state in _LOUD or run.state is State.BLOCKED else _log.info
    extra: dict[str, object] = {}
    if run.state is State.PLANNED and run.plan is not None:
        extra["plan"] = [step.says for step in run.plan]
    log(f"run {run.state}", **_whose(story), reason=event.data["reason"], because=event.data["because"], **extra)
    if not run.open:
        metrics.RUNS.labels(rule=run.rule, mode=run.mode, state=run.state).inc()
        metrics.DECISIONS.labels(rule=run.rule, outcome=run.state, reason=run.reason or "").inc()


def _tell_step(story: Story, event: Event) -> None:
    data = event.data
    step = next(
        (
            each
            for each in story.steps
            if (each.phase, each.position, each.item) == (data["phase"], data["position"], data["item"])
        ),
        None,
    )
    if step is None:
        return
    if step.started_at is not None and step.ended_at is not None:
        metrics.STEP_SECONDS.labels(action=step.uses).observe(step.ended_at - step.started_at)
    failed = data["state"] in ("failed", "interrupted")
    if failed:
        metrics.STEP_FAILURES.labels(action=step.uses).inc()
    took = format_duration((step.ended_at or 0) - step.started_at) if step.ended_at and step.started_at else None
    log = _log.warning if failed else _log.info
    log(f"step {data['state']}", **_whose(story), step=step.id or step.uses, error=data["error"], took=took)


def tell_events(events: Sequence[Event]) -> None:
    """Tell of what concerns no single run's story; the notifications of one transaction in one line."""
    received = [event.data for event in events if event.kind is EventKind.NOTIFICATION]
    if received:
        totals = {
            key: sum(data[key] for data in received) for key in ("alerts", "opened", "closed", "stale", "clamped")
        }
        refused = [each for data in received for each in data["refused"]]
        changed = totals["opened"] or totals["closed"] or totals["stale"] or refused
        log = _log.info if changed else _log.debug
        more = {key: count for key, count in totals.items() if count}
        log("notifications kept", notifications=len(received), **more, **({"refused": refused[:3]} if refused else {}))
    for event in events:
        if event.kind is EventKind.HEALED:
            _log.info(
                "healed by itself", run=event.run, rule=event.data["rule"], target=event.data["target"],
                after=format_duration(event.data["seconds"]),
            )  # fmt: skip
        elif event.kind is EventKind.CONTROL_LAID:
            data = event.data
            words = f"{data['kind']}: nothing is admitted till it has passed, look for the one cause"
            _log.warning(words, why=data["reason"], control=data["control"], at_least=data["for"])
