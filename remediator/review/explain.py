"""Explain: per alert and rule, what stops it, or the plan it would come to. Touches nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from remediator import guard
from remediator.engine.plan import render_plan
from remediator.engine.scope import base_scope, priority_of, with_results
from remediator.match import stopping_matcher
from remediator.model.alert import Alert, AlertStatus, Episode, Notification
from remediator.model.books import Books, Question
from remediator.model.control import Control, ControlKind
from remediator.model.run import Mode, PlannedStep, Reason, Run, State
from remediator.model.story import Story
from remediator.model.time import Timestamp, format_duration, format_rfc3339
from remediator.rules.rule import Rule
from remediator.rules.standing import Standing
from remediator.rules.templates import PendingValue, TemplateError, UnsafeValue


class Explained(msgspec.Struct, frozen=True):
    """What one rule makes of one alert."""

    rule: str
    matches: bool
    outcome: str | None = None  # `planned`, `admitted`, `waiting`, `blocked`, or None where nothing is proposed
    reason: str | None = None
    because: str | None = None
    target: str | None = None
    plan: Sequence[PlannedStep] | None = None


class Asked(msgspec.Struct, frozen=True):
    """What a daemon in reach can say and a file can't."""

    books: Callable[[Question], Awaitable[Books]]
    controls: Sequence[Control] = ()
    taken_up: frozenset[tuple[str, str]] = frozenset()  # (fingerprint, rule) of the episodes that are open
    over: Mapping[str, Timestamp] = msgspec.field(default_factory=dict)  # by fingerprint: when its newest episode ended


async def explain(
    notification: Notification, rules: Sequence[Rule], standing: Standing, now: Timestamp, asked: Asked | None
) -> dict[str, Any]:
    """Explain every alert of a notification under every rule.

    Without a daemon (`asked` is None), guards that count are said to be unknown; those that only look at labels are asked.
    """
    alerts: list[dict[str, Any]] = []
    for number, alert in enumerate(notification.alerts):
        explained = [
            await _rule(_episode(number, alert, notification), alert, rule, (standing, now, asked)) for rule in rules
        ]
        alerts.append(
            {
                "fingerprint": alert.fingerprint,
                "status": alert.status,
                "labels": dict(alert.labels),
                "rules": [msgspec.to_builtins(each) for each in explained],
            }
        )
    return {"alerts": alerts, "refused": [msgspec.to_builtins(each) for each in notification.refused]}


def _episode(number: int, alert: Alert, notification: Notification) -> Episode:
    now = notification.received_at
    return Episode(
        id=number, fingerprint=alert.fingerprint, labels=alert.labels, annotations=alert.annotations,
        generator_url=alert.generator_url, starts_at=min(alert.starts_at, now), first_seen=now, last_seen=now,
        ended_at=None, group_key=notification.group_key, group_labels=notification.group_labels,
        truncated=notification.truncated,
    )  # fmt: skip


async def _rule(
    episode: Episode, alert: Alert, rule: Rule, view: tuple[Standing, Timestamp, Asked | None]
) -> Explained:
    standing, now, asked = view
    if rule.schedule is not None:
        return Explained(rule.name, False, because=f"it is begun by the clock, at {rule.schedule.text}")
    stopped_by = stopping_matcher(rule, alert.labels)
    if stopped_by is not None:
        value = alert.labels.get(stopped_by.name)
        has = f"is {value!r}" if value is not None else "is missing, which counts as the empty text"
        return Explained(rule.name, False, because=f"{stopped_by} does not match: {stopped_by.name} {has}")
    nothing = _begins_nothing(alert, rule, asked)
    if nothing is not None:
        return Explained(rule.name, True, because=nothing)
    controls = asked.controls if asked is not None else ()
    mode = standing.mode_in_force(rule, 0, None, controls, now)
    if mode is Mode.OFF:
        return Explained(
            rule.name, True, because="the mode in force is off: the daemon's, the rule's, or one that was laid"
        )
    run = Run(
        id="explain", rule=rule.name, rule_hash=rule.hash, state=State.WAITING, created_at=now,
        opened_by=episode.id, mode=mode,
    )  # fmt: skip
    base = base_scope(run, episode, rule, (episode,), standing.public_url)
    scope = with_results(base, Story(run=run, alert=episode), rule, planning=True)
    target: str | None = None
    try:
        priority_of(rule, scope)
        target = _target(rule, scope)
        plan = render_plan(rule, 0, {**scope, "target": target}, standing.hosts)
    except UnsafeValue as error:
        return Explained(rule.name, True, State.BLOCKED, Reason.UNSAFE_VALUE, str(error), target)
    except TemplateError as error:
        return Explained(rule.name, True, State.BLOCKED, Reason.TEMPLATE_ERROR, str(error), target)
    held = next(
        (each for each in controls if each.kind is ControlKind.PAUSE and each.covers(rule.name, target)),
        None,
    )
    if held is not None:
        return Explained(
            rule.name, True, State.WAITING, Reason.PAUSED, f"paused by {held.author}: {held.reason}", target, plan
        )
    refusal = await _guards(replace(run, target=target), rule, scope, view)
    if isinstance(refusal, guard.Refusal):
        return Explained(rule.name, True, State.BLOCKED, refusal.reason, refusal.because, target, plan)
    outcomes = {Mode.DRY_RUN: str(State.PLANNED), Mode.APPROVE: str(State.AWAITING_APPROVAL)}
    outcome = outcomes.get(mode, "admitted")
    because = [f"mode {mode}"]
    if rule.for_:
        because.append(f"if it still fires after {format_duration(rule.for_)}")
    if rule.facts:
        because.append("once its facts are read")
    if refusal:
        because.append(refusal)
    return Explained(rule.name, True, outcome, None, "; ".join(because), target, plan)


def _begins_nothing(alert: Alert, rule: Rule, asked: Asked | None) -> str | None:
    if alert.status is AlertStatus.RESOLVED:
        return "the alert is resolved: nothing begins"
    if asked is None:
        return None
    if (alert.fingerprint, rule.name) in asked.taken_up:
        return "this episode was taken up before: a repeat begins nothing"
    ended_at = asked.over.get(alert.fingerprint)
    if ended_at is not None and alert.starts_at <= ended_at:
        return f"this episode is over, it ended at {format_rfc3339(ended_at)}: what comes late of it begins nothing"
    return None


def _target(rule: Rule, scope: Mapping[str, Any]) -> str:
    try:
        target = str(rule.target.render(scope)).strip()
    except PendingValue as pending:
        return f"<from {pending.name}>"
    if not target:
        raise TemplateError("target is an empty text")
    return target


async def _guards(
    run: Run, rule: Rule, scope: Mapping[str, Any], view: tuple[Standing, Timestamp, Asked | None]
) -> guard.Refusal | str | None:
    """Ask the guards; a text says what could not be asked."""
    standing, now, asked = view
    scope = {**scope, "target": run.target}
    controls = asked.controls if asked is not None else ()
    try:
        case = guard.prepare(run, rule, scope, standing, controls, now)
        if asked is None:
            return guard.only_if(case, Books(), now) or _unasked(rule, standing)
        return guard.decide(case, await asked.books(case.question), now)
    except PendingValue as pending:
        return f"its guards need {pending.name}, which only the daemon reads"
    except UnsafeValue as error:
        return guard.Refusal(Reason.UNSAFE_VALUE, str(error))
    except TemplateError as error:
        return guard.Refusal(Reason.TEMPLATE_ERROR, str(error))


def _unasked(rule: Rule, standing: Standing) -> str | None:
    """Say which guards are written, of the rule and then of the daemon, and can't be asked from here."""
    guards = rule.guards
    words = [f"cooldown {format_duration(guards.cooldown)}"] if guards.cooldown else []
    words += ["limit"] if guards.limits else []
    words += ["blast_radius"] if guards.blast_radius else []
    words += ["breaker"] if guards.breaker else []
    words += ["episodes"] if guards.episodes else []
    words += ["unless_firing"] if guards.unless_firing else []
    words += ["only_firing"] if guards.only_firing else []
    words += ["lock"] if rule.writes else []
    own = {"limit": standing.allowances, "blast_radius": standing.blast_radius, "breaker": standing.breaker}
    daemons = [name for name, written in {**own, "storm": standing.storm}.items() if written]
    if daemons:
        words.append(f"the daemon's own {', '.join(daemons)}")
    return f"unknown without a daemon: {', '.join(words)}" if words else None
