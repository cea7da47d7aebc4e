"""From one merged definition to a `Rule`, or to all that is wrong with it.

The shape is checked first (`remediator.rules.form`). Parts that have a fault of shape are then left out, so that the rest
can still be looked at: an author sees everything in one go.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from remediator.actions.catalog import Catalog
from remediator.actions.protocol import Action, Effect, Gate, SecretReference
from remediator.document import Fault, Path, dotted, nearest, not_json
from remediator.forms import parse_limit
from remediator.model.run import Mode
from remediator.rules.form import GuardForm, RuleForm, StepForm, VerifyForm, read_form
from remediator.rules.matchers import Matcher, parse_match, parse_matchers
from remediator.rules.parameters import ParameterTemplates
from remediator.rules.rule import FiringSet, Guards, Limit, Retry, Rule, StepRule, Verify
from remediator.rules.templates import Expression, TemplateError, Text, has_template

DEFAULT_COOLDOWN = 300.0  # of a rule that writes

_ALWAYS = frozenset({"labels", "annotations", "alert", "group", "alerts", "rule", "run", "vars"})
_SOMETIMES = {
    "facts": "the facts are not read yet when this is rendered",
    "target": "the target is not known yet when this is rendered",
    "steps": "no step has run when this is rendered",
    "item": "it is there only in `with` and `expect` of a step with `for_each`",
    "result": "it is there only in `expect`",
}

_READS = frozenset({Effect.READ})
_FOLLOWS = frozenset({Effect.READ, Effect.NOTIFY})
_VERBS = {Effect.READ: "reads", Effect.NOTIFY: "notifies", Effect.WRITE: "writes"}
_AS_WRITTEN = (
    "name", "summary", "for_", "when_resolved", "deadline", "confidential", "owner", "runbook", "labels"
)  # fmt: skip
_STAND_IN = "remediator-stand-in"  # for what a template will give, where only the rest can be judged


def hash_of(definition: Mapping[str, Any]) -> str:
    """Give the hash by which a run finds the rule that it began with."""
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def check_rule(
    definition: Mapping[str, Any], catalog: Catalog, settings: Mapping[str, Any] | None
) -> tuple[Rule | None, list[Fault]]:
    """Compile a definition, and give all that is wrong with it; there is a Rule only if there are no errors.

    `settings` are the sections of the configuration, None where what depends on one is assumed to be met.
    """
    written = {key: value for key, value in definition.items() if key != "vars"}
    form, faults = read_form(written)
    partial = any(fault.code != "not-yet" for fault in faults)
    compiler = _Compiler(catalog, settings, definition.get("vars", {}), partial=partial)
    rule = compiler.rule(form, definition) if form is not None else None
    faults = [*faults, *not_json(written), *compiler.faults]
    return (None if any(fault.severity == "error" for fault in faults) else rule), faults


@Mapping.register
class _Word(str):
    """Stands for every value that a template may read, at any depth, and is a plain word in the end."""

    __slots__ = ()

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: object) -> _Word:
        return self


@dataclass(frozen=True, slots=True)
class _Sees:
    """What a template may name at its place."""

    names: frozenset[str]
    facts: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    later: tuple[str, ...] = ()  # ids of steps that have not run by then

    def adding(self, name: str) -> _Sees:
        return replace(self, names=self.names | {name})


class _Compiler:
    """Compiles one rule and collects its faults."""

    def __init__(
        self, catalog: Catalog, settings: Mapping[str, Any] | None, own_vars: Mapping[str, Any], *, partial: bool
    ) -> None:
        self.faults: list[Fault] = []
        self._catalog = catalog
        self._settings = settings
        self._vars = own_vars
        self._partial = partial  # parts were left out, and others may rightly refer to them

    def rule(self, form: RuleForm, definition: Mapping[str, Any]) -> Rule | None:
        """Compile the whole; None where it can't be put together."""
        reading = _Sees(_ALWAYS | {"facts"})
        facts = self._steps(("facts",), form.facts, reading, _READS)
        known = replace(reading, facts=_ids(form.facts))
        target = self._text(("target",), form.target, Gate.HEADER, known)
        admitted = replace(known, names=known.names | {"target", "steps"})
        steps = self._steps(("steps",), form.steps or [], admitted)
        after = replace(admitted, steps=_ids(form.steps or []))
        undone = replace(after, steps=after.steps + _ids(form.undo))
        undo = self._steps(("undo",), form.undo, after)
        writes = any(step.effect is Effect.WRITE for step in (*steps, *undo))
        self._has_work(form)
        matchers = self._match(form, writes=writes)
        guards = self._guards(form.guard, known.adding("target"), writes=writes)
        on_success = self._steps(("on_success",), form.on_success, after, _FOLLOWS)
        on_failure = self._steps(("on_failure",), form.on_failure, undone, _FOLLOWS)
        on_blocked = self._steps(("on_blocked",), form.on_blocked, admitted, _FOLLOWS)
        verify = self._verify(form.verify, after)
        priority = self._text(("priority",), form.priority, Gate.HEADER, _Sees(_ALWAYS))
        if target is None or not isinstance(form.mode, str) or self._partial:
            return None
        taken = {name: getattr(form, name) for name in _AS_WRITTEN}
        return Rule(
            hash=hash_of(definition),
            definition=definition,
            match=matchers,
            target=target,
            steps=steps,
            facts=facts,
            mode=Mode(form.mode),
            guards=guards,
            verify=verify,
            undo=undo,
            on_success=on_success,
            on_failure=on_failure,
            on_blocked=on_blocked,
            priority=None if form.priority == "P2" else priority,
            vars=self._vars,
            **taken,
        )

    # -- what starts it, and what holds it --

    def _match(self, form: RuleForm, *, writes: bool) -> tuple[Matcher, ...]:
        if form.match is None:
            if form.schedule is None and not self._partial:
                self._fault((), "missing-key", "the key `match` is missing: which alerts does the rule take up?")
            return ()
        if form.schedule is not None:
            self._fault(("match",), "bad-value", "a rule has `match` or `schedule`, and this one has both")
        if form.match == "all":
            if writes:
                self._fault(
                    ("match",), "bad-matcher", "`match: all` is for rules that only read or notify: this writes"
                )
            return ()
        try:
            return parse_match(form.match)
        except ValueError as error:
            self._fault(("match",), "bad-matcher", str(error))
            return ()

    def _has_work(self, form: RuleForm) -> None:
        if form.steps is not None and form.ladder is not None:
            self._fault(("ladder",), "bad-value", "a rule has `steps` or `ladder`, and this one has both")
        if form.steps is None and form.ladder is None and not self._partial:
            self._fault((), "missing-key", "the key `steps` is missing: what is to be done?")

    def _guards(self, form: GuardForm, sees: _Sees, *, writes: bool) -> Guards:
        path: Path = ("guard",)
        default_cooldown = DEFAULT_COOLDOWN if writes else 0.0
        limits = [parse_limit(text) for _, text in _places(form.limit)]
        if form.lock is not None and not writes and not self._partial:
            message = "a rule that only reads and notifies takes no lock: this has no effect"
            self._fault((*path, "lock"), "no-effect", message, severity="warning")
        sources = _places(form.only_if)
        conditions = [self._expression((*path, "only_if", *place), source, sees) for place, source in sources]
        return Guards(
            cooldown=default_cooldown if form.cooldown is None else form.cooldown,
            limits=tuple(Limit(limit.count, limit.per, limit.by_target) for limit in limits),
            unless_firing=self._firing_sets((*path, "unless_firing"), form.unless_firing, sees),
            only_firing=self._firing_sets((*path, "only_firing"), form.only_firing, sees),
            only_if=tuple(condition for condition in conditions if condition is not None),
            lock=None if form.lock is None else self._text((*path, "lock"), form.lock, Gate.HEADER, sees),
            patience=form.patience,
        )

    def _firing_sets(self, path: Path, sources: Sequence[str], sees: _Sees) -> tuple[FiringSet, ...]:
        texts = [self._firing_set((*path, position), source, sees) for position, source in enumerate(sources)]
        return tuple(FiringSet(text) for text in texts if text is not None)

    def _firing_set(self, path: Path, source: str, sees: _Sees) -> Text | None:
        text = self._text(path, source, Gate.MATCHERS, sees)
        if text is None:
            return None
        scope = {**dict.fromkeys(text.names, _Word("word")), "vars": self._vars}
        try:
            matchers = parse_matchers(str(text.render(scope)))
        except TemplateError:
            return text  # it needs more than a word, so only a run can tell
        except ValueError as error:
            self._fault(path, "bad-matcher", str(error))
            return text
        if not any(matcher.refuses_empty for matcher in matchers):
            message = 'this is every alert: at least one matcher must refuse the empty string, as in app=~".+"'
            self._fault(path, "bad-matcher", message)
        return text

    def _verify(self, form: VerifyForm | None, sees: _Sees) -> Verify | None:
        if form is None:
            return None
        return Verify(
            within=form.within,
            every=form.every,
            stable_for=form.stable_for,
            resolved=form.resolved,
            checks=self._steps(("verify", "checks"), form.checks, sees, _READS),
        )

    # -- steps --

    def _steps(
        self, path: Path, forms: Sequence[StepForm], sees: _Sees, effects: frozenset[Effect] = frozenset(Effect)
    ) -> tuple[StepRule, ...]:
        compiled = []
        for position, form in enumerate(forms):
            if form.id is not None and form.id in (*sees.facts, *sees.steps):
                message = f"the id `{form.id}` is taken by an earlier step"
                self._fault((*path, position, "id"), "duplicate-id", message)
            step = self._step((*path, position), form, replace(sees, later=_ids(forms[position:])), effects)
            if step is not None:
                compiled.append(step)
            if form.id is not None and path == ("facts",):
                sees = replace(sees, facts=(*sees.facts, form.id))
            elif form.id is not None:
                sees = replace(sees, steps=(*sees.steps, form.id))
        return tuple(compiled)

    def _step(self, path: Path, form: StepForm, sees: _Sees, effects: frozenset[Effect]) -> StepRule | None:
        inside = sees.adding("item") if form.for_each is not None else sees
        condition = self._expression((*path, "if"), form.if_, sees)
        for_each = self._expression((*path, "for_each"), form.for_each, sees)
        expect = self._expression((*path, "expect"), form.expect, inside.adding("result"))
        self._parameter_names((*path, "with"), form.with_, inside)
        action = self._catalog.get(form.uses)
        if action is None:
            message = f"there is no action `{form.uses}`{nearest(form.uses, self._catalog)}"
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
        problems = parameters.problems()
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

    def _text(self, path: Path, source: str, gate: Gate, sees: _Sees) -> Text | None:
        try:
            text = Text(source, gate)
        except TemplateError as error:
            self._fault(path, "bad-template", str(error))
            return None
        self._known(path, text.names, text.references, sees)
        return text

    def _expression(self, path: Path, source: str | None, sees: _Sees) -> Expression | None:
        if source is None:
            return None
        try:
            expression = Expression(source)
        except TemplateError as error:
            self._fault(path, "bad-template", str(error))
            return None
        self._known(path, expression.names, expression.references, sees)
        return expression

    def _parameter_names(self, path: Path, values: dict[str, Any], sees: _Sees) -> None:
        for place, source in _walk(values):
            if isinstance(source, str) and has_template(source):
                with suppress(TemplateError):  # whether it can be read at all is for ParameterTemplates to say
                    text = Text(source, Gate.DISPLAY)
                    self._known((*path, *place), text.names, text.references, sees)

    def _known(self, path: Path, names: frozenset[str], references: frozenset[str], sees: _Sees) -> None:
        for name in sorted(names - sees.names):
            near = _SOMETIMES.get(name) or f"nothing has this name{nearest(name, sees.names)}"
            self._fault(path, "unknown-name", f"`{name}` can't be used here: {near}")
        for reference in sorted(references):
            name, _, below = reference.partition(".")
            if name in sees.names and not self._partial:
                why = self._missing(name, below, sees)
                if why is not None:
                    self._fault(path, "unknown-name", f"`{reference}` can't be used here: {why}")

    def _missing(self, name: str, below: str, sees: _Sees) -> str | None:
        there = {"facts": sees.facts, "steps": sees.steps, "vars": tuple(self._vars)}.get(name)
        if there is None or below in there:
            return None
        if below in sees.later:
            return "it has not run when this is rendered"
        what = {"facts": "no fact has this id", "steps": "no earlier step has this id", "vars": "it is not set"}[name]
        return f"{what}{nearest(below, there)}"

    def _fault(self, path: Path, code: str, message: str, severity: Literal["error", "warning"] = "error") -> None:
        self.faults.append(Fault(path, code, message, severity=severity))


def _ids(forms: Sequence[StepForm]) -> tuple[str, ...]:
    return tuple(form.id for form in forms if form.id is not None)


def _places(value: str | list[str] | None) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield (), value
    else:
        yield from (((position,), source) for position, source in enumerate(value or ()))


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
