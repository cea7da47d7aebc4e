"""The real engine over a store in memory, which says of every proposal what each of its guards said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from guards.reference import Guards
from stage import Free, Stage

from remediator import guard
from remediator.actions.protocol import Outcome, Result
from remediator.engine import Engine
from remediator.model.books import Books, Question
from remediator.review.stubs import StubbedSecrets
from remediator.rules.rule import RuleSet
from remediator.store.sqlite.memory import open_memory

Decision = tuple[str, str, str, frozenset[str]]  # rule, target, book, the guards that refused

_decide = guard.decide


class World(Stage):
    """A stage whose store is in memory, whose steps end as a fate says, and which hears what the guards say."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.store = open_memory()  # type: ignore[assignment]
        self.fates: dict[str, str] = {}  # by what a step says: `fails`, `hangs`, `lingers`; else it does well
        self.decisions: list[Decision] = []
        self.released: dict[str, asyncio.Event] = {}

    async def start(self, rules: RuleSet | None = None) -> None:
        """Start the engine over what is kept, by these rules from the first moment on."""
        guard.decide = self._decide
        self.engine = Engine(self.store, self.clock, self.catalog, StubbedSecrets())
        now = self.clock.now()
        await self.store.transact(lambda tx: tx.take_over(now, None))
        if rules is not None:
            await self.engine.adopt(rules, self.standing, {})
        self._work = asyncio.create_task(self.engine.run())

    async def stop(self) -> None:
        """End it."""
        guard.decide = _decide
        for event in self.released.values():
            event.set()
        await super().stop()

    async def crash(self) -> None:
        """End the engine in the middle of what it does, and start it anew."""
        assert self._work is not None
        tasks = [self._work, *self.engine.workers.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.clock.parked.clear()
        self.released.clear()
        await self.start(self.engine.desk.rules)
        await self.settle()

    async def rules_from(self, text: str, **standing: Any) -> None:
        """Put rules in force; what fires goes on firing, however long nothing is heard of it."""
        with TemporaryDirectory() as folder:
            self.folder = Path(folder)
            await self.rules(text, **standing, stale_after=1e9)

    async def act(self, name: str, params: Free) -> Outcome:
        """Be an action: do as the fate of what it says."""
        fate = self.fates.get(params.says, "well")
        if name == "test.read" and fate == "fails":
            return Outcome(Result.REFUSED, error="no")
        if (name, fate) in {("test.write", "hangs"), ("test.read", "lingers")}:  # dry runs read, and do not write
            self.holding += 1
            self.released[params.says] = asyncio.Event()
            try:
                await self.released[params.says].wait()
            finally:
                self.holding -= 1
        return Outcome(Result.OK, {"up": True})

    def hear(self, question: Question, refused: frozenset[str], now: float) -> None:
        """Take note of what all guards say to a run."""
        self.decisions.append((question.rule, question.target, str(question.book), refused))

    def heard(self) -> list[Decision]:
        """Give the decisions since the last look."""
        decisions, self.decisions = self.decisions, []
        return decisions

    def _decide(
        self, case: guard.Case, books: Books, now: float, guards: Sequence[guard.Guard] = guard.GUARDS
    ) -> guard.Refusal | None:
        found = [each(case, books, now) for each in guards]
        refused = frozenset(str(each.reason) for each in found if each is not None)
        self.hear(case.question, refused, now)
        return next((each for each in found if each is not None), None)


def rule_file(rules: Mapping[str, Guards], dry: Collection[str] = ()) -> str:
    """Write the rules as their author would, some of them for dry-run only."""
    return "rules:\n" + "".join(_rule(name, guards, dry=name in dry) for name, guards in sorted(rules.items()))


def _rule(name: str, guards: Guards, *, dry: bool) -> str:
    said: dict[str, Any] = {"cooldown": f"{guards.cooldown}s"}
    if guards.limits:
        said["limit"] = [f"{count} per {per}s{' per target' * by_target}" for count, per, by_target in guards.limits]
    if guards.targets is not None:
        said["blast_radius"] = {"targets": guards.targets[0], "per": f"{guards.targets[1]}s"}
    if guards.fraction is not None:
        part, of, per = guards.fraction
        said["blast_radius"] = {**said.get("blast_radius", {}), "fraction": part, "of": of, "per": f"{per}s"}
    if guards.breaker is not None:
        count, per, reset = guards.breaker
        until = "manual" if reset is None else f"{reset}s"
        said["breaker"] = {"failures": count, "per": f"{per}s", "reset": until}
    if guards.episodes is not None:
        least, most, per = guards.episodes
        said["episodes"] = {"at_least": least, "at_most": most, "per": f"{per}s"}
    cause = ['{alertname="Cause", t="{{ labels.t }}"}']
    said |= {"unless_firing": cause} if guards.unless_firing else {}
    said |= {"only_firing": cause} if guards.only_firing else {}
    said |= {"only_if": [f"labels.t in {list(guards.only_if)}"]} if guards.only_if is not None else {}
    said |= {"patience": f"{guards.patience}s"} if guards.patience else {}
    says = f"{name} {{{{ labels.t }}}}"
    steps = [{"uses": "test.read", "with": {"says": says}}, {"uses": "test.write", "with": {"says": says}}]
    verify = {"within": "10s", "every": "10s", "checks": [{"uses": "test.check", "expect": "result.up"}]}
    does: dict[str, Any] = {"steps": steps}
    if guards.ladder:
        does = {
            "recurrence": f"{guards.recurrence}s",
            "ladder": [{"steps": steps, "verify": verify}] * guards.ladder,
        }
    keys = {
        "name": name, "summary": "Mends.", "match": f'{{alertname="{name}"}}', "target": "{{ labels.t }}",
        "mode": "dry-run" if dry else "auto", "guard": said, **does,
    }  # fmt: skip
    return f"  - {json.dumps(keys)}\n"
