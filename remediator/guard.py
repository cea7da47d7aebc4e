"""Guard: may this run begin? Pure functions of (rule, facts, books, now), each of which allows or refuses with a Reason.

`prepare` says what the store has to be asked, `decide` judges the answer. Anything that a guard needs and can't get counts
as a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from remediator.model.books import Allowance, Books, Ending, Question, Touched
from remediator.model.control import Control, ControlKind
from remediator.model.run import Book, Origin, Reason, Run
from remediator.model.time import Timestamp, format_duration, format_rfc3339
from remediator.rules.matchers import Matcher, parse_matchers
from remediator.rules.rule import BlastRadius, FiringSet, Rule
from remediator.rules.standing import Standing
from remediator.rules.templates import Expression, TemplateError

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

    run: Run
    rule: Rule
    question: Question
    radii: tuple[BlastRadius, ...]  # the rule's own and the daemon's, in the order of `question.touched`
    controls: Sequence[Control]
    unless_firing: tuple[MatcherSet, ...]
    only_firing: tuple[MatcherSet, ...]
    scope: Mapping[str, Any]


def prepare(
    run: Run, rule: Rule, scope: Mapping[str, Any], standing: Standing, controls: Sequence[Control], now: Timestamp
) -> Case:
    """Render what the guards of a run compare with, and make the question to the store.

    `run.target` is known by now. Raises TemplateError and UnsafeValue.
    """
    guards, target = rule.guards, run.target or ""
    unless, only = _matcher_sets(guards.unless_firing, scope), _matcher_sets(guards.only_firing, scope)
    own = tuple(
        Allowance(count=limit.count, per=limit.per, rule=rule.name, target=target if limit.by_target else None)
        for limit in guards.limits
    )
    lock = None
    if rule.writes:
        lock = str(guards.lock.render(scope)) if guards.lock else target
        if not lock:
            raise TemplateError("guard.lock is an empty text: a lock needs a name")
    radii = [(each, of) for each, of in ((guards.blast_radius, rule.name), (standing.blast_radius, None)) if each]
    question = Question(
        run=run.id,
        rule=rule.name,
        target=target,
        book=run.book,
        priority=run.priority,
        allowances=own + tuple(standing.allowances),
        touched=tuple(Touched(since=now - each.per, rule=of) for each, of in radii),
        episodes_since=None if guards.episodes is None else now - guards.episodes.per,
        lock=lock,
        firing=_names([*unless, *only]),
    )
    return Case(
        run=run,
        rule=rule,
        question=question,
        radii=tuple(each for each, _ in radii),
        controls=controls,
        unless_firing=unless,
        only_firing=only,
        scope=scope,
    )


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


def storm(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse while more alerts begin than any rule can mend, and for a while after. Schedules go on."""
    laid = _laid(case, ControlKind.STORM)
    if laid is None or case.run.origin is Origin.SCHEDULE:
        return None
    until = "" if laid.until is None else f", till {format_rfc3339(laid.until)}"
    return Refusal(Reason.STORM, f"{laid.reason}{until}: lift it with `{_lift(laid)}`", laid.until)


def breaker(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse while the breaker of the rule, or the daemon's, is open after too many failures."""
    laid = _laid(case, ControlKind.BREAKER)
    if laid is None:
        return None
    whose = f"the breaker of {laid.rule}" if laid.rule else "the daemon's breaker"
    until = "till a person closes it" if laid.until is None else f"till {format_rfc3339(laid.until)}"
    return Refusal(Reason.BREAKER, f"{whose} is open {until}: {laid.reason}: close it with `{_lift(laid)}`", laid.until)


def _laid(case: Case, kind: ControlKind) -> Control | None:
    """Give a control of the daemon's own that covers the run; breakers of dry runs and drills hold only their like."""
    books = {case.question.book, Book.LIVE} if case.question.book is Book.DRY else {case.question.book}
    return next(
        (
            each
            for each in case.controls
            if each.kind is kind
            and each.covers(case.rule.name, case.question.target)
            and (kind is ControlKind.STORM or each.book in books)
        ),
        None,
    )


def _lift(control: Control) -> str:
    return f"remediator resume --control {control.id} --reason …"


def success_before(rule: Rule, books: Books, now: Timestamp) -> Ending | None:
    """Give the success that the target of a ladder has come back from, if it is still remembered."""
    good = books.last_good
    if rule.recurrence is None or good is None or now - good.at > rule.recurrence:
        return None
    return good


def cooldown(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse while the last run of this rule on this target ended less than the cooldown ago, however it ended.

    A run that climbs is exempt: the one next after a success that is still remembered.
    """
    span, last = case.rule.guards.cooldown, books.last
    if not span or last is None or now - last.at >= span:
        return None
    if last == success_before(case.rule, books, now):
        return None
    ago = format_duration(now - last.at)
    return Refusal(
        Reason.COOLDOWN,
        f"the last run of {case.rule.name} on {case.question.target} ended {ago} ago, cooldown is {format_duration(span)}",
        last.at + span,
    )


def limit(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse when as many runs as a limit allows were admitted in its span."""
    for allowance, full_since in zip(case.question.allowances, books.full_since, strict=True):
        if full_since is not None and now - full_since < allowance.per:
            of = f"of {allowance.rule}" if allowance.rule else "of all rules"
            whose = "" if allowance.rule else ": the daemon's own limit, `guard.limit`"
            on = f" on {allowance.target}" if allowance.target else ""
            return Refusal(
                Reason.LIMIT,
                f"{allowance.count} runs {of}{on} were admitted in the last {format_duration(allowance.per)}, "
                f"and that many are allowed{whose}",
                full_since + allowance.per,
            )
    return None


def blast_radius(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse what would touch more distinct targets in the span than allowed, in number or of the population.

    A population that is empty, unknown, or counted from a truncated group refuses: it must never be read as everything.
    """
    for radius, asked, others in zip(case.radii, case.question.touched, books.touched, strict=True):
        count = len(others | {case.question.target})
        words = f"with {case.question.target} it would be {count} targets in {format_duration(radius.per)}"
        whose = f"by {asked.rule}" if asked.rule else "by all rules, the daemon's own blast radius"
        if radius.targets is not None and count > radius.targets:
            return Refusal(Reason.BLAST_RADIUS, f"{words} {whose}, and {radius.targets} are allowed")
        if radius.fraction is None or radius.of is None:
            continue
        population = _population(radius.of, case.scope)
        if isinstance(population, str):
            return Refusal(Reason.BLAST_RADIUS, population)
        # Divided, not multiplied: the author's 0.29 of 100 is 29, whatever floats make of the product.
        if count / population > radius.fraction:
            allowed = f"{radius.fraction:.0%} of {population:g}"
            return Refusal(Reason.BLAST_RADIUS, f"{words} {whose}, and {allowed} are allowed")
    return None


def _population(of: Expression, scope: Mapping[str, Any]) -> float | str:
    """Count the population, or say why it can't be counted."""
    if scope["group"]["truncated"] and of.names & {"alerts", "group"}:
        return f"`{of.source}` counts a group that Alertmanager has truncated: its size is not known"
    try:
        found = of.evaluate(scope)
    except TemplateError as error:
        return f"the population `{of.source}` can't be known: {error}"
    if isinstance(found, list | tuple | Mapping):
        found = len(found)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return f"the population `{of.source}` is neither a list nor a number"
    if not 0 < found < float("inf"):
        return f"the population `{of.source}` is {found:g}: nothing can be a fraction of it"
    return found


def episodes(case: Case, books: Books, now: Timestamp) -> Refusal | None:
    """Refuse a first blip, and what flaps: how often the alerts of this rule and target began in the span."""
    bounds = case.rule.guards.episodes
    if bounds is None:
        return None
    began = f"its alerts began {books.episodes} episodes in {format_duration(bounds.per)}"
    if books.episodes < bounds.at_least:
        return Refusal(Reason.EPISODES, f"{began}, and it takes at least {bounds.at_least}")
    if bounds.at_most is not None and books.episodes > bounds.at_most:
        return Refusal(Reason.EPISODES, f"{began}, and {bounds.at_most} at most are for it: a person has to look")
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
GUARDS: tuple[Guard, ...] = (
    storm, breaker, only_if, unless_firing, only_firing, episodes, cooldown, limit, blast_radius, lock,
)  # fmt: skip


# Those about the world, which counts nothing: what has been admitted is asked these again when a pause that held it is over.
OF_THE_WORLD: tuple[Guard, ...] = (only_if, unless_firing, only_firing)


def decide(case: Case, books: Books, now: Timestamp, guards: Sequence[Guard] | None = None) -> Refusal | None:
    """Give the first refusal, or None where every guard allows: all there are, or some."""
    for guard in GUARDS if guards is None else guards:
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
