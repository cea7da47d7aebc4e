"""`patience` against its promise over random histories: who is refused waits, looks again in time, and gives up in time.

When a run is looked at again is not foreseen. Each time that one is, the reference says what the guards have to say by all
that has happened till then; and of those that wait it is watched whether nothing refuses them any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from guards.reference import Guards, Own, Reference
from guards.reference import Run as Known
from guards.test_against_reference import NAMES, guards, owns, run, standing
from guards.world import World, rule_file
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from remediator.model.books import Question
from remediator.model.run import Run, State
from remediator.store.protocol import RunFilter
from remediator.store.sqlite.store import drive

TARGETS = ("t0", "t1")  # few, so that what happens concerns who waits
LOOK = 15.0  # seconds, within which what has cleared is found out
STEP = 5.0  # seconds, between two looks at those that wait
EXACT = 0.001  # seconds, as floats go
Operation = tuple[Any, ...]


@dataclass
class Waiting:
    """What was heard of one run."""

    refused: list[float] = field(default_factory=list)  # when
    allowed: float | None = None
    clear: float | None = None  # since when the reference has nothing against it


class Patient(World):
    """A world whose reference knows what the store knows, each time that a decision is heard."""

    def __init__(self, rules: dict[str, Guards], own: Own) -> None:
        super().__init__()
        self.reference = Reference(rules, own)
        self.rows: dict[str, Run] = {}
        self.known: dict[str, Known] = {}
        self.waiting: dict[str, Waiting] = {}
        self.wrong: list[str] = []  # said at the end of an operation: within a transaction nobody would hear it

    def hear(self, question: Question, refused: frozenset[str], now: float) -> None:
        """Compare with what the reference says, and take note of when it was."""
        self.catch_up()
        of = (question.rule, question.target, str(question.book))
        right = self.reference.refusals(*of, now)
        if refused != right:
            self.wrong.append(f"{of} at {now}: {sorted(refused)} where it is {sorted(right)}")
        waiting = self.waiting.setdefault(question.run, Waiting())
        if refused:
            waiting.refused.append(now)
        else:
            waiting.allowed = now

    def catch_up(self) -> None:
        """Tell the reference what has become of all runs."""
        rows = drive(lambda tx: tx.runs(RunFilter(limit=10_000)), self.store._transaction)
        self.rows = {row.id: row for row in rows}
        failed = []
        for row in sorted(rows, key=lambda each: each.id):
            if row.admitted_at is None:
                continue
            if row.id not in self.known:
                self.known[row.id] = Known(row.rule, row.target or "", "dry" if row.dry else "live")
                self.reference.runs.append(self.known[row.id])
            known = self.known[row.id]
            known.admitted, known.started, known.ended = row.admitted_at, row.started_at, row.ended_at
            if row.failed_at is not None and known.failed is None:
                failed.append((row.failed_at, known))
        for at, known in sorted(failed, key=lambda each: each[0]):
            self.reference.fail(known, at)

    def look(self) -> None:
        """See that everything is as it has to be between two decisions."""
        self.catch_up()
        now = self.clock.now()
        for key, waiting in self.waiting.items():
            row = self.rows[key]
            if not row.open:
                continue
            of = (row.rule, row.target or "", "dry" if row.dry else "live")
            if self.reference.refusals(*of, now):
                waiting.clear = None
            elif waiting.clear is None:
                waiting.clear = now
            elif now - waiting.clear > LOOK:
                self.wrong.append(f"{of} waits still at {now}, and nothing was against it since {waiting.clear}")
        assert self.wrong == []

    def judge(self, patience: dict[str, int], resolved: set[str]) -> None:
        """See that each run has ended as its patience has it."""
        for key, waiting in self.waiting.items():
            row, refused = self.rows[key], waiting.refused
            if waiting.allowed is not None:
                assert row.admitted_at == waiting.allowed
                continue
            assert row.admitted_at is None
            if key in resolved:
                assert (row.state, row.ended_at is None) == (State.CANCELLED, False)
                continue
            until = refused[0] + patience[row.rule]
            if row.open:
                assert self.clock.now() < until
                continue
            assert row.state is State.BLOCKED
            assert row.ended_at == refused[-1]
            assert abs(refused[-1] - until) < EXACT


class History:
    """One history; an alert fires until it is resolved, or to the end."""

    def __init__(self, world: Patient) -> None:
        self.world = world
        self.number = 0
        self.causes: dict[str, dict[str, str]] = {}
        self.fires: dict[str, tuple[str, dict[str, str]]] = {}  # by run: the alert that opened it
        self.resolved: set[str] = set()  # runs that waited when their alert resolved

    async def live(self, operation: Operation) -> None:
        """Let one thing happen."""
        what, *rest = operation
        await getattr(self, f"_{what}")(*rest)
        self.world.look()

    async def _fire(self, pairs: list[tuple[str, str, str]]) -> None:
        """Let alerts fire in one notification, none of which joins a run that is open."""
        world = self.world
        world.catch_up()
        busy = {(row.rule, row.target) for row in world.rows.values() if row.open}
        chosen = {(name, target): fate for name, target, fate in pairs if (name, target) not in busy}
        labels = {}
        for (name, target), fate in chosen.items():
            self.number += 1
            labels[name, target] = {"t": target, "n": str(self.number)}
            world.reference.alert(name, target, world.clock.now())
            world.fates[f"{name} {target}"] = fate
        if not labels:
            return
        await world.notify(*(world.alert(name, **each) for (name, _), each in labels.items()))
        world.catch_up()
        for row in world.rows.values():
            if (row.rule, row.target) in labels and row.open:
                self.fires[row.id] = (row.rule, labels[row.rule, row.target or ""])
        world.clock.time += 1

    async def _pass(self, seconds: int) -> None:
        """Let time pass, in small steps as long as somebody waits."""
        left = float(seconds)
        while left > 0:
            some = any(row.open for row in self.world.rows.values())
            step = min(left, STEP) if some else left
            await self.world.passes(step)
            self.world.look()
            left -= step

    async def _cause(self, target: str) -> None:
        world = self.world
        world.clock.time += 1
        if target in self.causes:
            world.reference.causes.discard(target)
            await world.notify(world.alert("Cause", "resolved", **self.causes.pop(target)))
            return
        self.number += 1
        self.causes[target] = {"t": target, "n": str(self.number)}
        world.reference.causes.add(target)
        world.reference.alert(None, target, world.clock.now())
        await world.notify(world.alert("Cause", **self.causes[target]))

    async def _resolve(self, number: int) -> None:
        """Let the alert of a run that waits resolve: it is never begun."""
        world = self.world
        waits = [key for key in self.fires if world.rows[key].open]
        if not waits:
            return
        key = waits[number % len(waits)]
        name, labels = self.fires[key]
        world.clock.time += 1
        self.resolved.add(key)
        await world.notify(world.alert(name, "resolved", **labels))


alerts = st.tuples(st.sampled_from(NAMES), st.sampled_from(TARGETS), st.sampled_from(["well", "well", "fails"]))
operations = st.one_of(
    st.tuples(st.just("fire"), st.lists(alerts, min_size=1, max_size=3)),
    st.tuples(st.just("pass"), st.sampled_from([1, 7, 60, 240, 600])),
    st.tuples(st.just("cause"), st.sampled_from(TARGETS)),
    st.tuples(st.just("resolve"), st.integers(0, 3)),
)
patient = st.builds(
    replace, guards(), ladder=st.just(0), unless_firing=st.booleans(), patience=st.sampled_from([0, 60, 60, 600])
)


async def live(rules: dict[str, Guards], own: Own, dry: set[str], history: list[Operation]) -> None:
    """Live a history, and judge every run at its end."""
    world = Patient(rules, own)
    await world.start()
    try:
        await world.rules_from(rule_file(rules, dry), **standing(own))
        lived = History(world)
        for operation in history:
            await lived.live(operation)
        world.judge({name: each.patience for name, each in rules.items()}, lived.resolved)
    finally:
        await world.stop()


CAUSE = Guards(cooldown=0, unless_firing=True, patience=600)
PASSES = [("cause", "t0"), ("fire", [("aa", "t0", "well")]), ("pass", 7), ("cause", "t0"), ("pass", 60)]


@example(dict.fromkeys(NAMES, CAUSE), Own(), set(), PASSES)  # a refusal of which nobody knows when it clears
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.fixed_dictionaries(dict.fromkeys(NAMES, patient)),
    owns,
    st.sets(st.sampled_from(NAMES)),
    st.lists(operations, min_size=10, max_size=30),
)
def test_a_refused_run_waits_as_long_as_its_rule_has_patience(
    rules: dict[str, Guards], own: Own, dry: set[str], history: list[Operation]
) -> None:
    """It begins within 15 s of when nothing refuses it any more, is blocked when its patience ends, and never after its alert."""
    run(live(rules, own, dry, history))
