"""Rules that would act on one target for one alert.

Only what can be shown is told: the same `alertname` literal, targets that are the same text for any alert, and an example of
an alert that both take up. Nothing is told where a guard, a mode or an `if` of both might keep them apart.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

from remediator.actions.protocol import Effect
from remediator.review.findings import work_of
from remediator.review.overlap import example
from remediator.rules.rule import Rule
from remediator.rules.sandbox import sandbox
from remediator.rules.templates import TemplateError

# What is the same for two rules that take up the same alert; `vars` and `facts` where they are written the same.
_SHARED = frozenset({"labels", "annotations", "alert", "group", "alerts", "vars", "facts"})


class Clash(NamedTuple):
    """Two rules, and an alert that both would act on."""

    first: Rule
    second: Rule
    labels: Mapping[str, str]


def clashes(rules: Sequence[Rule]) -> Iterator[Clash]:
    """Give every rule that clashes with one before it, each once, with the first such."""
    groups: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        target = _target(rule) if _acts(rule) else None
        if target is not None:
            for name in _literals(rule, "alertname"):
                groups.setdefault((name, target), []).append(rule)
    found: dict[int, Clash] = {}
    for group in groups.values():
        for first, second in _pairs(group):
            if second.order in found and found[second.order].first.order <= first.order:
                continue
            labels = None if _kept_apart(first, second) else example((*first.match, *second.match))
            if labels is not None:
                found[second.order] = Clash(first, second, labels)
    yield from (found[order] for order in sorted(found))


def _acts(rule: Rule) -> bool:
    return rule.writes and rule.definition.get("mode") not in ("off", "dry-run")


def _literals(rule: Rule, label: str) -> Iterable[str]:
    return next((sorted(each.literals) for each in rule.match if each.name == label and each.literals), ())


def _target(rule: Rule) -> str | None:
    """Give a text that two rules have in common only if their targets are the same; None where that can't be told."""
    target = rule.target
    if target.trusted:
        try:
            return str(target.render({"vars": rule.vars}))
        except TemplateError:
            return None
    if not target.names <= _SHARED:
        return None
    facts = rule.definition.get("facts") if "facts" in target.names else None
    own_vars = rule.vars if target.names & {"vars", "facts"} else None
    return repr(sandbox().parse(target.source)) + json.dumps([facts, own_vars], sort_keys=True)


def _pairs(group: Sequence[Rule]) -> Iterator[tuple[Rule, Rule]]:
    """Give the pairs that may have an alert in common, without trying all of ten thousand rules for an app each."""
    bound = Counter(matcher.name for rule in group for matcher in rule.match if matcher.literals)
    del bound["alertname"]
    label = next((name for name, _ in bound.most_common(1)), "")
    by_value: dict[str, list[Rule]] = {}
    for rule in group:
        for value in _literals(rule, label):
            by_value.setdefault(value, []).append(rule)
    anywhere = [rule for rule in group if not _literals(rule, label)]
    yield from combinations(anywhere, 2)
    for some in by_value.values():
        yield from combinations(some, 2)
        for one, other in product(some, anywhere):
            yield (one, other) if one.order < other.order else (other, one)


def _kept_apart(first: Rule, second: Rule) -> bool:
    """Tell whether something of both might see to it that only one of them acts."""
    ours, theirs = first.guards, second.guards
    return (
        bool(ours.only_if and theirs.only_if)
        or bool(ours.unless_firing and theirs.only_firing)
        or bool(ours.only_firing and theirs.unless_firing)
        or all("episodes" in rule.definition.get("guard", {}) for rule in (first, second))
        or all(isinstance(rule.definition.get("mode"), list) for rule in (first, second))
        or all(_only_under_conditions(rule) for rule in (first, second))
    )


def _only_under_conditions(rule: Rule) -> bool:
    steps = (step for work in work_of(rule) for step in work.steps)
    return all(step.condition is not None for step in steps if step.effect is Effect.WRITE)
