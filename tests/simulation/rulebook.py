"""Sets of rules, and what the daemon's configuration lends them: drawn by a number, and made once in a process.

Each set has some features of the rule language in fashion, so that they meet often, and no other stands in their way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from simulation.acting import CATALOG
from simulation.loop import draws

from remediator.model.books import Allowance
from remediator.model.run import Mode
from remediator.rules.compile import check_rule
from remediator.rules.rule import BlastRadius, Breaker, Rule, RuleSet
from remediator.rules.standing import Standing, Storm
from remediator.rules.windows import Interval, Modes, Window

SETS = 200  # so many sets of rules are there
APPS = ("a", "b", "c")
PEOPLE = ("ann", "bob", "eve")
NAMES = ("Down", "Slow", "Full")  # of alerts
LEASE = 10.0

_Labels = Mapping[str, str]
_Facts = Mapping[str, Any]
CONDITIONS: Mapping[str, Callable[[_Labels, _Facts], bool]] = {  # of `only_if`, and what they come to
    "facts.who.up": lambda labels, facts: bool(facts["up"]),
    "facts.who.n < 2": lambda labels, facts: bool(facts["n"] == 1),
    "labels.app != 'c'": lambda labels, facts: labels["app"] != "c",
}
COMPANIONS: Mapping[str, Callable[[_Labels], _Labels]] = {  # of `only_firing`: what has to fire beside the alert
    '{alertname="Slow"}': lambda labels: {"alertname": "Slow"},
    '{alertname="Slow", app="{{ labels.app }}"}': lambda labels: {"alertname": "Slow", "app": labels["app"]},
}

_OFTEN = (
    "facts",
    "verify",
    "patience",
    "two rules",
    "more steps",
    "approve",
    "changing plans",
    "named by facts",
    "cooldown",
)
_FEATURES = (
    "schedule", "for", "limit", "blast radius", "breaker", "lock", "unless firing",
    "episodes", "only if", "only firing", "windows", "dry run",
    "ladder", "undo", "revert", "follow-ups", "loops", "retry", "errors passed over",
    "max running", "daemon limit", "daemon radius", "daemon breaker", "storm", "notices", "one target", "repeatable", "lost",
)  # fmt: skip


@dataclass(frozen=True)
class Book:
    """One set of rules, and a second that differs from it in nothing that matters, for a reload."""

    rules: RuleSet
    reloaded: RuleSet
    standing: Standing
    by_hash: Mapping[str, Rule]


@dataclass(frozen=True, slots=True)
class Spell(Window):
    """A window that opens and closes every few seconds: those of a configuration do so at whole minutes."""

    seconds: float = 1.0

    def holds(self, at: float) -> bool:
        """Tell whether an instant is in the window."""
        return int(at // self.seconds) % 2 == 0


_EVER: tuple[Interval, ...] = ()
WINDOWS = {"by turns": Spell(_EVER, 5.0), "at times": Spell(_EVER, 8.0)}


@cache
def book(number: int) -> Book:
    """Give a set of rules by its number."""
    return _Author(number).book()


def _compile(definition: dict[str, Any], order: int) -> Rule:
    rule, faults = check_rule({**definition, "vars": {"pair": [1, 2]}}, CATALOG, None)
    if rule is None:
        raise AssertionError("\n".join(f"{fault.path}: {fault.message}" for fault in faults))
    return replace(rule, order=order)


def _rule_set(definitions: list[dict[str, Any]]) -> RuleSet:
    return RuleSet.of(tuple(_compile(each, place) for place, each in enumerate(definitions)))


class _Author:
    """Writes one set of rules."""

    def __init__(self, number: int) -> None:
        self._draw = draws("rules", number)
        self._fashion = {each for each in _FEATURES if self._draw.random() < 0.3}
        self._fashion |= {each for each in _OFTEN if self._draw.random() < 0.5}

    def _has(self, feature: str) -> bool:
        return self._draw.random() < (0.7 if feature in self._fashion else 0.02)

    def book(self) -> Book:
        """Write it all."""
        count = 2 + (self._draw.random() < 0.3) if "two rules" in self._fashion else 1
        definitions = [self._rule(place) for place in range(count)]
        rules = _rule_set(definitions)
        reloaded = _rule_set([{**each, "owner": "sre"} for each in definitions])
        standing = self._standing()
        everything = (*rules.rules, *reloaded.rules, *((standing.notices,) if standing.notices else ()))
        return Book(rules, reloaded, standing, {rule.hash: rule for rule in everything})

    def _standing(self) -> Standing:
        draw = self._draw
        notices = {
            "name": "notices", "summary": "Tells.", "match": "all", "target": "notices",
            "steps": [{"uses": "sim.notify", "with": {"at": "0/steps/0", "what": "{{ notice.kind }}"}, "timeout": "5s"}],
        }  # fmt: skip
        return Standing(
            modes=self._modes(),
            windows=WINDOWS,
            allowances=(Allowance(draw.randint(1, 3), draw.choice((20.0, 60.0))),) if self._has("daemon limit") else (),
            blast_radius=BlastRadius(draw.choice((20.0, 40.0)), targets=2) if self._has("daemon radius") else None,
            breaker=Breaker(2, 60.0, draw.choice((20.0, None))) if self._has("daemon breaker") else None,
            storm=Storm(draw.randint(3, 5), draw.choice((10.0, 20.0)), draw.choice((10.0, 20.0)))
            if self._has("storm")
            else None,
            max_running=draw.choice((1, 2)) if self._has("max running") else None,
            notices=_compile(notices, 0) if self._has("notices") else None,
            stale_after=12.0 if self._has("lost") else 18_000.0,
            lease=LEASE,
        )

    def _modes(self) -> Modes:
        """Give the daemon's own, which is rarely anything but `auto`: the dry run of a whole world is soon told."""
        chance = self._draw.random()
        if chance < 0.02:
            return Modes.of("dry-run")
        return Modes((("by turns", Mode.AUTO), (None, Mode.APPROVE))) if chance < 0.05 else Modes.of("auto")

    # -- one rule --

    def _rule(self, place: int) -> dict[str, Any]:
        draw = self._draw
        self._by_clock, self._asks = self._has("schedule"), self._has("approve")
        self._facts = self._has("facts") or (self._asks and draw.random() < 0.6)
        rule: dict[str, Any] = {
            "name": f"rule-{place}",
            "summary": "Mends.",
            "target": self._target(),
            "guard": self._guard(),
            "deadline": draw.choice(("20s", "60s")),
            "priority": draw.choice(("P0", "P2", "P2", "P3")),
            "approval": {
                "timeout": "9s",
                **draw.choice(({}, {"approvers": ["ann", "bob"]}, {"approvers": ["ann", "bob"], "quorum": 2})),
            },
            "mode": self._mode(),
        }
        if self._by_clock:
            rule["schedule"] = "* * * * *"
        else:
            rule["match"] = draw.choice(('{alertname="Down"}', '{alertname=~"Down|Slow"}', '{alertname=~"Full|Down"}'))
            rule["when_resolved"] = draw.choice(("finish", "cancel"))
            if self._has("for"):
                rule["for"] = "4s"
        if self._facts:
            rule["facts"] = [{"id": "who", **self._read("0/facts/0")}]
        self._work(rule)
        for phase in ("on_success", "on_failure", "on_blocked"):
            if self._has("follow-ups"):
                rule[phase] = self._steps(phase, ["notify"])
        return rule

    def _mode(self) -> str | list[dict[str, str]]:
        draw = self._draw
        if self._has("windows") and draw.random() < 0.4:
            low, high = draw.choice((("dry-run", "auto"), ("approve", "auto"), ("dry-run", "approve")))
            first: dict[str, str] = {"during": "by turns", "mode": draw.choice((low, high))}
            second = {"during": "at times", "mode": high}
            return draw.choice(([first, second], [first, second, {"mode": low}], [second, {"mode": low}]))
        if self._has("dry run") and draw.random() < 0.3:
            return "dry-run"
        return "approve" if self._asks else "auto"

    def _target(self) -> str:
        if self._facts and self._has("named by facts"):
            return "app/{{ facts.who.name }}"
        return "app/all" if self._by_clock or self._has("one target") else "app/{{ labels.app }}"

    def _guard(self) -> dict[str, Any]:
        draw = self._draw
        choices: dict[str, tuple[str, tuple[Any, ...]]] = {
            "cooldown": ("cooldown", ("8s", "25s")),
            "limit": ("limit", ("1 per 20s", "2 per 40s", "1 per 30s per target", ["2 per 30s", "1 per 10s per target"])),
            "breaker": ("breaker", tuple(
                {"failures": failures, "per": "60s", "reset": reset} for failures in (1, 2) for reset in ("20s", "manual"))),
            "lock": ("lock", ("the-lock", "the-lock", "{{ target }}")),
            "patience": ("patience", ("10s", "45s")),
            "unless firing": ("unless_firing", (['{alertname="Full"}'],)),
        }  # fmt: skip
        guard = {key: draw.choice(of) for feature, (key, of) in choices.items() if self._has(feature)}
        if self._has("blast radius"):
            guard["blast_radius"] = {"per": "30s", "targets": draw.choice((1, 2))}
            if self._facts and draw.random() < 0.5:
                guard["blast_radius"] |= {"fraction": 0.5, "of": "facts.who.population"}
        if not self._by_clock and self._has("episodes"):
            bounds = draw.choice(({"at_least": 2}, {"at_most": 1}, {"at_most": 2}))
            guard["episodes"] = {"per": draw.choice(("15s", "60s")), **bounds}
        if not self._by_clock and self._has("only firing"):
            guard["only_firing"] = [draw.choice(list(COMPANIONS))]
        mine = [each for each in CONDITIONS if self._facts or "facts" not in each]
        mine = [each for each in mine if not self._by_clock or "labels" not in each]
        if mine and self._has("only if"):
            guard["only_if"] = draw.sample(mine, draw.choice((1, len(mine))))
        return {"cooldown": "0s", **guard}

    # -- what is done --

    def _work(self, rule: dict[str, Any]) -> None:
        draw = self._draw
        if self._has("ladder"):
            rule["recurrence"] = "60s"
            rule["ladder"] = [
                {"steps": self._steps("steps", self._uses(), rung), "verify": self._verify(rung),
                 "mode": "approve" if rung and self._has("approve") else "auto"}
                for rung in range(2)
            ]  # fmt: skip
        else:
            rule["steps"] = self._steps("steps", self._uses())
            if self._has("verify"):
                rule["verify"] = self._verify(0)
        if self._has("undo"):
            rule["undo"] = self._steps("undo", [draw.choice(("write", "write!"))])
        if self._has("revert"):
            after = {"after": draw.choice(("10s", "30s"))}
            by_alert: tuple[dict[str, Any], ...] = (after, {"resolved": True}, {"resolved": True, **after})
            when = draw.choice((after,) if self._by_clock else by_alert)
            rule["revert"] = {**when, "steps": self._steps("revert", [draw.choice(("write", "write!"))])}

    def _uses(self) -> list[str]:
        draw = self._draw
        most = draw.choice((2, 3)) if self._has("more steps") else 1
        uses = [draw.choice(("write", "write", "write", "read", "notify", "wait")) for _ in range(most)]
        return uses if "write" in uses or draw.random() < 0.1 else [*uses, "write"]

    def _verify(self, rung: int) -> dict[str, Any]:
        check = {**self._read(f"{rung}/verify/0"), "expect": "result.up"}
        stable = self._draw.choice(("0s", "4s"))
        verify: dict[str, Any] = {"within": "12s", "every": "4s", "stable_for": stable, "checks": [check]}
        if not self._by_clock and self._draw.random() < 0.25:
            verify["resolved"] = True
        return verify

    def _read(self, at: str) -> dict[str, Any]:
        """Write a read step that stands by itself."""
        step: dict[str, Any] = {"uses": "sim.read", "with": {"at": at}, "timeout": "4s"}
        if self._has("retry"):
            step["retry"] = {"attempts": 2, "backoff": "1s"}
        return step

    def _steps(self, phase: str, uses: list[str], rung: int = 0) -> list[dict[str, Any]]:
        return [self._step(f"{rung}/{phase}/{place}", each) for place, each in enumerate(uses)]

    def _step(self, at: str, uses: str) -> dict[str, Any]:
        """Write a step that carries its place in the rule."""
        draw = self._draw
        if uses == "wait":
            return {"uses": "wait", "with": {"for": f"{draw.choice((1, 3, 6))}s"}}
        changing = self._facts and (self._has("changing plans") or (self._asks and draw.random() < 0.6))
        given: dict[str, Any] = {"at": at, "what": "{{ target }} {{ facts.who.n }}" if changing else "{{ target }}"}
        if not changing and not self._by_clock and draw.random() < 0.1:
            given["what"] = "{{ target }} {{ alerts | length }}"
        step: dict[str, Any] = {"uses": f"sim.{uses.removesuffix('!')}", "with": given, "timeout": "4s"}
        if uses.endswith("!") or (uses == "write" and self._has("repeatable")):
            given["again"] = True
        if self._has("loops"):
            step["for_each"], given["item"] = "vars.pair", "{{ item }}"
        if self._has("retry"):
            step["retry"] = {"attempts": 2, "backoff": f"{draw.choice((1, 3))}s"}
        if self._has("errors passed over"):
            step["continue_on_error"] = True
        return step
