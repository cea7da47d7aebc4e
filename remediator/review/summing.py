"""Summing up: from runs to a report. Pure.

Runs of confidential rules are set apart before anything is told of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from remediator.model.control import Control, ControlKind
from remediator.model.run import Book, Origin, Reason, Run, State
from remediator.model.time import Seconds, Timestamp, format_rfc3339
from remediator.review.report import (
    Deed,
    Group,
    Listing,
    Missed,
    Need,
    Numbers,
    Pressing,
    Report,
    Review,
    RuleNumbers,
    Veiled,
    Verdict,
)
from remediator.rules.rule import Rule

T = TypeVar("T")

_LONGEST = 20  # entries of a list
_WORDS = 300  # characters of a sentence that holds values from outside
_BEGUN = {Verdict.HELPED, Verdict.DONE, Verdict.FAILED, Verdict.STOPPED}
_COUNTED = [*_BEGUN, Verdict.REFUSED, Verdict.NOT_BEGUN, Verdict.OPEN]
_NEEDS = {each: place for place, each in enumerate(Need)}


@dataclass(frozen=True, slots=True)
class Material:
    """What a report is made of."""

    runs: Sequence[Run]  # all that are open, and those that ended in the span; notices too
    rules: Sequence[Rule] = ()  # in force
    controls: Sequence[Control] = ()  # laid, and neither lifted nor over
    confidential: frozenset[str] = frozenset()  # rules that are, or were when one of the runs began
    whole: bool = True
    what: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by run: what it did, or would have done
    resolved: Mapping[str, Timestamp] = field(default_factory=dict)  # by refused run: when all its alerts had resolved
    drilled: frozenset[str] = frozenset()  # rules that a drill has shown to work lately
    refused: Mapping[str, str] = field(default_factory=dict)  # by host: why a daemon goes on by the last good set
    missed: Sequence[Mapping[str, Any]] = ()  # what was recorded of times of schedules at which nothing was begun


def report_of(material: Material, since: Timestamp, now: Timestamp) -> Report:
    """Make the report of a span that ends now."""
    runs = sorted((run for run in material.runs if run.origin is not Origin.NOTICE), key=lambda run: run.id)
    seen = [run for run in runs if run.rule not in material.confidential]
    veiled = [run for run in runs if run.rule in material.confidential]
    mine = [run for run in seen if _own(run)]
    counted = [run for run in runs if _own(run)]

    def deeds(some: Iterable[Run]) -> Listing[Deed]:
        return _deeds(list(some), material.what)

    return Report(
        since=format_rfc3339(since),
        until=format_rfc3339(now),
        whole=material.whole,
        numbers=_numbers(counted),
        begun_by_hand=sum(run.origin is Origin.HAND and not run.drill for run in runs),
        drilled=sum(run.drill for run in runs),
        pressing=_pressing(material, runs),
        acted=deeds(run for run in mine if _acted(run)),
        would_have_acted=deeds(run for run in mine if _would_have_acted(run)),
        refused=_groups([run for run in mine if verdict_of(run) is Verdict.REFUSED], material.resolved),
        not_begun=_groups([run for run in mine if verdict_of(run) is Verdict.NOT_BEGUN]),
        by_hand=deeds(run for run in seen if run.origin is Origin.HAND and not run.drill),
        drills=deeds(run for run in seen if run.drill),
        waiting=_groups([run for run in mine if run.open and _need_of(run) is None]),
        confidential=_veiled(veiled),
        rules=_by_rule(mine),
        reviews_due=_reviews(material.rules, now),
        never_reviewed=_listing(rule.name for rule in material.rules if rule.reviewed is None),
        undrilled=_listing(_undrilled(material)),
        missed=_missed(material),
    )


def verdict_of(run: Run) -> Verdict:
    """Say what became of a run."""
    if run.open:
        return Verdict.OPEN
    if run.state is State.SUCCEEDED:  # where a person says that it did, nothing has verified it
        verified = run.verify_since is not None and run.reason is not Reason.OPERATOR
        return Verdict.HELPED if verified else Verdict.DONE
    if run.state is State.PLANNED:
        return Verdict.PLANNED if run.healed_at is None else Verdict.HEALED
    begun = run.started_at is not None
    if run.state is State.CANCELLED:
        return Verdict.STOPPED if begun else Verdict.NOT_BEGUN
    return Verdict.FAILED if run.state is State.FAILED and begun else Verdict.REFUSED


def _own(run: Run) -> bool:
    """Tell whether the daemon began it in earnest, and not a person."""
    return run.origin is not Origin.HAND and not run.drill


def _acted(run: Run) -> bool:
    return not run.dry and verdict_of(run) in _BEGUN


def _would_have_acted(run: Run) -> bool:
    verdict = verdict_of(run)
    return verdict in {Verdict.HEALED, Verdict.PLANNED} or (run.dry and verdict in _BEGUN)


def _undrilled(material: Material) -> Sequence[str]:
    """Name the rule files that have something to drill, and of which nothing was drilled lately."""
    files: dict[str, bool] = {}
    for rule in material.rules:
        if rule.vars.get("drill"):
            name = Path(rule.file).name
            files[name] = files.get(name, False) or rule.name in material.drilled
    return [name for name, drilled in files.items() if not drilled]


# -- what needs a person --

_LAID = {ControlKind.BREAKER: Need.BREAKER, ControlKind.STORM: Need.STORM, ControlKind.PAUSE: Need.PAUSE,
         ControlKind.MODE: Need.MODE}  # fmt: skip
_HELD = {Reason.PAUSED, Reason.OFF}


def _need_of(run: Run) -> Need | None:
    if run.state is State.UNKNOWN:
        return Need.UNKNOWN
    if run.state is State.AWAITING_APPROVAL:
        return Need.APPROVAL
    if run.origin is Origin.REVERT and run.state is State.WAITING and run.reason in _HELD:
        return Need.REVERT_HELD
    if run.state is not State.FAILED or run.dry or run.drill or run.reason is Reason.OPERATOR:
        return None  # what a person has settled needs no other
    return Need.NOTICE if run.origin is Origin.NOTICE else Need.FAILED


def _pressing(material: Material, runs: Sequence[Run]) -> Listing[Pressing]:
    good = {_place(run): run.id for run in runs if _acted(run) and run.state is State.SUCCEEDED and not run.drill}

    def key(run: Run) -> Hashable:
        need = _need_of(run)
        mended = need is Need.FAILED and good.get(_place(run), "") > run.id
        return None if need is None or mended else (need, run.rule, run.target, run.reason, run.priority)

    notices = [run for run in material.runs if run.origin is Origin.NOTICE]
    laid = [each for each in material.controls if each.kind in _LAID and each.book is Book.LIVE]
    found = [_laid(each, material.confidential) for each in laid]
    found += [Pressing(Need.RULES, 1, None, target=host, because=_cut(why)) for host, why in material.refused.items()]
    found += [_needed(group, material.confidential) for group in _alike([*runs, *notices], key)]
    found.sort(key=lambda each: (_NEEDS[each.need], each.priority or "", each.run or ""))
    return _listing(found)


def _place(run: Run) -> Hashable:
    return run.rule, run.target, run.origin is Origin.REVERT


def _laid(control: Control, confidential: frozenset[str]) -> Pressing:
    told = Pressing(_LAID[control.kind], 1, rule=control.rule)
    if control.rule in confidential:
        return told
    mode = "" if control.mode is None else f", {control.mode} at most"
    until = "" if control.until is None else f", until {format_rfc3339(control.until)}"
    because = f"{_short(f'{control.author}: {control.reason}')}{mode}{until}"
    return replace(told, since=format_rfc3339(control.laid_at), target=control.target, because=because)


def _needed(group: Sequence[Run], confidential: frozenset[str]) -> Pressing:
    newest = group[-1]
    need = _need_of(newest)
    if need is None:
        raise AssertionError("a run that needs nobody")
    told = Pressing(need, len(group), rule=newest.rule, priority=newest.priority, run=newest.id)
    if newest.rule in confidential:
        return told
    since = min(_first(run.failed_at, run.asked_at, run.created_at) for run in group)
    return replace(told, since=format_rfc3339(since), target=newest.target, because=_cut(newest.because))


# -- what was done, and what was not --


def _deeds(runs: Sequence[Run], what: Mapping[str, tuple[str, ...]]) -> Listing[Deed]:
    """Tell of runs that began or would have: failures first, then the most urgent, then the newest."""
    groups = _alike(
        runs,
        lambda run: (run.rule, run.target, what.get(run.id), verdict_of(run), run.reason, run.dry, run.origin),
    )
    deeds = [_deed(group, what.get(group[-1].id, ())) for group in groups]
    deeds.sort(key=lambda each: each.last_at, reverse=True)
    return _listing(sorted(deeds, key=lambda each: (each.verdict is not Verdict.FAILED, each.priority)))


def _deed(group: Sequence[Run], what: Sequence[str]) -> Deed:
    newest = group[-1]
    times = [_first(run.started_at, run.created_at) for run in group]
    spans = [span for span in map(_span, group) if span is not None]
    return Deed(
        rule=newest.rule, target=newest.target, priority=min(run.priority for run in group), origin=newest.origin,
        dry=newest.dry, what=tuple(map(_short, what)), verdict=verdict_of(newest), reason=newest.reason,
        because=_cut(newest.because), count=len(group), first_at=format_rfc3339(min(times)),
        last_at=format_rfc3339(max(times)), shortest=min(spans, default=None), longest=max(spans, default=None),
        run=newest.id,
    )  # fmt: skip


def _span(run: Run) -> Seconds | None:
    if run.healed_after is not None:
        return run.healed_after
    return None if run.dry or run.started_at is None or run.ended_at is None else run.ended_at - run.started_at


def _groups(runs: Sequence[Run], resolved: Mapping[str, Timestamp] | None = None) -> Listing[Group]:
    """Tell of runs by rule, state and reason, the largest groups first; reverts by themselves."""
    alike = _alike(runs, lambda run: (run.rule, run.state, run.reason, run.origin is Origin.REVERT))
    groups = [_group(each, resolved or {}) for each in alike]
    return _listing(sorted(groups, key=lambda each: -each.count))


def _group(group: Sequence[Run], resolved: Mapping[str, Timestamp]) -> Group:
    newest = group[-1]
    times = [run.created_at for run in group]
    spans = [span for span in (_healed_after(run, resolved) for run in group) if span is not None]
    return Group(
        rule=newest.rule, state=newest.state, reason=newest.reason, count=len(group),
        dry=sum(run.dry for run in group), healed=len(spans), shortest=min(spans, default=None),
        longest=max(spans, default=None), first_at=format_rfc3339(min(times)), last_at=format_rfc3339(max(times)),
        target=newest.target, because=_cut(_stays(newest)), run=newest.id,
    )  # fmt: skip


def _stays(run: Run) -> str | None:
    if run.origin is not Origin.REVERT or run.open:
        return run.because
    return f"what run {run.reverts} did is not taken back" + (f": {run.because}" if run.because else "")


def _healed_after(run: Run, resolved: Mapping[str, Timestamp]) -> Seconds | None:
    at = resolved.get(run.id)
    return (
        run.healed_after if at is None else max(0.0, at - run.created_at)
    )  # it may have been over when it was told of


def _veiled(runs: Sequence[Run]) -> Listing[Veiled]:
    groups = _alike(runs, lambda run: (run.rule, run.priority, run.state))
    return _listing(Veiled(each[-1].rule, each[-1].priority, each[-1].state, len(each), each[-1].id) for each in groups)


# -- numbers and reviews --


def _numbers(runs: Sequence[Run]) -> Numbers:
    verdicts = Counter(verdict_of(run) for run in runs if not _would_have_acted(run))
    counts = {str(verdict): verdicts[verdict] for verdict in _COUNTED}
    would = [run for run in runs if _would_have_acted(run)]
    healed = sum(run.healed_at is not None for run in would)
    return Numbers(runs=len(runs), would_have_acted=len(would), healed=healed, **counts)


def _by_rule(runs: Sequence[Run]) -> Listing[RuleNumbers]:
    counted = [RuleNumbers(group[0].rule, _numbers(group)) for group in _alike(runs, lambda run: run.rule)]
    return _listing(sorted(counted, key=lambda each: (-each.numbers.runs, each.rule)))


def _reviews(rules: Sequence[Rule], now: Timestamp) -> Listing[Review]:
    due = [
        Review(rule.name, rule.owner, rule.reviewed or "", now - rule.review_due)
        for rule in rules
        if rule.review_due is not None and rule.review_due <= now
    ]
    return _listing(sorted(due, key=lambda each: -each.overdue))


# -- times of schedules that were missed --


def _missed(material: Material) -> Listing[Missed]:
    """Tell of missed times by rule and reason, in the order of the newest; an open run's id makes no other reason."""
    found: dict[Hashable, Missed] = {}
    for data in material.missed:
        rule = data["rule"]
        because = None if rule in material.confidential else _short(data["because"])
        key = rule, because and re.sub(r"^run \w+ ", "", because)
        before = found.pop(key, None)
        times, first = (0, data["first"]) if before is None else (before.times, before.first_at)
        found[key] = Missed(rule, times + data["times"], first, data["last"], because)
    return _listing(reversed(found.values()))


# -- shared --


def _alike(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> list[list[Run]]:
    """Put runs together that have the same key, each group as they came; those without one are left out."""
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        own = key(run)
        if own is not None:
            groups.setdefault(own, []).append(run)
    return list(groups.values())


def _listing(entries: Iterable[T]) -> Listing[T]:
    every = tuple(entries)
    return Listing(every[:_LONGEST], max(0, len(every) - _LONGEST))


def _first(*instants: Timestamp | None) -> Timestamp:
    return next(each for each in instants if each is not None)


def _cut(text: str | None) -> str | None:
    return None if text is None else _short(text)


def _short(text: str) -> str:
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}…"
