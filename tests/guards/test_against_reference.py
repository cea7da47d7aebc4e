"""Each guard against a plain reference model over long random histories, in live and dry-run books and those of drills.

The engine is the real one; of every proposal it is heard what each guard says, whichever comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from guards.reference import Guards, Own, Reference, Run
from guards.world import Decision, World, rule_file
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stage import replace_standing

from remediator.engine import controls
from remediator.engine.occasions import Occasion
from remediator.model.books import Allowance
from remediator.model.control import ControlKind
from remediator.model.run import Origin, State
from remediator.rules.rule import BlastRadius, Breaker
from remediator.rules.standing import Storm
from remediator.store.protocol import RunFilter

NAMES, TARGETS = ("aa", "bb"), ("t0", "t1", "t2")
SPANS = st.sampled_from([60, 300, 3600])
COUNTS = st.integers(1, 4)
FATES = st.sampled_from(["well", "well", "well", "fails", "fails", "hangs"])
Operation = tuple[Any, ...]


def maybe(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.none() | value


@st.composite
def guards(draw: st.DrawFn) -> Guards:
    """Give a rule a few guards, so that it is admitted often enough to have a past."""
    per = draw(SPANS)
    has = draw(
        st.sets(
            st.sampled_from(["limits", "targets", "fraction", "breaker", "episodes", "firing", "only_if"]), max_size=2
        )
    )

    def guard(name: str, value: st.SearchStrategy[Any], absent: Any = None) -> Any:
        return draw(value) if name in has else absent

    populations = st.sampled_from(["4", "4", "10", "10", "[]", "labels.none"])
    return Guards(
        cooldown=draw(st.sampled_from([0, 60, 300, 600])),
        limits=guard("limits", st.lists(st.tuples(COUNTS, SPANS, st.booleans()), min_size=1, max_size=2), []),
        targets=guard("targets", st.tuples(COUNTS, st.just(per))),
        fraction=guard("fraction", st.tuples(st.sampled_from([0.25, 0.5, 1.0]), populations, st.just(per))),
        breaker=guard("breaker", st.tuples(st.integers(1, 3), SPANS, maybe(SPANS))),
        episodes=guard("episodes", st.tuples(st.integers(1, 2), st.integers(2, 4), SPANS)),
        unless_firing=guard("firing", st.booleans(), absent=False),
        only_firing=guard("firing", st.sampled_from([False, False, True]), absent=False),
        only_if=guard("only_if", st.sampled_from([("t0", "t1"), ("t0",), TARGETS, ()])),
        ladder=draw(st.sampled_from([0, 0, 2, 3])),
        recurrence=draw(SPANS),
    )


owns = st.builds(
    Own,
    limits=st.lists(st.tuples(st.integers(2, 8), SPANS), max_size=1),
    targets=maybe(st.tuples(st.integers(2, 4), SPANS)),
    breaker=maybe(st.tuples(st.integers(1, 4), SPANS, maybe(SPANS))),
    storm=maybe(st.tuples(st.integers(2, 5), st.sampled_from([10, 60]), st.sampled_from([5, 300]))),
)

pairs = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["t0", *TARGETS]), FATES), min_size=1, max_size=3)
operations = st.one_of(
    st.tuples(st.just("fire"), pairs),
    st.tuples(st.just("fire"), pairs),
    st.tuples(st.just("fire"), pairs),
    st.tuples(st.just("pass"), st.sampled_from([1, 30, 240, 600, 3600])),
    st.tuples(st.just("edge"), st.integers(0, 5), pairs),
    st.tuples(st.just("edge"), st.integers(0, 5), pairs),
    st.tuples(st.just("edge"), st.integers(0, 5), pairs),
    st.tuples(st.just("hand"), st.sampled_from(NAMES), st.sampled_from(TARGETS), FATES, st.booleans()),
    st.tuples(st.just("mode"), st.sampled_from(["dry-run", "auto"])),
    st.tuples(st.just("cause"), st.sampled_from(TARGETS)),
    st.tuples(st.just("settle"), st.booleans()),
    st.tuples(st.just("close"), st.integers(0, 3)),
)


class History:
    """One history, lived by the engine and by the reference."""

    def __init__(self, world: World, rules: dict[str, Guards], own: Own) -> None:
        self.world = world
        self.reference = Reference(rules, own)
        self.dry = False
        self.number = 0  # makes every alert another one
        self.causes: dict[str, dict[str, str]] = {}

    @property
    def now(self) -> float:
        return self.world.clock.now()

    async def live(self, operation: Operation) -> None:
        """Let one thing happen."""
        what, *rest = operation
        await getattr(self, f"_{what}")(*rest)

    async def _pass(self, seconds: float) -> None:
        await self.world.passes(seconds)
        assert self.world.heard() == []

    async def _edge(self, number: int, pairs: list[tuple[str, str, str]]) -> None:
        """Let alerts fire just when something falls out of a span."""
        edges = self.reference.edges(self.now)
        if edges:
            await self._pass(edges[number % len(edges)] - self.now)
            await self._fire(pairs)

    async def _mode(self, mode: str) -> None:
        self.dry = mode == "dry-run"
        self.world.standing = replace_standing(self.world.standing, mode=mode)
        await self.world.engine.adopt(self.world.engine.desk.rules, self.world.standing, {})
        await self.world.settle()

    async def _cause(self, target: str) -> None:
        self.world.clock.time += 1
        if target in self.causes:
            self.reference.causes.discard(target)
            await self.world.notify(self.world.alert("Cause", "resolved", **self.causes.pop(target)))
            return
        self.number += 1
        self.causes[target] = {"t": target, "n": str(self.number)}
        self.reference.causes.add(target)
        self.reference.alert(None, target, self.now)
        await self.world.notify(self.world.alert("Cause", **self.causes[target]))

    async def _fire(self, pairs: list[tuple[str, str, str]]) -> None:
        """Let alerts fire in one notification; each is another one, and has resolved a second later."""
        chosen = {(name, target): fate for name, target, fate in pairs if not self._open(name, target, drill=False)}
        if not chosen:
            return
        labels = []
        for name, target in chosen:
            self.number += 1
            labels.append((name, {"t": target, "n": str(self.number)}))
            self.reference.alert(name, target, self.now)
        book = "dry" if self.dry else "live"
        order = sorted(chosen, key=lambda pair: (NAMES.index(pair[0]), list(chosen).index(pair)))
        expected, begun = self._decide(order, book)
        self.world.fates = {f"{name} {target}": fate for (name, target), fate in chosen.items()}
        await self.world.notify(*(self.world.alert(name, **each) for name, each in labels))
        await self._end(expected, begun)
        self.world.clock.time += 1
        await self.world.notify(*(self.world.alert(name, "resolved", **each) for name, each in labels))

    async def _hand(self, name: str, target: str, fate: str, drill: bool) -> None:
        """Let a person propose a run."""
        if self._open(name, target, drill=drill):
            return
        expected, begun = self._decide([(name, target)], "drill" if drill else "dry" if self.dry else "live")
        self.world.fates = {f"{name} {target}": fate}
        occasion = Occasion(Origin.HAND, {"t": target}, "ann", "looks ill", drill=drill)
        await controls.by_hand(self.world.engine, name, occasion)
        await self.world.settle()
        await self._end(expected, begun)
        self.world.clock.time += 1

    async def _settle(self, good: bool) -> None:
        """Let a person settle an unknown run."""
        unknown = await self.world.store.view(lambda tx: tx.runs(RunFilter(state=State.UNKNOWN)))
        if not unknown:
            return
        run = unknown[-1]
        mine = next(
            each
            for each in self.reference.runs
            if (each.rule, each.target, each.book, each.ended) == (run.rule, run.target, run.book, None)
        )
        outcome = State.SUCCEEDED if good else State.FAILED
        await controls.resolve(self.world.engine, run.id, outcome, "ann", "I have looked")
        await self.world.settle()
        mine.ended, mine.good = self.now, good
        mine.failed = None if good else mine.failed
        self.world.clock.time += 1

    async def _close(self, number: int) -> None:
        """Let a person close a breaker, or lift a storm."""
        self.world.clock.time += 1
        now = self.now
        laid = [
            each
            for each in await self.world.store.view(lambda tx: tx.controls(now))
            if each.kind in {ControlKind.BREAKER, ControlKind.STORM}
        ]
        if number >= len(laid):
            return
        await controls.lift(self.world.engine, laid[number].id, "ann", "mended")
        await self.world.settle()
        if laid[number].kind is ControlKind.STORM:
            self.reference.calmed = now
        else:
            self.reference.close(laid[number].rule, str(laid[number].book), now)
        self.world.clock.time += 1

    # -- what follows --

    def _open(self, name: str, target: str, *, drill: bool) -> bool:
        return any(
            run.ended is None
            for run in self.reference.runs
            if (run.rule, run.target, run.book == "drill") == (name, target, drill)
        )

    def _decide(self, order: list[tuple[str, str]], book: str) -> tuple[list[Decision], list[Run]]:
        """Say what is to be heard, and what begins."""
        expected: list[Decision] = []
        begun: list[Run] = []
        for name, target in order:
            run = Run(name, target, book, self.reference.rung(name, target, book, self.now))
            if run.rung and run.rung >= self.reference.rules[name].ladder:
                if not self.reference.stormy(self.now):  # it would tell a person of each run
                    run.ended = self.now  # past the last rung nothing is done: failed
                    self.reference.fail(run, self.now)
                continue
            refused = self.reference.refusals(name, target, book, self.now)
            expected.append((name, target, book, frozenset(refused)))
            if not refused:
                self.reference.admit(run, self.now)
                begun.append(run)
        return expected, begun

    async def _end(self, expected: list[Decision], begun: list[Run]) -> None:
        """Compare, and let what has begun end as its fate is."""
        assert self.world.heard() == expected
        hanging = []
        for run in begun:
            fate = self.world.fates[f"{run.rule} {run.target}"]
            if fate == "hangs" and not self.dry:
                hanging.append(run)
                continue
            run.ended, run.good = self.now, fate != "fails"
            if not run.good:
                self.reference.fail(run, self.now)
        if not hanging:
            return
        await self.world.crash()
        for run in hanging:
            self.reference.fail(run, self.now)  # it is unknown
        for run in hanging:
            if self.reference.rules[run.rule].ladder:  # it has a verification, which proves it good
                run.ended, run.good, run.failed = self.now, True, None


async def live(rules: dict[str, Guards], own: Own, history: list[Operation]) -> None:
    """Live a history, and compare at every step; at its end, all that was done."""
    world = World()
    await world.start()
    try:
        await world.rules_from(rule_file(rules), **standing(own))
        lived = History(world, rules, own)
        for operation in history:
            await lived.live(operation)
        done = await world.store.view(lambda tx: tx.runs(RunFilter(limit=10_000)))
        mine = [(run.rule, run.target, run.rung, run.good) for run in lived.reference.runs if run.admitted is not None]
        found = [
            (run.rule, run.target, run.rung, run.state in {State.SUCCEEDED, State.PLANNED})
            for run in done
            if run.admitted_at is not None
        ]
        assert sorted(found) == sorted(mine)
    finally:
        await world.stop()


def standing(own: Own) -> dict[str, Any]:
    """Give the daemon's own guards as the configuration would."""
    breaker, targets = own.breaker, own.targets
    return {
        "allowances": tuple(Allowance(count, per) for count, per in own.limits),
        "blast_radius": None if targets is None else BlastRadius(float(targets[1]), targets[0]),
        "breaker": None if breaker is None else Breaker(breaker[0], breaker[1], breaker[2]),
        "storm": None if own.storm is None else Storm(*own.storm),
    }


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run one history on a loop of its own."""
    with asyncio.Runner() as runner:
        runner.run(test)


CLIMBS = {"aa": Guards(cooldown=600, ladder=3), "bb": Guards(cooldown=0)}
PAST_IN_A_STORM = [
    ("fire", [("aa", "t0", "well")]), ("fire", [("bb", "t0", "fails")]),
    ("fire", [("aa", "t0", "well"), ("bb", "t1", "well"), ("bb", "t2", "well")]), ("hand", "bb", "t1", "well", False),
]  # fmt: skip
AGAIN = [("fire", [("aa", "t0", fate)]) for fate in ("well", "fails", "well")]


@example(CLIMBS, Own(), AGAIN)  # only the run next after a success is exempt from the cooldown
@example(
    {"aa": Guards(cooldown=0, ladder=1), "bb": Guards(cooldown=0)},
    Own(breaker=(2, 60, 60), storm=(4, 60, 300)),
    PAST_IN_A_STORM,
)  # past the last rung while it storms: refused, and no failure that a breaker would count
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.fixed_dictionaries({name: guards() for name in NAMES}), owns, st.lists(operations, min_size=20, max_size=50))
def test_every_guard_says_what_the_rule_language_says(
    rules: dict[str, Guards], own: Own, history: list[Operation]
) -> None:
    """Cooldown, limits, blast radius, breakers, episodes, what fires, locks, storms: of the rules and of the daemon."""
    run(live(rules, own, history))
