"""The plan: the steps of a run, rendered before any of them begins, with a hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from remediator.execute import shown
from remediator.model.run import PlannedStep
from remediator.rules.rule import Rule, StepRule
from remediator.rules.templates import PendingValue, TemplateError


def render_plan(rule: Rule, rung: int, scope: Mapping[str, Any], hosts: Sequence[str] = ()) -> tuple[PlannedStep, ...]:
    """Render the steps of a rule on a rung; what only an earlier step can tell stands as `<from STEP>`.

    `scope` has a Pending for every step that has not run. Raises TemplateError and UnsafeValue: such a run is refused.
    """
    planned: list[PlannedStep] = []
    for step in rule.rungs[rung].steps:
        condition = None
        try:
            if step.condition is not None and not step.condition.holds(scope):
                continue
        except PendingValue:
            condition = step.condition.source if step.condition else None
        planned += _plan_step(step, scope, hosts, condition)
    return tuple(planned)


def _plan_step(
    step: StepRule, scope: Mapping[str, Any], hosts: Sequence[str], condition: str | None
) -> list[PlannedStep]:
    each = None
    items: Sequence[Any] = (None,)
    if step.for_each is not None:
        try:
            items = step.for_each.evaluate(scope)
        except PendingValue:
            each = step.for_each.source
        else:
            if not isinstance(items, list | tuple):
                raise TemplateError(f"for_each of {step.label} is not a list: `{step.for_each.source}`")
            if len(items) > step.max:
                raise TemplateError(f"for_each of {step.label} has {len(items)} items and max is {step.max}")
    return [_planned(step, scope if each else {**scope, "item": item}, hosts, condition, each) for item in items]


def _planned(
    step: StepRule, scope: Mapping[str, Any], hosts: Sequence[str], condition: str | None, each: str | None
) -> PlannedStep:
    if each is not None:
        says, parameters = f"{step.uses} for each of `{each}`", None
    else:
        try:
            rendered = step.parameters.render(scope, hosts)
        except PendingValue as pending:
            parameters, says = step.parameters.preview(scope, hosts), f"{step.uses}, once {pending.name} is known"
        else:
            parameters, says = shown(rendered), step.action.plan(rendered)
    return PlannedStep(
        id=step.id, uses=step.uses, effect=step.effect, says=says, parameters=parameters, condition=condition, each=each
    )


def hash_plan(plan: Sequence[PlannedStep]) -> str:
    """Give the hash that an approval is bound to: sha256 over the plan as canonical JSON, hex."""
    return sha256(msgspec.json.encode([msgspec.to_builtins(step) for step in plan], order="deterministic")).hexdigest()
