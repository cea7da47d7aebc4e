"""Coverage: which rules, guards and branches no test reaches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TypeAlias

from remediator.model.run import EventKind, Phase, Reason, Step, StepState
from remediator.model.story import Story
from remediator.review.ruletest.play import Played
from remediator.rules.rule import Rule, StepRule
from remediator.store.protocol import StoredEvent


class Kind(StrEnum):
    """What a test can reach."""

    RULE = "rules"
    GUARD = "guards"
    BRANCH = "branches"


@dataclass(frozen=True, slots=True)
class Point:
    """One thing of a rule that a test can reach."""

    kind: Kind
    rule: str
    file: Path  # the rule's, resolved: rules under two names are one
    what: str = ""  # which guard or branch
    line: int = field(default=0, compare=False)

    @property
    def words(self) -> str:
        """Name it to people."""
        match self.kind:
            case Kind.RULE:
                return "a run of it"
            case Kind.GUARD:
                return f"a refusal by guard.{self.what}"
            case Kind.BRANCH:
                return self.what


_FOLLOW_UPS = (Phase.UNDO, Phase.REVERT, Phase.ON_SUCCESS, Phase.ON_FAILURE, Phase.ON_BLOCKED)
_VERIFY_FALSE = "a verification that does not hold"
_RUNG = "ladder[{}]"
_KEYS = {Phase.VERIFY: "verify.checks"}


def points(rules: Iterable[Rule]) -> dict[Point, None]:
    """Give all that tests of these rules can reach, in the order of the rules."""
    return dict.fromkeys(point for rule in rules for point in _points(rule))


def _points(rule: Rule) -> Iterator[Point]:
    yield _point(rule, Kind.RULE)
    for guard in _guards(rule):
        yield _point(rule, Kind.GUARD, guard)
    for place, step in _steps(rule):
        if step.condition is not None:
            yield _point(rule, Kind.BRANCH, _condition(place, step, True))
            yield _point(rule, Kind.BRANCH, _condition(place, step, False))
    if any(rung.verify is not None for rung in rule.rungs):
        yield _point(rule, Kind.BRANCH, _VERIFY_FALSE)
    yield from (_point(rule, Kind.BRANCH, phase) for phase in _FOLLOW_UPS if rule.list_for(phase, 0))
    yield from (_point(rule, Kind.BRANCH, _RUNG.format(number)) for number in range(1, len(rule.rungs)))


def reached(played: Played, rules: Mapping[str, Rule]) -> set[Point]:
    """Give what a test has reached."""
    found = {point for story in played.stories for point in _reached(story, rules[story.run.rule])}
    return found | set(_refused(played.events, rules))


def _reached(story: Story, rule: Rule) -> Iterator[Point]:
    yield _point(rule, Kind.RULE)
    yield from (_point(rule, Kind.BRANCH, _RUNG.format(number)) for number in range(1, story.run.rung + 1))
    unproved = story.run.reason is Reason.LADDER and story.run.verify_since is not None  # not one that nobody let go on
    if story.run.reason is Reason.VERIFY or unproved or _climbed(story):
        yield _point(rule, Kind.BRANCH, _VERIFY_FALSE)
    for step in story.steps:
        if step.phase in _FOLLOW_UPS:
            yield _point(rule, Kind.BRANCH, step.phase)
        written = rule.list_for(step.phase, step.rung)
        if step.position >= len(written):
            continue  # the engine's own: it asks Alertmanager
        rung = step.rung if step.phase in _OF_A_RUNG else 0
        place = (step.phase, rung, step.position)
        if written[step.position].condition is not None:
            yield _point(rule, Kind.BRANCH, _condition(place, written[step.position], _held(step)))


def _climbed(story: Story) -> bool:
    return len({step.rung for step in story.steps if step.phase is Phase.STEPS}) > 1


def _held(step: Step) -> bool:
    """Tell whether a step's `if` was true. One that is skipped for an empty `for_each` has a list, if an empty one."""
    return step.state is not StepState.SKIPPED or step.items is not None


def _refused(events: Sequence[StoredEvent], rules: Mapping[str, Rule]) -> Iterator[Point]:
    """Give the guards that refused, for good or, under `patience`, for a while."""
    for event in events:
        if event.kind in (EventKind.REFUSED, EventKind.MOVED):
            rule = rules.get(event.data["rule"])  # None: the daemon's own notices
            if rule is not None and event.data["reason"] in _guards(rule):
                yield _point(rule, Kind.GUARD, event.data["reason"])


def _guards(rule: Rule) -> Collection[str]:
    """Give the guards that are written in a rule and may refuse; each has a reason by its own name."""
    return [key for key in rule.definition.get("guard", {}) if key in set(Reason) and not _idle(rule, key)]


def _idle(rule: Rule, key: str) -> bool:
    """Tell whether a guard is written so that it never refuses, as where a rule takes back one of the `defaults`."""
    guards = rule.guards
    match key:
        case "cooldown":
            return not guards.cooldown
        case "unless_firing":
            return not guards.unless_firing
        case "episodes":
            return guards.episodes is not None and guards.episodes.at_least <= 1 and guards.episodes.at_most is None
        case "lock":
            return not rule.writes
    return False


_Place: TypeAlias = tuple[Phase, int, int]  # of a step: phase, rung, position in the list
_OF_A_RUNG = frozenset({Phase.STEPS, Phase.VERIFY})


def _steps(rule: Rule) -> Iterator[tuple[_Place, StepRule]]:
    for phase in Phase:
        for rung in range(len(rule.rungs)) if phase in _OF_A_RUNG else (0,):
            for position, step in enumerate(rule.list_for(phase, rung)):
                yield (phase, rung, position), step


def _condition(place: _Place, step: StepRule, held: bool) -> str:
    phase, rung, position = place
    on = f"{_RUNG.format(rung)}." if rung else ""
    return f"{on}{_KEYS.get(phase, phase)}[{position}] ({step.label}) with `if` {str(held).lower()}"


def _point(rule: Rule, kind: Kind, what: str = "") -> Point:
    return Point(kind, rule.name, _resolved(rule.file), what, rule.line)


@cache
def _resolved(file: str) -> Path:
    return Path(file).resolve()


class Coverage:
    """What there is to reach, and what no test reaches."""

    def __init__(self, there: Mapping[Point, None], seen: Collection[Point]) -> None:
        gone = {(point.rule, point.file) for point in there if point.kind is Kind.RULE and point not in seen}
        left = [point for point in there if point not in seen]
        self.counts = {
            kind: (_count(kind, there) - _count(kind, left), _count(kind, there)) for kind in Kind
        }  # reached, there
        # Of a rule that no test makes a run of, that is all there is to say.
        self.missed = [point for point in left if point.kind is Kind.RULE or (point.rule, point.file) not in gone]


def _count(kind: Kind, points: Iterable[Point]) -> int:
    return sum(point.kind is kind for point in points)
