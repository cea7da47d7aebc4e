"""Execute: go through a list of steps, one at a time, and carry one out.

`walk` is pure: given what is known of the steps it says what comes next. `perform` is the only place where an action is
called, and `conclude` makes a record of what it came to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import structlog
from msgspec.structs import replace

from remediator.actions.bounds import redact
from remediator.actions.protocol import Action, Context, Effect, Outcome, Parameters, Result
from remediator.errors import ConfigurationError
from remediator.model.run import Phase, Step, StepState
from remediator.model.time import Seconds, Timestamp
from remediator.rules.rule import StepRule
from remediator.rules.templates import PendingValue, TemplateError, UnsafeValue

_log = structlog.get_logger(__name__)
_GRACE = 15.0  # beyond the timeout: for the end of a child's process group, and for an action that forgets its deadline


@dataclass(frozen=True, slots=True)
class Course:
    """A list of steps to go through, and how."""

    phase: Phase
    steps: Sequence[StepRule]
    dry: bool = False  # what isn't a read is planned, and so is everything after it
    rung: int = 0
    first_attempt: int = 1  # records of earlier attempts count as absent: checks are polled again and again
    to_the_end: bool = False  # a failure doesn't end the list
    hosts: Sequence[str] = ()  # `http.allow`: where a host may come from a label


@dataclass(frozen=True, slots=True)
class Call:
    """An action is to be called: `step` says so, and has to be durable first."""

    step: Step
    rule: StepRule
    parameters: Parameters
    timeout: Seconds
    item: Any = None
    in_line: bool = False  # a notification behind others of its channel that could not be sent


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before then: a timer, or the back-off of a retry."""

    until: Timestamp


@dataclass(frozen=True, slots=True)
class Finished:
    """The list is done."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A step failed, and the list ends with it."""

    step: Step


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A step that must not be repeated was begun, and its end is not known."""

    step: Step


Next: TypeAlias = Call | Wait | Finished | Failed | Interrupted
ScopeOf: TypeAlias = Callable[[Sequence[Step]], Mapping[str, Any]]


def walk(course: Course, known: Sequence[Step], scope_of: ScopeOf, now: Timestamp) -> tuple[list[Step], Next]:
    """Say what comes next in a list of steps, and which records that adds (skipped, planned, failed to render, started).

    A step that is known as started has no recorded end: the caller never asks while one is at work.
    """
    return _Walker(course, known, scope_of, now).walk()


class _Walker:
    """One pass over a list: keeps what it has added so far."""

    def __init__(self, course: Course, known: Sequence[Step], scope_of: ScopeOf, now: Timestamp) -> None:
        self.course = course
        self.known = list(known)
        self.scope_of = scope_of
        self.now = now
        self.added: list[Step] = []
        self.items: list[Any] | None = None  # of the loop that is being gone through
        self.records = {
            (step.position, step.item): step
            for step in known
            if step.phase is course.phase and step.rung == course.rung and step.attempt >= course.first_attempt
        }

    def walk(self) -> tuple[list[Step], Next]:
        for position, rule in enumerate(self.course.steps):
            found = self._step(position, rule)
            if isinstance(found, Failed) and (rule.continue_on_error or self.course.to_the_end):
                continue
            if found is not None:
                return self.added, found
        return self.added, Finished()

    def _step(self, position: int, rule: StepRule) -> Next | None:
        """Go through the items of one step; None when the list may go on."""
        first = self.records.get((position, 0))
        self.items = None
        try:
            scope = self.scope_of(self.known)
            if first is None and rule.condition is not None and not rule.condition.holds(scope):
                self._add(self._record(rule, position, state=StepState.SKIPPED))
                return None
            # A loop that has begun keeps its list, whatever has changed since.
            items = first.items if first is not None and first.items is not None else _items(rule, scope)
        except PendingValue:
            self._add(self._record(rule, position, state=StepState.PLANNED))
            return None
        except TemplateError as error:
            return self._fail(rule, position, 0, str(error))
        self.items = list(items) if rule.for_each is not None else None
        if not items:
            self._add(self._record(rule, position, state=StepState.SKIPPED))
        for number, item in enumerate(items):
            found = self._item(position, rule, number, item)
            if found is not None:
                return found
        return None

    def _item(self, position: int, rule: StepRule, number: int, item: Any) -> Next | None:
        record = self.records.get((position, number))
        if record is None:
            return self._begin(rule, position, number, item, self.course.first_attempt)
        if record.state is StepState.STARTED:
            return self._begun(record, rule, item)
        if record.state is StepState.INTERRUPTED:
            return Interrupted(record)
        if record.state is StepState.FAILED and not record.kept:
            again = self._retry_at(record, rule)
            if again is None:
                return Failed(record)
            if again > self.now:
                return Wait(again)
            return self._begin(rule, position, number, item, record.attempt + 1)
        return None

    def _begun(self, record: Step, rule: StepRule, item: Any) -> Next | None:
        span = self._timer(rule, item)
        if span is not None and record.started_at is not None:
            until = record.started_at + span
            if until > self.now:
                return Wait(until)
            self._add(replace(record, state=StepState.SUCCEEDED, ended_at=self.now))
            return None
        if record.repeatable:
            return self._begin(rule, record.position, record.item, item, record.attempt + 1)
        lost = replace(
            record, state=StepState.INTERRUPTED, error=f"{rule.uses} was begun, and how it ended is not known"
        )
        self._add(lost)
        return Interrupted(lost)

    def _begin(self, rule: StepRule, position: int, number: int, item: Any, attempt: int) -> Next | None:
        scope = {**self.scope_of(self.known), "item": item}
        planned = any(step.state is StepState.PLANNED and step.phase is self.course.phase for step in self.known)
        if self.course.dry and (rule.effect is not Effect.READ or planned):
            return self._plan(rule, position, number, scope)
        try:
            parameters = rule.parameters.render(scope, self.course.hosts)
        except (TemplateError, UnsafeValue, PendingValue) as error:
            return self._fail(rule, position, number, str(error))
        step = self._record(
            rule, position, state=StepState.STARTED, item=number, attempt=attempt, started_at=self.now,
            repeatable=rule.action.idempotent(parameters), parameters=shown(parameters),
        )  # fmt: skip
        span = rule.action.timer(parameters)
        self._add(step if span is None else replace(step, timer=True))
        if span is not None:
            return Wait(self.now + span)
        return Call(step=step, rule=rule, parameters=parameters, timeout=rule.timeout, item=item)

    def _plan(self, rule: StepRule, position: int, number: int, scope: Mapping[str, Any]) -> Next | None:
        try:
            parameters = rule.parameters.preview(scope, self.course.hosts)
        except (TemplateError, UnsafeValue) as error:
            return self._fail(rule, position, number, str(error))
        self._add(self._record(rule, position, state=StepState.PLANNED, item=number, parameters=parameters))
        return None

    def _fail(self, rule: StepRule, position: int, number: int, error: str) -> Failed:
        step = self._record(rule, position, state=StepState.FAILED, item=number, error=error, ended_at=self.now)
        self._add(step)
        return Failed(step)

    def _timer(self, rule: StepRule, item: Any) -> Seconds | None:
        try:
            return rule.action.timer(rule.parameters.render({**self.scope_of(self.known), "item": item}, ()))
        except (TemplateError, UnsafeValue, PendingValue):
            return None

    def _retry_at(self, record: Step, rule: StepRule) -> Timestamp | None:
        """Say when a failed step may be tried again; a write only if it is idempotent or nothing was sent."""
        retry = rule.retry
        if retry is None or self.course.to_the_end or record.attempt >= retry.attempts or record.ended_at is None:
            return None
        if not (record.repeatable or record.unsent):
            return None
        return record.ended_at + max(retry.backoff * float(2 ** (record.attempt - 1)), record.retry_after or 0.0)

    def _record(self, rule: StepRule, position: int, *, state: StepState, **more: Any) -> Step:
        more.setdefault("item", 0)
        if not more["item"]:
            more["items"] = self.items
        more.setdefault("attempt", self.course.first_attempt)
        return Step(
            phase=self.course.phase, position=position, uses=rule.uses, id=rule.id, state=state,
            rung=self.course.rung, **more,
        )  # fmt: skip

    def _add(self, step: Step) -> None:
        self.known = [*(other for other in self.known if other.key != step.key), step]
        self.records[step.position, step.item] = step
        self.added.append(step)


def _items(rule: StepRule, scope: Mapping[str, Any]) -> Sequence[Any]:
    """Give what the step is run for: one nothing without `for_each`. Raises TemplateError for too long a list."""
    if rule.for_each is None:
        return (None,)
    items = rule.for_each.evaluate(scope)
    if not isinstance(items, list | tuple):
        raise TemplateError(f"for_each of {rule.label} is not a list: `{rule.for_each.source}`")
    if len(items) > rule.max:
        raise TemplateError(f"for_each of {rule.label} has {len(items)} items and max is {rule.max}: nothing was done")
    return items


def shown(parameters: Parameters) -> Any:
    """Give parameters as JSON, for records and people; secrets stand in them by name only."""
    return parameters.model_dump(mode="json", exclude_unset=True, by_alias=True)


def results(steps: Sequence[Step], phases: frozenset[Phase], loops: frozenset[str]) -> dict[str, Any]:
    """Give what templates see of steps that have ended, by id: `ok`, and `result` (of a loop, a list of them)."""
    found: dict[str, Any] = {}
    ended = [step for step in steps if step.phase in phases and step.state in (StepState.SUCCEEDED, StepState.FAILED)]
    for step in sorted(ended, key=lambda step: step.item):
        if step.id is None:
            continue
        ok = step.state is StepState.SUCCEEDED
        if step.id in loops:
            entry = found.setdefault(step.id, {"ok": True, "result": []})
            entry["ok"] = entry["ok"] and ok
            entry["result"].append(step.result)
        else:
            found[step.id] = {"ok": ok, **({"result": step.result} if ok or step.result is not None else {})}
    return found


def conclude(call: Call, outcome: Outcome, scope: Mapping[str, Any], now: Timestamp) -> Step:
    """Make the record of a step that has ended, `expect` judged."""
    step = replace(call.step, ended_at=now, result=outcome.result, error=outcome.error, retry_after=outcome.retry_after)
    if outcome.kind is not Result.OK:
        # A platform that turns a read away (its credential has run out, say) has not said no to what was asked.
        no = outcome.kind is Result.REFUSED and (call.rule.effect is not Effect.READ or call.rule.action.says_no)
        failed = replace(step, state=StepState.FAILED, refuted=no, unsent=outcome.kind is Result.NOT_SENT)
        return _kept(failed, call.rule)
    expect = call.rule.expect
    if expect is not None:
        try:
            if not expect.holds({**scope, "item": call.item, "result": outcome.result}):
                error = f"expected `{expect.source}`, and got {_short(outcome.result)}"
                # A read is how one waits for a condition; what else was done as asked is not done again.
                again = step.repeatable and call.rule.effect is Effect.READ
                return replace(step, state=StepState.FAILED, refuted=True, repeatable=again, error=error)
        except (TemplateError, PendingValue) as error:
            return replace(step, state=StepState.FAILED, error=f"`{expect.source}` can't be known: {error}")
    return replace(step, state=StepState.SUCCEEDED)


def _kept(step: Step, rule: StepRule) -> Step:
    """Have a notification that could not be sent, and may be sent again, kept: once its own retries are used up."""
    again = step.unsent or (step.repeatable and not step.refuted)
    retries = rule.retry is not None and step.attempt < rule.retry.attempts
    if rule.effect is not Effect.NOTIFY or not again or retries:
        return step
    return replace(step, kept=True, error=f"{step.error}; it is kept, and sent when that is possible")


def _short(value: Any, most: int = 200) -> str:
    text = msgspec.json.encode(value).decode("utf-8", "replace")
    return text if len(text) <= most else text[: most - 1] + "…"


async def perform(action: Action[Any], parameters: Parameters, context: Context) -> Outcome:
    """Call the action. Whatever goes wrong inside it becomes an Outcome; only cancellation passes through."""
    try:
        async with asyncio.timeout_at(context.deadline + _GRACE):
            return await action.run(parameters, context)
    except TimeoutError:
        return Outcome(Result.ERROR, error=f"{action.name} did not end within its timeout")
    except ConfigurationError as error:  # a secret that can't be read
        return Outcome(Result.ERROR, error=str(error))
    except Exception as error:  # noqa: BLE001 - the edge to other people's code: its defects must not stop the daemon
        _log.exception("action raised, which is a defect of the action", action=action.name, run=context.run)
        return Outcome(Result.ERROR, error=f"{action.name} raised {type(error).__name__}: report this to its author")


def redacted(outcome: Outcome, secrets: Sequence[str]) -> Outcome:
    """Take every occurrence of the given secrets out of what will be recorded, in whatever form it was echoed."""
    marks = dict.fromkeys(sorted({*filter(None, secrets)}, key=len, reverse=True), "[redacted]")

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return redact(value, marks)
        if isinstance(value, Mapping):
            return {clean(key): clean(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [clean(each) for each in value]
        return value

    if not marks:
        return outcome
    return replace(outcome, result=clean(outcome.result), error=clean(outcome.error))
