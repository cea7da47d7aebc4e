"""The daemon, broken in one place each: what the simulation has to find."""

from __future__ import annotations
import __future__

import asyncio
import inspect
import sqlite3
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace
from simulation.invariants import Violation
from simulation.loop import PROCESS
from simulation.rulebook import Book

from remediator import guard as guards
from remediator.engine import admission, advance, approving, controls, intake, settle, storming, waiting
from remediator.engine.workers import Workers
from remediator.errors import StoreError
from remediator.execute import Call, _Walker
from remediator.model.control import ControlKind
from remediator.rules.rule import Guards
from remediator.store.sqlite import runs
from remediator.store.sqlite.transaction import SqliteTransaction

Break = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """One way to break it."""

    name: str
    promises: frozenset[str]  # any of which has to be found broken
    apply: Break
    where: Callable[[Book], bool] = lambda book: True  # in which worlds it can show at all
    says: str = ""  # stands in what is said of it, where a promise is broken in more than one way

    @property
    def seed(self) -> int:
        """Give the world in which it was last found first: one to begin with, none to rely upon."""
        return _SEEDS.get(self.name, 0)

    def shows(self, violation: Violation) -> bool:
        """Tell whether a violation is this one's."""
        return violation.promise in self.promises and self.says in violation.words


def rewrite(patch: pytest.MonkeyPatch, owner: Any, name: str, *changes: tuple[str, str]) -> None:
    """Change the text of a function or method, wherever it was imported; one that isn't as expected is an error."""
    original = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(original))
    for old, new in changes:
        assert source.count(old) == 1, f"{name} has changed: {old!r} is not in it once; write this mutant anew"
        source = source.replace(old, new)
    made: dict[str, Any] = {}
    code = compile(source, f"mutant of {name}", "exec", flags=__future__.annotations.compiler_flag)
    exec(code, original.__globals__, made)  # noqa: S102 - our own code, changed
    if inspect.isclass(owner):
        patch.setattr(owner, name, made[name])
        return
    for module in [each for key, each in sys.modules.items() if key.startswith("remediator.")]:
        if vars(module).get(name) is original:
            patch.setattr(module, name, made[name])
        for table in [each for each in vars(module).values() if isinstance(each, dict) and each is not vars(module)]:
            for key in [key for key, value in table.items() if value is original]:
                patch.setitem(table, key, made[name])


class _AtTheClaim:
    """Lets a run be decided by the store as an earlier transaction saw it: the one by which it was claimed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        spawn = Workers._spawn
        patch.setattr(intake, "_AT_ONCE", 0)  # so that every run is claimed

        def and_copy(worker: Workers, story: Any, effect: Any) -> None:
            process: Any = PROCESS.get()
            copy = sqlite3.connect(":memory:")
            process.world.store._connection.backup(copy)
            process.seen = {**getattr(process, "seen", {}), story.run.id: SqliteTransaction(copy)}
            process.seen_last = process.seen[story.run.id]
            spawn(worker, story, effect)

        patch.setattr(Workers, "_spawn", and_copy)

    def saw(self, run: str | None, now: SqliteTransaction) -> SqliteTransaction:
        """Give what was seen when a run was claimed (None: the last that was), where it was."""
        process: Any = PROCESS.get()
        last = getattr(process, "seen_last", now)
        return last if run is None else getattr(process, "seen", {}).get(run, now)


def _books_of_before(*fields: str) -> Break:
    """Decide by some of the books as they were at the claim."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        claimed, books = _AtTheClaim(patch), SqliteTransaction.books

        async def earlier(self: Any, question: Any) -> Any:
            then = await books(claimed.saw(question.run, self), question)
            return replace(await books(self, question), **{field: getattr(then, field) for field in fields})

        patch.setattr(SqliteTransaction, "books", earlier)

    return apply


def _without(index: str, also: Break) -> Break:
    """Take a constraint out of the schema too: the database makes the promise by itself."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        from simulation import world

        opened = world.open_memory

        def without() -> Any:
            store = opened()
            store._connection.execute(f"DROP INDEX {index}")
            return store

        patch.setattr(world, "open_memory", without)
        also(patch)

    return apply


def _controls_of_before(kind: ControlKind) -> Break:
    """Decide by the controls of a kind as they were at the claim."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        claimed, controls_now = _AtTheClaim(patch), SqliteTransaction.controls

        async def earlier(self: Any, now: float, run: str | None = None) -> Any:
            laid = await controls_now(self, now, run)
            if run is None:
                return laid
            then = await controls_now(claimed.saw(run, self), now, run)
            return [*(each for each in laid if each.kind is not kind), *(each for each in then if each.kind is kind)]

        patch.setattr(SqliteTransaction, "controls", earlier)

    return apply


def _no_guard(guard: Any) -> Break:
    """Do without a guard altogether."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        assert guard in guards.GUARDS
        patch.setattr(guards, "GUARDS", tuple(each for each in guards.GUARDS if each is not guard))

    return apply


def _some(has: Callable[[Guards], object]) -> Callable[[Book], bool]:
    """Take the worlds in which a rule has some guard."""
    return lambda book: any(has(rule.guards) for rule in book.rules.rules)


class _LookedAt(Exception):
    """Undoes a transaction that was only to be looked at."""


def _start_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    settle_in_truth = Workers._settle
    patch.setattr(intake, "_AT_ONCE", 0)

    async def settled(self: Workers, story: Any, rule: Any) -> Any:
        found: list[Any] = []

        async def look(tx: Any) -> None:
            found.append(await self._settle_script(tx, story, rule))
            raise _LookedAt

        with suppress(_LookedAt, StoreError):
            await self._store.transact(look)
        if not found or not isinstance(found[0][1], Call):
            return await settle_in_truth(self, story, rule)
        saving = asyncio.create_task(settle_in_truth(self, story, rule))
        saving.add_done_callback(lambda task: task.cancelled() or task.exception())
        return found[0][0].saved(), found[0][1]

    patch.setattr(Workers, "_settle", settled)


def _repeat(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(advance, "_in_doubt", lambda story: None)
    rewrite(patch, _Walker, "_begun", ("if record.repeatable:", "if True:"))


def _facts_never_too_old(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(waiting, "FACTS_AGE", 3600.0)


def _facts(book: Book) -> bool:
    """Facts take a while to read, between the claim and the admission."""
    return any(rule.facts for rule in book.rules.rules)


def _storms(book: Book) -> bool:
    return book.standing.storm is not None


def _breaks(book: Book) -> bool:
    """One failure opens a breaker, while another run reads its facts."""
    return any(
        rule.facts and rule.match and rule.guards.breaker is not None and rule.guards.breaker.failures == 1
        for rule in book.rules.rules
    )  # fmt: skip


def _ages(book: Book) -> bool:
    """A run may be refused for longer than facts may be old, and be admitted then."""
    return any(
        rule.facts and rule.guards.patience > 30 and (rule.guards.cooldown or rule.guards.limits or rule.guards.unless_firing)
        for rule in book.rules.rules
    )  # fmt: skip


def _changed(owner: Any, name: str, *changes: tuple[str, str]) -> Break:
    return lambda patch: rewrite(patch, owner, name, *changes)


def _both(*breaks: Break) -> Break:
    def apply(patch: pytest.MonkeyPatch) -> None:
        for each in breaks:
            each(patch)

    return apply


def _unfenced(patch: pytest.MonkeyPatch) -> None:
    fenced = "WHERE id = ? AND fence = ? AND worker = ?"
    assert fenced in runs._UPDATE_RUN
    patch.setattr(runs, "_UPDATE_RUN", runs._UPDATE_RUN.replace(fenced, "WHERE id = ? AND ? >= 0 AND ? != ''"))


_PAUSES = ("controls=await tx.controls(now, run.id),",
           "controls=[each for each in await tx.controls(now, run.id) if each.kind != 'pause'],")  # fmt: skip
_EPISODES = _some(lambda guards: guards.episodes)
_COMPANIONS = _some(lambda guards: guards.only_firing)
_CONDITIONS = _some(lambda guards: guards.only_if)
_STORM = "        taken.due |= await watch_for_storm(tx, standing, to_come, now, taken.events)\n"
_SAME_HASH = " and control.plan_hash == run.plan_hash"

MUTANTS = (
    Mutant("limits are read before the transaction that admits", frozenset({"P5"}), _books_of_before("full_since")),
    Mutant("cooldowns are read before", frozenset({"P5"}), _books_of_before("last", "last_good")),
    Mutant("blast radii are read before", frozenset({"P5"}), _books_of_before("touched")),
    Mutant("max_running is read before", frozenset({"P5"}), _books_of_before("at_work", "in_line"),
           lambda book: book.standing.max_running is not None),
    Mutant("locks are read before", frozenset({"P5"}), _without("one_holder_of_a_lock", _books_of_before("lock_holder"))),
    Mutant("breakers are read before", frozenset({"P4"}), _controls_of_before(ControlKind.BREAKER),
           _breaks, "while the breaker"),
    Mutant("storms are read before", frozenset({"P6"}), _controls_of_before(ControlKind.STORM), _storms),
    Mutant("pauses are read before", frozenset({"P7"}), _controls_of_before(ControlKind.PAUSE), says="after a pause"),
    Mutant("modes are read before", frozenset({"P7"}), _controls_of_before(ControlKind.MODE), _facts, "admitted in mode"),
    Mutant("what must not fire is read before", frozenset({"P4"}), _books_of_before("firing"),
           _some(lambda guards: guards.unless_firing), "while Full is firing"),
    Mutant("what must fire is read before", frozenset({"P4"}), _books_of_before("firing"),
           lambda book: _facts(book) and _COMPANIONS(book), "nothing fires"),
    Mutant("what must fire is not asked", frozenset({"P4"}), _no_guard(guards.only_firing), _COMPANIONS, "nothing fires"),
    Mutant("episodes are read before", frozenset({"P4"}), _books_of_before("episodes"), _EPISODES, "episodes began"),
    Mutant("episodes are not counted", frozenset({"P4"}), _no_guard(guards.episodes), _EPISODES, "episodes began"),
    Mutant("conditions are not asked", frozenset({"P4"}), _no_guard(guards.only_if), _CONDITIONS, "is not true"),
    Mutant("conditions are asked of facts however old", frozenset({"P4"}), _facts_never_too_old,
           _ages, "by facts of"),
    Mutant("no fence", frozenset({"P2"}), _unfenced),
    Mutant("a step begins before it is durable", frozenset({"P8"}), _start_before_the_commit),
    Mutant("what was interrupted is repeated", frozenset({"P2"}), _repeat),
    Mutant("pauses are not read", frozenset({"P7"}), _changed(settle, "surroundings", _PAUSES)),
    Mutant("an approval is for any plan", frozenset({"P12"}), _both(
        _changed(approving, "approvals", (_SAME_HASH, "")),
        _changed(controls, "_answer", ("kind is ControlKind.APPROVE and plan_hash != run.plan_hash", "False")),
    )),
    Mutant("a plan that has changed is not asked about again", frozenset({"P12"}), _changed(
        admission, "admit", ("run.approved_hash != story.run.plan_hash", "run.approved_hash is None"))),
    Mutant("one person counts twice", frozenset({"P12"}), _both(
        _changed(approving, "approvals", ("dict.fromkeys(given)", "given")),
        _changed(controls, "_answer", ("kind is ControlKind.APPROVE and person in", "False and person in")),
    )),
    Mutant("anybody may approve", frozenset({"P12"}), _changed(
        controls, "_answer", ("if named and person not in named", "if False"))),
    Mutant("a question never expires", frozenset({"P12"}), _both(
        _changed(controls, "_answer", ("run.ask_until is not None and now >= run.ask_until", "False")),
        _changed(approving, "awaiting", ("now >= run.ask_until:", "now >= run.ask_until + 60:"),
                 ("story.rest(run.ask_until,", "story.rest((run.ask_until or now) + 60,")),
    )),
    Mutant("a storm is counted after it was decided upon", frozenset({"P6"}), _changed(
        intake, "take_in", (_STORM, "        pass\n"),
        ("        await take_up(tx, fresh, standing, taken)\n", "        await take_up(tx, fresh, standing, taken)\n" + _STORM))),
    Mutant("a body is not counted whole", frozenset({"P6"}), _changed(
        storming, "_fresh", ("return len(firing) - await tx.count_open(firing) if firing else 0", "return 0")), _storms),
    Mutant("a storm holds for no while after", frozenset({"P6"}), _changed(
        storming, "watch_for_storm", ("until = began + storm.per + storm.hold", "until = began + storm.per"))),
    Mutant("a revert asks for no lock", frozenset({"P5"}), _without("one_holder_of_a_lock", _changed(
        admission, "_admit_revert", ("if holder is not None:", "if False:")))),
    Mutant("a step begins however long ago it was started", frozenset({"P3"}), _changed(
        Workers, "_perform", ("raise StaleLease(", "pass; ("))),
)  # fmt: skip

# A world may show another one tomorrow: then all are gone through as before, which takes longer, and finds the same.
_SEEDS = {
    "limits are read before the transaction that admits": 21,
    "cooldowns are read before": 254,
    "blast radii are read before": 61,
    "max_running is read before": 515,
    "locks are read before": 46,
    "breakers are read before": 3936,
    "pauses are read before": 308,
    "modes are read before": 1941,
    "what must not fire is read before": 675,
    "what must fire is read before": 10154,
    "episodes are read before": 1108,
    "conditions are asked of facts however old": 6578,
    "no fence": 314,
    "an approval is for any plan": 118,
    "a plan that has changed is not asked about again": 29,
    "one person counts twice": 229,
    "anybody may approve": 228,
    "a question never expires": 138,
    "a storm is counted after it was decided upon": 526,
    "a body is not counted whole": 2335,
    "a storm holds for no while after": 61,
    "a revert asks for no lock": 137,
    "a step begins however long ago it was started": 87,
}
