"""Findings: what would go wrong at night with a rule that is well formed. Pure; `remediator.review.codes` has the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

from pydantic import ValidationError

from remediator.actions.protocol import Effect
from remediator.document import Path, nearest
from remediator.forms.access import LOCAL_NAME
from remediator.model.time import Seconds, Timestamp, format_duration, parse_duration
from remediator.review.codes import Code
from remediator.review.labels import OF_GROUP, unsure_labels
from remediator.review.modes import Opens, idle_entries
from remediator.review.overlap import contradiction, implied
from remediator.rules.matchers import Matcher, Operator, parse_matchers
from remediator.rules.rule import Rule, StepRule, Verify
from remediator.rules.templates import Pending, TemplateError, UnsafeValue

LAG: Seconds = 360.0  # of `resolved`: Alertmanager's `group_interval` of 5m, and Prometheus's evaluation every 1m
REVIEW_EVERY = "90d"


@dataclass(frozen=True, slots=True)
class View:
    """What findings depend on beside the rules."""

    now: Timestamp
    settings: Mapping[str, Any] | None = None  # the sections of the configuration; None where none is known
    windows: Mapping[str, Opens] = field(default_factory=dict)
    operators: frozenset[str] | None = None  # who may approve, by name; None where that isn't known


class Finding(NamedTuple):
    """Something wrong with a rule, at one of its keys."""

    rule: Rule
    path: Path  # of the key concerned, inside the rule
    code: Code
    message: str


class Work(NamedTuple):
    """One list of steps, with its proof, and where both stand."""

    at: Path
    steps: Sequence[StepRule]
    verify: Verify | None
    verify_at: Path

    @property
    def writes(self) -> bool:
        """Tell whether anything is changed by it."""
        return any(step.effect is Effect.WRITE for step in self.steps)


def work_of(rule: Rule) -> tuple[Work, ...]:
    """Give every list of steps that a run of this rule may go through, each with its own proof."""
    if not rule.ladder:
        only = rule.rungs[0]
        return (Work(("steps",), only.steps, only.verify, ("verify",)),)
    written = rule.definition["ladder"]
    return tuple(
        Work(
            ("ladder", number, "steps"),
            rung.steps,
            rung.verify,
            ("ladder", number, "verify") if "verify" in written[number] else ("verify",),
        )
        for number, rung in enumerate(rule.rungs)
    )


# --- what starts a rule ---


def _never_matches(rule: Rule, view: View) -> Iterator[Finding]:
    against = contradiction(rule.match)
    if against:
        these = " and ".join(map(str, against))
        yield Finding(rule, ("match",), Code.NEVER_MATCHES, f"no alert can match this: {these} exclude each other")
    for matcher in rule.match:
        if "{{" in matcher.value:
            message = f"`match` has no templates: {matcher} asks for a label with these very braces"
            yield Finding(rule, ("match",), Code.NEVER_MATCHES, message)
    yield from _single_quotes(rule, ("match",), rule.match)
    for key in ("unless_firing", "only_firing"):
        for number, each in enumerate(getattr(rule.guards, key)):
            with suppress(ValueError):  # it takes a run to read it
                yield from _single_quotes(rule, ("guard", key, number), parse_matchers(each.text.source))


def _single_quotes(rule: Rule, path: Path, matchers: Iterable[Matcher]) -> Iterator[Finding]:
    for matcher in matchers:
        value = matcher.value
        if len(value) > 1 and value[0] == value[-1] == "'":
            meant = Matcher(matcher.name, matcher.operator, value[1:-1])
            message = (
                f"single quotes are part of the value here, and hardly any label has them: write double quotes, {meant}"
            )
            yield Finding(rule, path, Code.NEVER_MATCHES, message)


def _no_alertname(rule: Rule, view: View) -> Iterator[Finding]:
    bound = any(matcher.name == "alertname" and matcher.literals for matcher in rule.match)
    if rule.match and rule.writes and not bound:
        message = "this rule writes, and no matcher binds `alertname`: name the alerts that it is for"
        yield Finding(rule, ("match",), Code.NO_ALERTNAME, message)


def _refuses_itself(rule: Rule, view: View) -> Iterator[Finding]:
    for number, each in enumerate(rule.guards.unless_firing):
        try:
            matchers = parse_matchers(each.text.source)
        except ValueError:
            continue  # it takes a run to read it
        if matchers and all(implied(matcher, rule.match) for matcher in matchers):
            message = "every alert of this rule matches this, so that every run of it is refused"
            yield Finding(rule, ("guard", "unless_firing", number), Code.REFUSES_ITSELF, message)


def _idle_modes(rule: Rule, view: View) -> Iterator[Finding]:
    rungs = rule.definition.get("ladder") or ()
    for stem, written in ((), rule.definition), *((("ladder", number), rung) for number, rung in enumerate(rungs)):
        modes = written.get("mode")
        entries = [(entry.get("during"), entry["mode"]) for entry in modes] if isinstance(modes, list) else []
        for idle in idle_entries(entries, view.windows, view.now):
            yield Finding(rule, (*stem, "mode", *idle.path), idle.code, idle.message)


def _never_due(rule: Rule, view: View) -> Iterator[Finding]:
    schedule = getattr(rule, "schedule", None)
    if schedule is not None and schedule.next_after(view.now) is None:
        yield Finding(rule, ("schedule",), Code.NEVER_DUE, f"`{schedule.text}` never comes: no run is ever started")


def _nobody_approves(rule: Rule, view: View) -> Iterator[Finding]:
    for number, rung in enumerate(rule.rungs):
        at: Path = ("ladder", number) if rule.ladder and "approval" in rule.definition["ladder"][number] else ()
        approvers, quorum = rung.approval.approvers, rung.approval.quorum
        if view.operators is None or not (at or "approval" in rule.definition):
            continue
        may = view.operators & set(approvers) if approvers else view.operators | {LOCAL_NAME}
        if len(may) < quorum:
            who = (
                f"{quorum} of {', '.join(approvers)}" if approvers else f"{quorum} of those who may operate the daemon"
            )
            message = (
                f"{who} must approve, and {', '.join(sorted(may)) or 'nobody'} can: give each of them an entry under "
                "`access.users` in the configuration, with the role `operator`"
            )
            yield Finding(rule, (*at, "approval"), Code.NOBODY_APPROVES, message)


# --- what is done, and how it is proved ---


def _unproved(rule: Rule, view: View) -> Iterator[Finding]:
    for work in work_of(rule):
        if not work.writes:
            continue
        if work.verify is None:
            message = "this rule writes and has no `verify`: say what must be seen before it counts as a success"
            yield Finding(rule, work.verify_at, Code.NO_VERIFY, message)
        elif work.verify.resolved and not work.verify.checks:
            message = "the alert alone is the proof, and a remedy may silence its own alert: add `checks` on the target"
            yield Finding(rule, (*work.verify_at, "resolved"), Code.RESOLVED_ALONE, message)


def _hasty(rule: Rule, view: View) -> Iterator[Finding]:
    asks_api = view.settings is not None and "alertmanager" in view.settings
    for work in work_of(rule):
        verify = work.verify
        if verify is not None and verify.resolved and verify.within < LAG and not asks_api:
            message = (
                f"without `alertmanager.url` in the configuration, word that an alert has resolved may take "
                f"{format_duration(LAG)} (a group_interval of 5m and an evaluation), and {format_duration(verify.within)} "
                f"is given: write {format_duration(LAG)} or more"
            )
            yield Finding(rule, (*work.verify_at, "within"), Code.RESOLVED_TOO_SOON, message)
        if verify is not None and verify.within >= rule.deadline:
            message = (
                f"`within` is {format_duration(verify.within)}, and the run's deadline is "
                f"{format_duration(rule.deadline)}, which ends it first: raise `deadline` or lower `within`"
            )
            yield Finding(rule, (*work.verify_at, "within"), Code.DEADLINE_FIRST, message)


def _waits_too_long(rule: Rule, view: View) -> Iterator[Finding]:
    for work in work_of(rule):
        for number, step in enumerate(work.steps):
            with suppress(TemplateError, UnsafeValue, ValueError):  # it takes a run to know how long
                seconds = step.action.timer(step.parameters.render({"vars": rule.vars})) or 0.0
                if seconds >= rule.deadline:
                    message = (
                        f"this waits {format_duration(seconds)}, and the run's deadline is "
                        f"{format_duration(rule.deadline)}, which ends it first: raise `deadline` or wait shorter"
                    )
                    yield Finding(rule, (*work.at, number, "with"), Code.DEADLINE_FIRST, message)


def _yes_only(rule: Rule, view: View) -> Iterator[Finding]:
    for work in work_of(rule):
        for number, check in enumerate(work.verify.checks if work.verify else ()):
            if check.expect is None and not check.action.says_no:  # every answer is a good one: a 500, an empty list
                message = f"any answer to `{check.uses}` holds: say with `expect` which one is good"
                yield Finding(rule, (*work.verify_at, "checks", number), Code.NO_EXPECT, message)


def _no_on_failure(rule: Rule, view: View) -> Iterator[Finding]:
    if rule.writes and not rule.on_failure:
        message = "this rule writes and has no `on_failure`: say what follows when it did not help"
        yield Finding(rule, ("on_failure",), Code.NO_ON_FAILURE, message)


def _no_cooldown(rule: Rule, view: View) -> Iterator[Finding]:
    if rule.writes and rule.guards.cooldown == 0:
        message = "this rule writes as often as its alert fires: leave `cooldown` out for 5m, or give more"
        yield Finding(rule, ("guard", "cooldown"), Code.NO_COOLDOWN, message)


# --- what templates name, and what is kept up ---


def _unsure_labels(rule: Rule, view: View) -> Iterator[Finding]:
    if "match" not in rule.definition:
        return  # started by the clock: there are no labels at all
    guaranteed = frozenset(matcher.name for matcher in rule.match if matcher.refuses_empty)
    for label, paths in unsure_labels(rule.definition, guaranteed).items():
        often = f" ({len(paths)} times in this rule)" if len(paths) > 1 else ""
        if label.startswith(OF_GROUP):
            why, mend = "only Alertmanager's `group_by` gives", f"name `labels.{label.removeprefix(OF_GROUP)}` instead"
        else:
            why, mend = "no matcher guarantees", f"add {Matcher(label, Operator.MATCHES, '.+')} to `match`"
        message = (
            f"{why} the label `{label}` that is named here{often}, and without it this is an error: "
            f"{mend}, or say what else will do by `| default(…)`{nearest(label, sorted(guaranteed))}"
        )
        yield Finding(rule, paths[0], Code.UNSURE_LABEL, message)


def _review_overdue(rule: Rule, view: View) -> Iterator[Finding]:
    reviewed = rule.definition.get("reviewed")
    if not isinstance(reviewed, str):
        return
    every = parse_duration(str(rule.definition.get("review_every", REVIEW_EVERY)))
    last = datetime.combine(date.fromisoformat(reviewed), datetime.min.time(), UTC)
    if last.timestamp() + every < view.now:
        due = (last + timedelta(seconds=every)).date()
        message = f"a review was due on {due}: go through the rule, then write the day under `reviewed`"
        yield Finding(rule, ("reviewed",), Code.REVIEW_OVERDUE, message)


def _forbidden(rule: Rule, view: View) -> Iterator[Finding]:
    """Find what shows only once `vars` are put in; what is literal is an error, and told as one by the loader."""
    if view.settings is None:
        return
    for path, step in _all_steps(rule):
        if "vars" in step.parameters.names:
            why = _refusal(step, rule, view.settings)
            if why is not None:
                yield Finding(rule, (*path, "with"), Code.FORBIDDEN, why)


def _all_steps(rule: Rule) -> Iterator[tuple[Path, StepRule]]:
    lists: dict[Path, Sequence[StepRule]] = {}
    for work in work_of(rule):
        lists[work.at] = work.steps
        lists[*work.verify_at, "checks"] = work.verify.checks if work.verify else ()
    for name in ("facts", "undo", "on_success", "on_failure", "on_blocked"):
        lists[name,] = getattr(rule, name)
    lists["revert", "steps"] = rule.revert.steps if rule.revert else ()
    return (((*at, number), step) for at, steps in lists.items() for number, step in enumerate(steps))


def _refusal(step: StepRule, rule: Rule, settings: Mapping[str, Any]) -> str | None:
    """Say what forbids a step whose `vars` are put in; None where nothing does, or only a run can tell."""
    scope = {**{name: Pending(name) for name in step.parameters.names}, "vars": rule.vars}
    try:
        values = step.parameters.preview(scope, settings.get("http", {}).get("allow", ()))
        parameters = step.action.parameters.model_validate_json(json.dumps(values))
    except (TemplateError, UnsafeValue, ValidationError):
        return None
    why = step.action.check(parameters, settings)
    return None if why is None or "<from " in why else why


_Finder: TypeAlias = Callable[[Rule, View], Iterator[Finding]]

_FINDERS: tuple[_Finder, ...] = (
    _never_matches, _no_alertname, _refuses_itself, _idle_modes, _never_due, _nobody_approves,
    _unproved, _hasty, _waits_too_long, _yes_only, _no_on_failure, _no_cooldown,
    _unsure_labels, _review_overdue, _forbidden,
)  # fmt: skip


def findings(rule: Rule, view: View) -> Iterator[Finding]:
    """Give all that is to be found in one rule by itself."""
    for finder in _FINDERS:
        yield from finder(rule, view)
