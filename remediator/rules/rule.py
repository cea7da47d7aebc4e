"""A rule, compiled: what `remediator.rules.load` makes of YAML and every later stage works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from remediator.actions.protocol import Action, Effect
from remediator.model.run import Mode, Phase
from remediator.model.time import Seconds
from remediator.rules.matchers import Matcher
from remediator.rules.parameters import ParameterTemplates
from remediator.rules.templates import Expression, Text


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a step is tried in all, and how long to wait after the first failure (twice as long after each next)."""

    attempts: int
    backoff: Seconds


@dataclass(frozen=True, slots=True)
class StepRule:
    """One step as the rule describes it."""

    uses: str
    action: Action[Any]
    parameters: ParameterTemplates
    id: str | None = None
    condition: Expression | None = None  # `if`
    expect: Expression | None = None
    timeout: Seconds = 60.0
    retry: Retry | None = None
    for_each: Expression | None = None
    max: int = 3
    continue_on_error: bool = False

    @property
    def effect(self) -> Effect:
        """Give what its action does to the world."""
        return self.action.effect

    @property
    def label(self) -> str:
        """Give the words by which people know the step: its id, else its action."""
        return self.id or self.uses


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` admitted runs in any span of `per` seconds, over the rule or for each target."""

    count: int
    per: Seconds
    by_target: bool = False


@dataclass(frozen=True, slots=True)
class FiringSet:
    """One matcher set of `unless_firing` or `only_firing`: its values may be templates, so it is parsed when rendered."""

    text: Text


@dataclass(frozen=True, slots=True)
class Guards:
    """What must hold before the rule may act."""

    cooldown: Seconds = 0.0
    limits: tuple[Limit, ...] = ()
    unless_firing: tuple[FiringSet, ...] = ()
    only_firing: tuple[FiringSet, ...] = ()
    only_if: tuple[Expression, ...] = ()
    lock: Text | None = None  # None: the target
    patience: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class Verify:
    """What must be seen, and for how long, before a run counts as a success."""

    within: Seconds = 300.0
    every: Seconds = 15.0
    stable_for: Seconds = 0.0
    resolved: bool = False
    checks: tuple[StepRule, ...] = ()


@dataclass(frozen=True)
class Rule:
    """What to do about which alerts."""

    name: str
    hash: str  # of `definition`: a run keeps the rule with the hash it began with
    definition: Mapping[str, Any]  # the merged YAML with its `vars`, as JSON values: enough to compile it again
    summary: str
    match: tuple[Matcher, ...]  # empty for `match: all`
    target: Text
    steps: tuple[StepRule, ...]
    order: int = 0  # place among all files and rules
    file: str = ""
    line: int = 0
    for_: Seconds = 0.0
    facts: tuple[StepRule, ...] = ()
    mode: Mode = Mode.AUTO
    guards: Guards = field(default_factory=Guards)
    verify: Verify | None = None
    undo: tuple[StepRule, ...] = ()
    on_success: tuple[StepRule, ...] = ()
    on_failure: tuple[StepRule, ...] = ()
    on_blocked: tuple[StepRule, ...] = ()
    when_resolved: Literal["finish", "cancel"] = "finish"
    deadline: Seconds = 3600.0
    priority: Text | None = None  # None: P2
    confidential: bool = False
    owner: str | None = None
    runbook: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    vars: Mapping[str, Any] = field(default_factory=dict)  # as they were when the rule was loaded

    @cached_property
    def writes(self) -> bool:
        """Tell whether any of its own steps writes: such a rule has a cooldown and takes a lock."""
        return any(step.effect is Effect.WRITE for step in (*self.steps, *self.undo))

    @cached_property
    def names(self) -> frozenset[str]:
        """Give the top-level names that any of its templates use."""
        steps = (*self.facts, *self.steps, *self.undo, *self.on_success, *self.on_failure, *self.on_blocked)
        if self.verify is not None:
            steps += self.verify.checks
        texts = [self.target, *(each.text for each in (*self.guards.unless_firing, *self.guards.only_firing))]
        texts += [text for text in (self.guards.lock, self.priority) if text is not None]
        expressions = list(self.guards.only_if)
        for step in steps:
            expressions += [each for each in (step.condition, step.expect, step.for_each) if each is not None]
        return frozenset().union(
            *(text.names for text in texts),
            *(expression.names for expression in expressions),
            *(step.parameters.names for step in steps),
        )

    @cached_property
    def loops(self) -> frozenset[str]:
        """Give the ids of the steps that are loops: their results are lists."""
        steps = (step for phase in Phase for step in self.list_for(phase))
        return frozenset(step.id for step in steps if step.id is not None and step.for_each is not None)

    def list_for(self, phase: Phase) -> tuple[StepRule, ...]:
        """Give the steps of one phase."""
        lists: dict[Phase, tuple[StepRule, ...]] = {
            Phase.FACTS: self.facts,
            Phase.STEPS: self.steps,
            Phase.VERIFY: self.verify.checks if self.verify else (),
            Phase.UNDO: self.undo,
            Phase.ON_SUCCESS: self.on_success,
            Phase.ON_FAILURE: self.on_failure,
            Phase.ON_BLOCKED: self.on_blocked,
        }
        return lists[phase]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules in force at one moment, in the order of files and rules."""

    rules: tuple[Rule, ...] = ()
    by_name: Mapping[str, Rule] = field(default_factory=dict)

    @staticmethod
    def of(rules: tuple[Rule, ...]) -> RuleSet:
        """Make the set from rules whose names are known to be unique."""
        return RuleSet(rules=rules, by_name={rule.name: rule for rule in rules})
