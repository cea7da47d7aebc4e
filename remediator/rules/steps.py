"""Compiles lists of steps, and the templates and expressions in a rule: what each may name, at its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from remediator.actions.catalog import Catalog
from remediator.actions.protocol import Action, Effect, Gate, SecretReference
from remediator.document import Fault, Path, dotted, nearest
from remediator.rules.form import LEFT_OUT, StepForm
from remediator.rules.parameters import ParameterTemplates
from remediator.rules.rule import Retry, StepRule
from remediator.rules.templates import Expression, TemplateError, Text, has_template

READS = frozenset({Effect.READ})
FOLLOWS = frozenset({Effect.READ, Effect.NOTIFY})
_VERBS = {Effect.READ: "reads", Effect.NOTIFY: "notifies", Effect.WRITE: "writes"}
_SOMETIMES = {
    "facts": "the facts are not read yet when this is rendered",
    "target": "the target is not known yet when this is rendered",
    "steps": "no step has run when this is rendered",
    "item": "it is there only in `with` and `expect` of a step with `for_each`",
    "result": "it is there only in `expect`",
    **dict.fromkeys(("labels", "annotations", "alert", "group", "alerts"), "a rule with `schedule` has no alert"),
}
# What these hold, as `remediator.engine.scope` and `remediator.engine.noticing` make them.
_HOLD = {
    "alert": ("fingerprint", "status", "labels", "annotations", "starts_at", "generator_url"),
    "group": ("labels", "key", "truncated"),
    "rule": ("name", "summary", "owner", "runbook", "labels"),
    "run": ("id", "rung", "url"),
    "notice": ("kind", "text", "rule", "target", "run", "priority", "url"),
}
_OF_A_STEP = ("ok", "result")
_STAND_IN = "remediator-stand-in"  # for what a template will give, where only the rest can be judged


@dataclass(frozen=True, slots=True)
class Sees:
    """What a template may name at its place."""

    names: frozenset[str]
    facts: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    later: tuple[str, ...] = ()  # ids of steps that have not run by then

    def adding(self, name: str) -> Sees:
        """Give one that may name this too."""
        return replace(self, names=self.names | {name})


class StepCompiler:
    """Compiles steps, templates and expressions, and collects what is wrong with them."""

    def __init__(
        self, catalog: Catalog, settings: Mapping[str, Any] | None, own_vars: Mapping[str, Any], *, partial: bool
    ) -> None:
        self.faults: list[Fault] = []
        self._catalog = catalog
        self._settings = settings
        self._vars = own_vars
        self._partial = partial  # parts were left out, and others may rightly refer to them

    def _steps(
        self, path: Path, forms: Sequence[StepForm], sees: Sees, effects: frozenset[Effect] = frozenset(Effect)
    ) -> tuple[StepRule, ...]:
        compiled = []
        for position, form in enumerate(forms):
            if form.id is not None and form.id in (*sees.facts, *sees.steps):
                message = f"the id `{form.id}` is taken by an earlier step"
                self._fault((*path, position, "id"), "duplicate-id", message)
            step = self._step((*path, position), form, replace(sees, later=ids(forms[position:])), effects)
            if step is not None:
                compiled.append(step)
            if form.id is not None and path == ("facts",):
                sees = replace(sees, facts=(*sees.facts, form.id))
            elif form.id is not None:
                sees = replace(sees, steps=(*sees.steps, form.id))
        return tuple(compiled)

    def _step(self, path: Path, form: StepForm, sees: Sees, effects: frozenset[Effect]) -> StepRule | None:
        inside = sees.adding("item") if form.for_each is not None else sees
        condition = self._expression((*path, "if"), form.if_, sees)
        for_each = self._expression((*path, "for_each"), form.for_each, sees)
        expect = self._expression((*path, "expect"), form.expect, inside.adding("result"))
        self._parameter_names((*path, "with"), form.with_, inside)
        if self._partial and form.uses == LEFT_OUT:
            return None
        action = self._catalog.get(form.uses)
        if action is None:
            near = nearest(form.uses, self._catalog) or "; `remediator actions` lists them"
            message = f"there is no action `{form.uses}`{near}"
            self._fault((*path, "uses"), "unknown-action", message)
            return None
        if action.effect not in effects:
            allowed = " or ".join(sorted(effect.value for effect in effects))
            message = f"`{form.uses}` is a step that {_VERBS[action.effect]}: only steps that {allowed} may stand here"
            self._fault((*path, "uses"), "wrong-effect", message)
        return StepRule(
            uses=form.uses,
            action=action,
            parameters=self._parameters(path, form, action),
            id=form.id,
            condition=condition,
            expect=expect,
            timeout=form.timeout,
            retry=None if form.retry is None else Retry(form.retry.attempts, form.retry.backoff),
            for_each=for_each,
            max=form.max,
            continue_on_error=form.continue_on_error,
        )

    def _parameters(self, path: Path, form: StepForm, action: Action[Any]) -> ParameterTemplates:
        parameters = ParameterTemplates(form.with_, action.parameters)
        none_allowed = self._settings is not None and not self._settings.get("http", {}).get("allow")
        problems = [*parameters.problems(), *parameters.misplaced(() if none_allowed else ("*",))]
        written = {dotted(place): (place, value) for place, value in _walk(form.with_)} if problems else {}
        for key, message in problems:
            place, value = next((written[prefix] for prefix in _prefixes(key) if prefix in written), ((), None))
            missing = key.removeprefix(dotted(place)).removeprefix(".")
            code = "bad-template" if isinstance(value, str) and has_template(value) else "bad-parameter"
            self._fault((*path, "with", *place, *filter(None, [missing])), code, message)
        if self._settings is not None and not problems:
            self._configured(path, form, action, self._settings)
        return parameters

    def _configured(self, path: Path, form: StepForm, action: Action[Any], settings: Mapping[str, Any]) -> None:
        """Find what the configuration lacks or forbids, as far as the parameters are literal."""
        if action.section is not None and action.section not in settings:
            message = f"`{action.name}` needs the section `{action.section}`, which the configuration hasn't got"
            self._fault((*path, "uses"), "not-configured", message)
            return
        try:
            trial = action.parameters.model_validate_json(json.dumps(_with_stand_ins(form.with_)))
        except ValidationError:
            return  # a number comes from a template
        names = settings.get("secrets", ())
        for place, name in _walk(form.with_):
            if place[-1:] == ("secret",) and isinstance(name, str) and name in _secrets(trial) and name not in names:
                message = f"the configuration has no secret `{name}`{nearest(name, names)}"
                self._fault((*path, "with", *place), "missing-secret", message)
        why = action.check(trial, settings)
        if why is not None and _STAND_IN not in why:
            self._fault((*path, "with"), "not-allowed", why)

    def _text(self, path: Path, source: str, gate: Gate, sees: Sees) -> Text | None:
        try:
            text = Text(source, gate)
        except TemplateError as error:
            self._fault(path, "bad-template", str(error))
            return None
        self._known(path, text, sees)
        return text

    def _expression(self, path: Path, source: str | None, sees: Sees) -> Expression | None:
        if source is None:
            return None
        try:
            expression = Expression(source)
        except TemplateError as error:
            self._fault(path, "bad-template", str(error))
            return None
        self._known(path, expression, sees)
        return expression

    def _parameter_names(self, path: Path, values: dict[str, Any], sees: Sees) -> None:
        for place, source in _walk(values):
            if isinstance(source, str) and has_template(source):
                with suppress(TemplateError):  # whether it can be read at all is for ParameterTemplates to say
                    text = Text(source, Gate.DISPLAY)
                    self._known((*path, *place), text, sees)

    def _known(self, path: Path, source: Text | Expression, sees: Sees) -> None:
        for name in sorted(source.names - sees.names):
            near = _SOMETIMES.get(name) or f"nothing has this name{nearest(name, sees.names)}"
            self._fault(path, "unknown-name", f"`{name}` can't be used here: {near}")
        for reference in sorted(source.references):
            name, _, below = reference.partition(".")
            if name in sees.names and not self._partial:
                why = self._missing(name, below, sees)
                if why is not None:
                    self._fault(path, "unknown-name", f"`{reference}` can't be used here: {why}")
        for step, below in sorted(source.of_steps):
            if step in sees.steps and below not in _OF_A_STEP:
                why = f"of a step there is `ok` and `result`; what came of it is under `steps.{step}.result`"
                self._fault(path, "unknown-name", f"`steps.{step}.{below}` can't be used here: {why}")

    def _missing(self, name: str, below: str, sees: Sees) -> str | None:
        there = {"facts": sees.facts, "steps": sees.steps, "vars": tuple(self._vars), **_HOLD}.get(name)
        if there is None or below in there:
            return None
        if name in _HOLD:
            listed = ", ".join(f"`{name}.{each}`" for each in there)
            return f"there is {listed}{nearest(below, there)}"
        if below in sees.later:
            return "it has not run when this is rendered"
        what = {"facts": "no fact has this id", "steps": "no earlier step has this id", "vars": "it is not set"}[name]
        return f"{what}{nearest(below, there)}"

    def _fault(self, path: Path, code: str, message: str, severity: Literal["error", "warning"] = "error") -> None:
        self.faults.append(Fault(path, code, message, severity=severity))


def ids(forms: Sequence[StepForm]) -> tuple[str, ...]:
    """Give the ids of those that have one."""
    return tuple(form.id for form in forms if form.id is not None)


def _walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Give a value and all values inside it, with their paths."""
    yield path, value
    if isinstance(value, dict | list):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _walk(item, (*path, step))


def _prefixes(key: str) -> Iterator[str]:
    """Give `a[0].b`, `a[0]`, `a`."""
    while key:
        yield key
        key = key[: max(key.rfind("."), key.rfind("["), 0)]


def _with_stand_ins(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_stand_ins(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_stand_ins(item) for item in value]
    return _STAND_IN if isinstance(value, str) and has_template(value) else value


def _secrets(value: Any) -> frozenset[str]:
    """Give the names of the secrets that parameters refer to."""
    if isinstance(value, SecretReference):
        return frozenset({value.secret})
    if isinstance(value, BaseModel):
        value = dict(value)
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return frozenset[str]().union(*map(_secrets, items))
