"""Guard: may this run begin? Pure functions of (rule, facts, books, now), each of which allows or refuses with a Reason.

`prepare` says what the store has to be asked, `decide` judges the answer. Anything that a guard needs and can't get counts
as a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from remediator.model.books import Allowance, Books, Question
from remediator.model.run import Reason, Run
from remediator.model.time import Timestamp, format_duration
from remediator.rules.matchers import Matcher, parse_matchers
from remediator.rules.rule import FiringSet, Rule
from remediator.rules.templates import TemplateError

MatcherSet: TypeAlias = tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A "no", as well described as a "yes"."""

    reason: Reason
    because: str  # the figures it was decided by
    clears_at: Timestamp | None = None  # when it will clear by itself, where that is known


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that the guards of one run decide by, but for the books."""

    rule: Rule
    question: Question
    unless_firing: tuple[MatcherSet, ...]
    only_firing: tuple[MatcherSet, ...]
    scope: Mapping[str, Any]


def prepare(run: Run, rule: Rule, target: str, scope: Mapping[str, Any], daemon: Sequence[Allowance]) -> Case:
    """Render what the guards of a run compare with, and make the question to the store.

    `daemon` are the daemon's own limits, over all rules. Raises TemplateError and UnsafeValue.
    """
    unless, only = _matcher_sets(rule.guards.unless_firing, scope), _matcher_sets(rule.guards.only_firing, scope)
    own = tuple(
        Allowance(count=limit.count, per=limit.per, rule=rule.name, target=target if limit.by_target else None)
        for limit in rule.guards.limits
    )
    lock = None
    if rule.writes:
        lock = str(rule.guards.lock.render(scope)) if rule.guards.lock else target
        if not lock:
            raise TemplateError("guard.lock is an empty text: a lock needs a name")
    question = Question(
        run=run.id,
        rule=rule.name,
        target=target,
        dry=run.dry,
        priority=run.priority,
        allowances=own + tuple(daemon),
        lock=lock,
        firing=_names([*unless, *only]),
    )
    return Case(rule=rule, question=question, unless_firing=unless, only_firing=only, scope=scope)


def _matcher_sets(sets: Sequence[FiringSet], scope: Mapping[str, Any]) -> tuple[MatcherSet, ...]:
    try:
        return tuple(parse_matchers(str(each.text.render(scope))) for each in sets)
    except TemplateError:
        raise
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise TemplateError(f"a matcher of a guard can't be read: {error}") from error


def _names(sets: Sequence[MatcherSet]) -> tuple[str | None, ...]:
    """Give the alert names that decide, so that the store need not read every alert; (None,) where only all will do."""
    names: set[str] = set()
    for matchers in sets:
        bound = next((each.literals for each in matchers if each.name == "alertname" and each.literals), None)
        if bound is None:
            return (None,)
        names |= bound
    return tuple(sorted(names))


def cooldown(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse while the last run of this rule on this target ended less than the cooldown ago, however it ended."""
    span = case.rule.guards.cooldown
    if not span or books.last_ended_at is None or now - books.last_ended_at >= span:
        return None
    ago = format_duration(now - books.last_ended_at)
    return Refusal(
        Reason.COOLDOWN,
        f"the last run of {case.rule.name} on {case.question.target} ended {ago} ago, cooldown is {format_duration(span)}",
        books.last_ended_at + span,
    )


def limit(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse when as many runs as a limit allows were admitted in its span."""
    for allowance, full_since in zip(case.question.allowances, books.full_since, strict=True):
        if full_since is not None and now - full_since < allowance.per:
            of = f"of {allowance.rule}" if allowance.rule else "of all rules, the daemon's own limit"
            on = f" on {allowance.target}" if allowance.target else ""
            return Refusal(
                Reason.LIMIT,
                f"{allowance.count} runs {of}{on} were admitted in the last {format_duration(allowance.per)}, "
                "and that many are allowed",
                full_since + allowance.per,
            )
    return None


def unless_firing(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse while an alert fires that shows the cause to be elsewhere."""
    for matchers in case.unless_firing:
        found = _firing(matchers, books)
        if found is not None:
            return Refusal(Reason.UNLESS_FIRING, f"{_show(found)} is firing, which {_braced(matchers)} forbids")
    return None


def only_firing(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse while an alert that has to fire beside this one does not."""
    for matchers in case.only_firing:
        if _firing(matchers, books) is None:
            return Refusal(Reason.ONLY_FIRING, f"no alert that matches {_braced(matchers)} is firing")
    return None


def only_if(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse when a condition on labels and facts is false, or can't be known."""
    for condition in case.rule.guards.only_if:
        try:
            if not condition.holds(case.scope):
                return Refusal(Reason.ONLY_IF, f"`{condition.source}` is false")
        except TemplateError as error:
            return Refusal(Reason.ONLY_IF, f"`{condition.source}` can't be known: {error}")
    return None


def lock(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse while another run, of any rule, holds the lock."""
    if books.lock_holder is None:
        return None
    return Refusal(Reason.LOCK, f"run {books.lock_holder} holds the lock {case.question.lock}")


Guard: TypeAlias = Callable[[Case, Books, Timestamp], Refusal | None]

# In the order in which they are asked: what the world says first, then what we have done ourselves.
GUARDS: tuple[Guard, ...] = (only_if, unless_firing, only_firing, cooldown, limit, lock)


def decide(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Give the first refusal, or None where every guard allows."""
    for guard in GUARDS:
        refusal = guard(case, books, now)
        if refusal is not None:
            return refusal
    return None


def _firing(matchers: MatcherSet, books: Books) -> Mapping[str, str] | None:
    for labels in books.firing:
        if all(matcher.matches(labels) for matcher in matchers):
            return labels
    return None


def _braced(matchers: MatcherSet) -> str:
    return "{" + ", ".join(str(matcher) for matcher in matchers) + "}"


def _show(labels: Mapping[str, str]) -> str:
    name = labels.get("alertname", "an alert without a name")
    where = labels.get("instance") or labels.get("app") or labels.get("service")
    return f"{name} ({where})" if where else name
