"""The guards as a plain reference reckons them: lists and loops over what an outsider knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from simulation.history import Alerts, Breakers, Controls, Known
from simulation.rulebook import COMPANIONS, CONDITIONS, WINDOWS

from remediator.actions.protocol import Effect
from remediator.model.run import Mode, State, lowest
from remediator.rules.rule import BlastRadius, Breaker, EpisodeBounds, Rule
from remediator.rules.standing import Standing
from remediator.rules.windows import Modes


class Guarding:
    """Says why a run may not be admitted now, if it may not."""

    def __init__(self, standing: Standing, runs: Mapping[str, Known], alerts: Alerts, controls: Controls) -> None:
        self._standing = standing
        self._runs = runs
        self._alerts = alerts
        self._controls = controls
        self._breakers = Breakers()

    # -- what has happened --

    def failed(self, run: Known, now: float) -> None:
        """Open the breakers for which this failure is one too many."""
        run.failed = now
        for breaker, rule in self._breakers_of(run.rule):
            state = self._breakers.of(rule, run.book)
            since = max(now - breaker.per, state.closed)
            count = sum(
                each.failed is not None and each.failed > since and each.book == run.book and each.counted
                and rule in (None, each.rule.name)
                for each in self._runs.values()
            )  # fmt: skip
            if now >= state.until and count >= breaker.failures:
                state.until = float("inf") if breaker.reset is None else now + breaker.reset

    def closed(self, rule: str | None, book: str, now: float) -> None:
        """Let a person have closed a breaker."""
        state = self._breakers.of(rule, book)
        state.until, state.closed = -1.0, now

    # -- what is in force --

    def mode(self, rule: Rule, rung: int, target: str | None) -> Mode:
        """Give the mode in force; what is laid on everything, and the daemon's own, asks for what writes alone."""
        now = self.now
        laid = [
            each.control for each in self._controls.of("mode")
            if each.holds(now) and each.control.mode is not None and each.control.covers(rule.name, target)
        ]  # fmt: skip
        named = [each.mode for each in laid if each.mode is not None and (each.rule, each.target) != (None, None)]
        unnamed = [each.mode for each in laid if each.mode is not None and (each.rule, each.target) == (None, None)]
        own = lowest(*(_by_the_clock(each, now) for each in (rule.modes, rule.rungs[rung].modes)), *named)
        overall = lowest(_by_the_clock(self._standing.modes, now), *unnamed)
        if overall is Mode.APPROVE and all(step.effect is not Effect.WRITE for step in rule.rungs[rung].steps):
            return own
        return lowest(own, overall)

    now = 0.0

    # -- admission --

    def against(self, run: Known, now: float) -> Iterator[tuple[str, str]]:
        """Give every promise that is broken if this run is admitted now, and why."""
        self.now = now
        if self.mode(run.rule, run.rung, run.target).rank < Mode(run.mode).rank:
            yield "P7", f"admitted in mode {run.mode}, and the mode in force is lower"
        if run.book == "dry":
            return  # it may act on nothing, and sees other books
        others = [each for each in self._runs.values() if each is not run and each.book == run.book and each.counted]
        yield from (
            ("P5", why) for why in self._by_count(run, [each for each in others if each.admitted is not None], now)
        )
        yield from (("P5", why) for why in self._by_target(run, others, now))
        yield from (("P4", why) for why in self._by_world(run, now))
        if run.origin != "schedule" and now < self._alerts.storm_until:
            yield "P6", f"admitted in a storm that holds till {self._alerts.storm_until - now:.3f} s from now"
        for _, rule in self._breakers_of(run.rule):
            if now < self._breakers.of(rule, run.book).until:
                yield "P4", f"admitted while the breaker of {rule or 'the daemon'} is open"

    def _by_count(self, run: Known, admitted: list[Known], now: float) -> Iterator[str]:
        """Limits, and how many targets were touched."""
        mine = [each for each in admitted if each.rule.name == run.rule.name]
        for limit in run.rule.guards.limits:
            yield from _over(
                limit.count, limit.per, (e for e in mine if not limit.by_target or e.target == run.target), now
            )
        for allowance in self._standing.allowances:
            yield from _over(allowance.count, allowance.per, admitted, now)
        for radius, counted in ((run.rule.guards.blast_radius, mine), (self._standing.blast_radius, admitted)):
            if radius is not None:
                yield from _touches(run, radius, counted, now)
        at_work = sum(each.state.at_work for each in admitted)
        if self._standing.max_running is not None and at_work >= self._standing.max_running:
            yield f"{at_work} are at work, and max_running is {self._standing.max_running}"

    def _by_target(self, run: Known, others: list[Known], now: float) -> Iterator[str]:
        """One at a time, and not too soon after the last."""
        yield from self.lock_broken(run)
        same = [each for each in others if each.rule.name == run.rule.name and each.target == run.target]
        yield from (f"{each.name} is open on {run.target} too" for each in same if each.holding)
        ended = [each for each in same if each.began is not None and each.ended is not None]
        last = max(ended, key=lambda each: each.ended or 0.0, default=None)
        if last is not None and last.ended is not None and now - last.ended < run.rule.guards.cooldown:
            remembered = run.rule.recurrence is not None and now - last.ended <= run.rule.recurrence
            if not (remembered and last.state is State.SUCCEEDED):
                yield f"{last.name} ended {now - last.ended:.3f} s ago, cooldown is {run.rule.guards.cooldown:g}"

    def _by_world(self, run: Known, now: float) -> Iterator[str]:
        """What the world has to say."""
        guards = run.rule.guards
        if guards.unless_firing and self._alerts.firing({"alertname": "Full"}):
            yield "admitted while Full is firing"
        for companion in guards.only_firing:
            beside = COMPANIONS[companion.text.source](run.labels)
            if not self._alerts.firing(beside):
                yield f"admitted while nothing fires that has {dict(beside)}"
        if guards.episodes is not None and "facts" not in run.rule.target.names:
            yield from self._by_episodes(run, guards.episodes, now)
        for condition in guards.only_if:
            # Of a process that was frozen, an answer may come late, and not be the one that decided.
            known = [facts for at, facts in run.answers if now - at <= 31.0 and facts is not None]
            tried = known if "facts" in condition.names else [{}]
            if not any(CONDITIONS[condition.source](run.labels, facts) for facts in tried):
                yield f"admitted while `{condition.source}` is not true of {run.labels} and {known}"
        if run.rule.facts and run.facts is None:
            yield "admitted without its facts"
        elif run.rule.facts and now - run.facts_at > 31.0:
            yield f"admitted by facts of {now - run.facts_at:.3f} s ago"

    def _by_episodes(self, run: Known, bounds: EpisodeBounds, now: float) -> Iterator[str]:
        """How often the alerts of this rule and target began."""
        mine = [
            each for each in self._alerts.episodes
            if now - each.at < bounds.per
            and all(matcher.matches(each.labels) for matcher in run.rule.match)
            and run.rule.target.source.replace("{{ labels.app }}", each.labels["app"]) == run.target
        ]  # fmt: skip
        if len(mine) < bounds.at_least:
            yield f"{len(mine)} episodes began in {bounds.per:g} s, and it takes {bounds.at_least}"
        if any(each.control.mode == "off" for each in self._controls.of("mode")):
            return  # what began meanwhile was nobody's
        count = sum(not each.blip for each in mine)
        if bounds.at_most is not None and count > bounds.at_most:
            yield f"{count} episodes began in {bounds.per:g} s, and {bounds.at_most} at most are for it"

    def lock_broken(self, run: Known) -> Iterator[str]:
        """Give who else holds the lock that a run has taken."""
        for each in self._runs.values():
            if each is not run and each.holding and each.lock == run.lock is not None and each.book == run.book:
                yield f"{each.name} holds the lock {run.lock} too"

    def _breakers_of(self, rule: Rule) -> Iterator[tuple[Breaker, str | None]]:
        if rule.guards.breaker is not None:
            yield rule.guards.breaker, rule.name
        if self._standing.breaker is not None:
            yield self._standing.breaker, None


def _by_the_clock(modes: Modes, now: float) -> Mode:
    """Give the mode of the first entry that holds."""
    held = (mode for name, mode in modes.entries if name is None or WINDOWS[name].holds(now))
    return next(held, Mode.DRY_RUN)


def _over(count: int, per: float, admitted: Iterable[Known], now: float) -> Iterator[str]:
    recent = sum(now - (each.admitted or 0.0) < per for each in admitted)
    if recent >= count:
        yield f"{recent} were admitted in the last {per:g} s, and {count} may be"


def _touches(run: Known, radius: BlastRadius, admitted: list[Known], now: float) -> Iterator[str]:
    touched = {each.target for each in admitted if now - (each.admitted or 0.0) < radius.per} | {run.target}
    if radius.targets is not None and len(touched) > radius.targets:
        yield f"{len(touched)} targets in {radius.per:g} s, and {radius.targets} may be touched"
    if radius.fraction is not None:
        population = (run.facts or {}).get("population")
        if not isinstance(population, int) or population <= 0:
            yield f"the population is {population!r}, of which nothing can be a fraction"
        elif len(touched) > radius.fraction * population:
            yield f"{len(touched)} targets of {population}, and {radius.fraction:g} of them may be touched"
