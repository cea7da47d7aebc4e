"""A rule, compiled: what `remediator.rules.load` makes of YAML and every later stage works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import takewhile
from typing import Any, Literal

from remediator.actions.protocol import Action, Effect
from remediator.model.run import Phase
from remediator.model.time import Seconds, Timestamp
from remediator.rules.cron import Schedule
from remediator.rules.matchers import Matcher
from remediator.rules.parameters import ParameterTemplates
from remediator.rules.templates import Expression, Text
from remediator.rules.windows import Modes

ALWAYS_AUTO = Modes.of("auto")


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
class BlastRadius:
    """At most so many distinct targets in any span, in number, as a fraction of a population, or both."""

    per: Seconds
    targets: int | None = None
    fraction: float | None = None
    of: Expression | None = None  # the population: a list, or its size


@dataclass(frozen=True, slots=True)
class Breaker:
    """So many failures in a span stop what it guards, for a while or till a person closes it."""

    failures: int
    per: Seconds
    reset: Seconds | None  # None: till a person closes it


@dataclass(frozen=True, slots=True)
class EpisodeBounds:
    """How many episodes in a span the rule is for."""

    per: Seconds
    at_least: int = 0
    at_most: int | None = None


@dataclass(frozen=True, slots=True)
class Guards:
    """What must hold before the rule may act."""

    cooldown: Seconds = 0.0
    limits: tuple[Limit, ...] = ()
    unless_firing: tuple[FiringSet, ...] = ()
    only_firing: tuple[FiringSet, ...] = ()
    only_if: tuple[Expression, ...] = ()
    blast_radius: BlastRadius | None = None
    breaker: Breaker | None = None
    episodes: EpisodeBounds | None = None
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


@dataclass(frozen=True, slots=True)
class Approval:
    """Who is asked, and for how long."""

    timeout: Seconds = 900.0
    approvers: tuple[str, ...] = ()  # empty: whoever may operate the daemon
    quorum: int = 1


@dataclass(frozen=True, slots=True)
class Rung:
    """One remedy: what is done, how its success is told, and how far it may go by itself."""

    steps: tuple[StepRule, ...]
    verify: Verify | None = None
    modes: Modes = ALWAYS_AUTO
    approval: Approval = Approval()

    @property
    def leading(self) -> tuple[StepRule, ...]:
        """Give the steps that read before anything else is done: they are taken before a person is asked."""
        return tuple(takewhile(lambda step: step.effect is Effect.READ, self.steps))

    @property
    def writes(self) -> bool:
        """Tell whether any step changes something, and does more than tell people of it."""
        return any(step.effect is Effect.WRITE for step in self.steps)


@dataclass(frozen=True, slots=True)
class Revert:
    """How a temporary change is taken back, at the first of what is given."""

    steps: tuple[StepRule, ...]
    resolved: bool = False  # when the alerts have resolved
    after: Seconds | None = None  # so long after the steps


@dataclass(frozen=True)
class Rule:
    """What to do about which alerts."""

    name: str
    hash: str  # of `definition`: a run keeps the rule with the hash it began with
    definition: Mapping[str, Any]  # the merged YAML with its `vars`, as JSON values: enough to compile it again
    summary: str
    match: tuple[Matcher, ...]  # empty for `match: all`
    target: Text
    rungs: tuple[Rung, ...]  # one of the rule's own `steps`, or those of its `ladder`
    order: int = 0  # place among all files and rules
    file: str = ""
    line: int = 0
    for_: Seconds = 0.0
    facts: tuple[StepRule, ...] = ()
    modes: Modes = ALWAYS_AUTO
    guards: Guards = field(default_factory=Guards)
    schedule: Schedule | None = None
    recurrence: Seconds | None = None  # how long a success is remembered; None: it has no ladder
    revert: Revert | None = None
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
    reviewed: str | None = None  # YYYY-MM-DD
    review_every: Seconds = 90 * 86_400.0
    vars: Mapping[str, Any] = field(default_factory=dict)  # as they were when the rule was loaded

    @property
    def ladder(self) -> bool:
        """Tell whether there is a next remedy where one does not help."""
        return self.recurrence is not None

    @property
    def review_due(self) -> Timestamp | None:
        """Say from when on somebody should go through it again; None: nobody ever has."""
        if self.reviewed is None:
            return None
        return datetime.fromisoformat(self.reviewed).replace(tzinfo=UTC).timestamp() + self.review_every

    def rung(self, number: int) -> Rung:
        """Give one of its rungs, from 0."""
        return self.rungs[number]

    @cached_property
    def writes(self) -> bool:
        """Tell whether any of its steps writes: such a rule has a cooldown and takes a lock."""
        return any(step.effect is Effect.WRITE for step in self.all_steps)

    @cached_property
    def all_steps(self) -> tuple[StepRule, ...]:
        """Give the steps of all its lists."""
        return tuple(
            step for number in range(len(self.rungs)) for phase in Phase for step in self.list_for(phase, number)
        )

    @cached_property
    def names(self) -> frozenset[str]:
        """Give the top-level names that any of its templates use."""
        guards = self.guards
        texts = [self.target, *(each.text for each in (*guards.unless_firing, *guards.only_firing))]
        texts += [text for text in (guards.lock, self.priority) if text is not None]
        expressions = list(guards.only_if)
        if guards.blast_radius is not None and guards.blast_radius.of is not None:
            expressions.append(guards.blast_radius.of)
        for step in self.all_steps:
            expressions += [each for each in (step.condition, step.expect, step.for_each) if each is not None]
        return frozenset().union(
            *(text.names for text in texts),
            *(expression.names for expression in expressions),
            *(step.parameters.names for step in self.all_steps),
        )

    @cached_property
    def loops(self) -> frozenset[str]:
        """Give the ids of the steps that are loops: their results are lists."""
        return frozenset(step.id for step in self.all_steps if step.id is not None and step.for_each is not None)

    def list_for(self, phase: Phase, rung: int) -> tuple[StepRule, ...]:
        """Give the steps of one phase, as they are on a rung."""
        on = self.rungs[rung]
        lists: dict[Phase, tuple[StepRule, ...]] = {
            Phase.FACTS: self.facts,
            Phase.STEPS: on.steps,
            Phase.VERIFY: on.verify.checks if on.verify else (),
            Phase.UNDO: self.undo,
            Phase.REVERT: self.revert.steps if self.revert else (),
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
