"""What the rule language says of guards, in lists and loops: written from its text, knowing nothing of the code.

It keeps everything that ever happened and looks through all of it each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Book = str  # live, dry or drill

SEES = {"live": ("live",), "dry": ("live", "dry"), "drill": ("drill",)}


@dataclass
class Guards:
    """The guards of one rule, as its author gives them."""

    cooldown: int = 300
    limits: list[tuple[int, int, bool]] = field(default_factory=list)  # how many, in which span, by target
    targets: tuple[int, int] | None = None  # blast radius: how many, in which span
    fraction: tuple[float, str, int] | None = None  # blast radius: which part, of what, in which span
    breaker: tuple[int, int, int | None] | None = None  # how many failures, in which span, reset
    episodes: tuple[int, int, int] | None = None  # at least, at most, in which span
    unless_firing: bool = False  # the cause, on the same target
    only_firing: bool = False
    only_if: tuple[str, ...] | None = None  # the targets for which the condition is true
    ladder: int = 0  # how many rungs, 0: no ladder
    recurrence: int = 3600
    patience: int = 0  # how long a refused run waits for the refusal to clear


@dataclass
class Own:
    """The daemon's own guards."""

    limits: list[tuple[int, int]] = field(default_factory=list)
    targets: tuple[int, int] | None = None
    breaker: tuple[int, int, int | None] | None = None
    storm: tuple[int, int, int] | None = None  # how many alerts, in which span, hold


@dataclass
class Run:
    """One run, from when it was proposed."""

    rule: str
    target: str
    book: Book
    rung: int = 0
    admitted: float | None = None
    started: float | None = None
    ended: float | None = None
    good: bool = False
    failed: float | None = None  # when it ended `failed` or became `unknown`


@dataclass
class Open:
    """An open breaker."""

    of: str | None  # a rule; None: all
    book: Book
    until: float | None


class Reference:
    """All that has happened, and what the guards say to what is proposed next."""

    def __init__(self, rules: dict[str, Guards], own: Own) -> None:
        self.rules = rules
        self.own = own
        self.runs: list[Run] = []
        self.alerts: list[tuple[float, str, str]] = []  # when each began, under which rule, on which target
        self.begins: list[float] = []  # of all alerts, those of no rule too
        self.causes: set[str] = set()  # targets whose cause fires
        self.breakers: list[Open] = []
        self.closed: dict[tuple[str | None, Book], float] = {}  # when a person last closed a breaker
        self.calmed = -1.0  # when a person last lifted a storm

    # -- what is asked --

    def rung(self, rule: str, target: str, book: Book, now: float) -> int:
        """Say where on the ladder a run starts: one above a success that is remembered."""
        guards = self.rules[rule]
        good = [run for run in self._of(rule, target, book) if run.good and run.ended is not None]
        if not guards.ladder or not good:
            return 0
        newest = max(good, key=lambda run: run.ended or 0.0)
        return newest.rung + 1 if now - (newest.ended or 0.0) <= guards.recurrence else 0

    def refusals(self, rule: str, target: str, book: Book, now: float) -> set[str]:
        """Give every guard that says no."""
        said = {
            "cooldown": self._cooldown(rule, target, book, now),
            "limit": self._limit(rule, target, book, now),
            "blast_radius": self._blast_radius(rule, target, book, now),
            "breaker": self._breaker(rule, book, now),
            "episodes": self._episodes(rule, target, now),
            "unless_firing": self.rules[rule].unless_firing and target in self.causes,
            "only_firing": self.rules[rule].only_firing and target not in self.causes,
            "only_if": (allowed := self.rules[rule].only_if) is not None and target not in allowed,
            "lock": any(run.target == target and run.ended is None for run in self._seen(book) if run.admitted),
            "storm": self.stormy(now),
        }
        return {guard for guard, no in said.items() if no}

    def edges(self, now: float) -> list[float]:
        """Give the instants to come at which something falls out of a span, where "less than" and "at most" part."""
        found: set[float] = {each.until for each in self.breakers if each.until is not None}
        own = [*self.own.limits, *([self.own.targets] if self.own.targets else [])]
        spans = [per for _, per in own] + ([self.own.breaker[1]] if self.own.breaker else [])
        for run in self.runs:
            guards = self.rules[run.rule]
            mine = [*spans, guards.cooldown, *(per for _, per, _ in guards.limits)]
            mine += [
                bound[-1] for bound in (guards.targets, guards.fraction, guards.breaker and guards.breaker[:2]) if bound
            ]
            mine += [guards.recurrence] if guards.ladder else []
            found |= {at + per for at in (run.admitted, run.ended, run.failed) if at is not None for per in mine}
        for at, rule, _ in self.alerts:
            bounds = self.rules[rule].episodes
            found |= {at + bounds[2]} if bounds is not None else set()
        if self.own.storm is not None:
            found |= {at + self.own.storm[1] + held for at in self.begins for held in (0, self.own.storm[2])}
        return sorted(at for at in found if at > now)

    def _seen(self, book: Book) -> list[Run]:
        return [run for run in self.runs if run.book in SEES[book]]

    def _of(self, rule: str, target: str, book: Book) -> list[Run]:
        return [run for run in self._seen(book) if (run.rule, run.target) == (rule, target)]

    def _cooldown(self, rule: str, target: str, book: Book, now: float) -> bool:
        ended = [run for run in self._of(rule, target, book) if run.started is not None and run.ended is not None]
        if not ended:
            return False
        last = max(ended, key=lambda run: run.ended or 0.0)
        ago = now - (last.ended or 0.0)
        climbs = self.rules[rule].ladder and last.good and ago <= self.rules[rule].recurrence
        return ago < self.rules[rule].cooldown and not climbs

    def _limit(self, rule: str, target: str, book: Book, now: float) -> bool:
        admitted = [run for run in self._seen(book) if run.admitted is not None]
        for count, per, by_target in self.rules[rule].limits:
            mine = [run for run in admitted if run.rule == rule and (run.target == target or not by_target)]
            if _within(mine, per, now) >= count:
                return True
        return any(_within(admitted, per, now) >= count for count, per in self.own.limits)

    def _blast_radius(self, rule: str, target: str, book: Book, now: float) -> bool:
        def touched(per: int, of: str | None) -> int:
            recent = [run for run in self._seen(book) if run.admitted is not None and now - run.admitted < per]
            return len({run.target for run in recent if of in (None, run.rule)} | {target})

        guards = self.rules[rule]
        if guards.targets is not None and touched(guards.targets[1], rule) > guards.targets[0]:
            return True
        if self.own.targets is not None and touched(self.own.targets[1], None) > self.own.targets[0]:
            return True
        if guards.fraction is None:
            return False
        part, population, per = guards.fraction
        size = {"4": 4, "10": 10}.get(population, 0)  # what is empty or unknown refuses
        return size == 0 or touched(per, rule) > part * size

    def _breaker(self, rule: str, book: Book, now: float) -> bool:
        return any(
            each.of in (None, rule) and each.book in SEES[book] and (each.until is None or now < each.until)
            for each in self.breakers
        )

    def _episodes(self, rule: str, target: str, now: float) -> bool:
        bounds = self.rules[rule].episodes
        if bounds is None:
            return False
        began = [at for at, of, on in self.alerts if (of, on) == (rule, target) and now - at < bounds[2]]
        return not bounds[0] <= len(began) <= bounds[1]

    def stormy(self, now: float) -> bool:
        """A storm is whenever more than so many began in the span; it holds till so long after it has passed."""
        if self.own.storm is None:
            return False
        most, per, hold = self.own.storm
        begins = sorted(at for at in self.begins if at > self.calmed)
        return any(
            last - first < per and last <= now < first + per + hold
            for first, last in zip(begins, begins[most:], strict=False)
        )

    # -- what happens --

    def alert(self, rule: str | None, target: str, now: float) -> None:
        """Let an alert begin, of a rule or none."""
        self.begins.append(now)
        if rule is not None:
            self.alerts.append((now, rule, target))

    def admit(self, run: Run, now: float) -> None:
        """Let a run begin."""
        run.admitted = run.started = now
        self.runs.append(run)

    def fail(self, run: Run, now: float) -> None:
        """Let a run end `failed`, or become `unknown`: a breaker may open."""
        if run not in self.runs:
            self.runs.append(run)
        run.failed = now
        for of, breaker in ((run.rule, self.rules[run.rule].breaker), (None, self.own.breaker)):
            if breaker is None or any(
                (each.of, each.book) == (of, run.book) and (each.until is None or now < each.until)
                for each in self.breakers
            ):
                continue
            count, per, reset = breaker
            since = self.closed.get((of, run.book), -1.0)
            failures = [
                each
                for each in self._seen(run.book)
                if each.failed is not None
                and now - each.failed < per
                and each.failed > since
                and of in (None, each.rule)
            ]
            if len(failures) >= count:
                self.breakers.append(Open(of, run.book, None if reset is None else now + reset))

    def close(self, of: str | None, book: Book, now: float) -> None:
        """Let a person close a breaker."""
        self.breakers = [each for each in self.breakers if (each.of, each.book) != (of, book)]
        self.closed[of, book] = now


def _within(runs: Sequence[Run], per: int, now: float) -> int:
    return sum(run.admitted is not None and now - run.admitted < per for run in runs)
