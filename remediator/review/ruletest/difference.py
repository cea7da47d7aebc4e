"""The difference between the runs that are expected and those that came, in words that show the author why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remediator.match import stopping_matcher
from remediator.model.time import Seconds
from remediator.review.ruletest.form import ExpectedForm, RuleTestForm
from remediator.review.ruletest.play import Played, Seen
from remediator.rules.rule import Rule

_FIELDS = ("at", "rule", "target", "outcome", "reason", "steps", "mode", "rung")
_SHOWN = 3  # alerts that tell why a rule has no run


@dataclass(frozen=True, slots=True)
class Pair:
    """What was expected beside what came; one of the two may be missing."""

    expected: ExpectedForm | None
    seen: Seen | None

    @property
    def differs(self) -> tuple[str, ...]:
        """Name the fields that are not as expected."""
        if self.expected is None or self.seen is None:
            return ()
        return _differing(self.expected, self.seen)

    @property
    def good(self) -> bool:
        """Tell whether just this was expected."""
        return self.expected is not None and self.seen is not None and not self.differs


def difference(form: RuleTestForm, played: Played, rules: Mapping[str, Rule]) -> str:
    """Compare all runs of a test with those expected; gives an empty text where they are the same, else some lines."""
    pairs = pair(form.expect, played.seen)
    good = sum(each.good for each in pairs)
    if good == len(pairs):
        return ""
    pairs.sort(key=_at)
    rows = [_rows(each) for each in pairs]
    widths = [max(len(row[column]) for some in rows for row in some) for column in range(5)]
    lines = [f"{good} of {len(form.expect)} expected runs came; - is expected, + is what came, * is anything:"]
    for each, some in zip(pairs, rows, strict=True):
        lines += ["  " + "  ".join(map(str.ljust, row, (*widths, 0))).rstrip() for row in some]
        lines += [f"      {words}" for words in _words(each, form, rules)]
    return "\n".join([*lines, *played.notes])


def pair(expected: Sequence[ExpectedForm], seen: Sequence[Seen]) -> list[Pair]:
    """Put each expectation beside a run: as many as can be beside one that is just so, then beside what is most like it."""
    partner = _matched(expected, seen)
    pairs = [Pair(expected[wanted], seen[came]) for came, wanted in partner.items()]
    left = [run for number, run in enumerate(seen) if number not in partner]
    for number, each in enumerate(expected):
        if number not in partner.values():
            like = [run for run in left if each.rule in (None, run.rule)]
            nearest = min(like, key=lambda run, each=each: len(_differing(each, run)), default=None)  # type: ignore[misc]
            left = [run for run in left if run is not nearest]
            pairs.append(Pair(each, nearest))
    return pairs + [Pair(None, run) for run in left]


def _matched(expected: Sequence[ExpectedForm], seen: Sequence[Seen]) -> dict[int, int]:
    """Give, by number of the run, the expectation that it fulfils, for as many as possible (augmenting paths).

    An expectation that leaves much open must not take the run that only another one fits.
    """
    fits = [[number for number, run in enumerate(seen) if not _differing(each, run)] for each in expected]
    partner: dict[int, int] = {}

    def find(wanted: int, tried: set[int]) -> bool:
        for came in fits[wanted]:
            if came not in tried:
                tried.add(came)
                if came not in partner or find(partner[came], tried):
                    partner[came] = wanted
                    return True
        return False

    for wanted in range(len(expected)):
        find(wanted, set())
    return partner


def _differing(expected: ExpectedForm, seen: Seen) -> tuple[str, ...]:
    return tuple(
        field
        for field in _FIELDS
        if (wanted := getattr(expected, field)) is not None
        and _plain(field, wanted) != _plain(field, getattr(seen, field))
    )


def _plain(field: str, value: Any) -> Any:
    """Give a value as it is compared: times to the second."""
    if field == "at":
        return None if value is None else math.floor(value + 0.5)
    return list(value) if field == "steps" else value


# --- in words ---


def _at(each: Pair) -> tuple[bool, Seconds]:
    known = [run.at for run in (each.seen, each.expected) if run is not None and run.at is not None]
    return (not known, known[0] if known else 0.0)


def _rows(each: Pair) -> list[tuple[str, ...]]:
    if each.seen is not None and each.good:
        return [_row("=", each.seen)]
    return [_row(mark, run) for mark, run in (("-", each.expected), ("+", each.seen)) if run is not None]


def _row(mark: str, run: ExpectedForm | Seen) -> tuple[str, ...]:
    outcome = " ".join(word for word in (run.outcome, run.reason) if word is not None)
    steps = "" if run.steps is None else f"[{', '.join(run.steps)}]"
    if isinstance(run, Seen):
        return (mark, _time(run.at), run.rule, run.target or "no target", outcome, steps)
    at = "*" if run.at is None else _time(run.at)
    return (mark, at, run.rule or "*", run.target or "*", outcome or "*", steps)


def _time(at: Seconds | None) -> str:
    """Write a time to the second; `format_duration` would leave out the smaller units."""
    if at is None:
        return "never"
    left, text = math.floor(at + 0.5), ""
    for unit, seconds in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _words(each: Pair, form: RuleTestForm, rules: Mapping[str, Rule]) -> Iterator[str]:
    if each.good:
        return
    if each.seen is None:
        yield "no such run came" + _why_none(each.expected, form, rules)
        return
    if each.expected is None:
        yield "this run is not expected"
    for field in each.differs:
        yield f"{field}: expected {_value(field, each.expected)}, got {_value(field, each.seen)}"
    if each.seen.because:
        yield f"why: {each.seen.because}"


def _value(field: str, run: ExpectedForm | Seen | None) -> str:
    value = getattr(run, field)
    if field == "at":
        return _time(value)
    if field == "steps":
        return f"[{', '.join(value)}]"
    return "none" if value is None else str(value)


def _why_none(expected: ExpectedForm | None, form: RuleTestForm, rules: Mapping[str, Rule]) -> str:
    """Say which matcher keeps the alerts of the test from the rule, where none of them is for it."""
    rule = None if expected is None or expected.rule is None else rules.get(expected.rule)
    if rule is None or not form.alerts:
        return ""
    stops = {
        alert.labels.get("alertname", "the one without a name"): stopping_matcher(rule, alert.labels)
        for alert in form.alerts
    }
    words = [f"of {name}, {matcher} does not match" for name, matcher in stops.items() if matcher is not None]
    return f": no alert is for this rule: {'; '.join(words[:_SHOWN])}" if len(words) == len(stops) else ""
