"""One seed, one world: replicas over one store, a sender of alerts, people, faults; and what came of it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import structlog
from simulation.acting import Act, Scripted
from simulation.invariants import Violation, Watch
from simulation.loop import PROCESS, Livelock, SimulationLoop, draws
from simulation.people import Operator
from simulation.replica import Faults, Replica
from simulation.rulebook import SETS, Book, book
from simulation.sender import Sender

from remediator.actions.protocol import Effect, Outcome, Result
from remediator.engine import reception
from remediator.errors import StoreError
from remediator.model.run import Mode, State
from remediator.review.virtual import VirtualClock
from remediator.store.chain import GENESIS, Audit, Head, Link
from remediator.store.sqlite import open_memory

START = 1_795_000_000.0
_ID = re.compile(r"\b[0-9a-hjkmnp-tv-z]{26}\b")
_PATIENCE = 900.0  # seconds in which everything has to come to its end, once nothing goes wrong any more


@dataclass(frozen=True)
class Ended:
    """What came of one seed."""

    seed: int
    violations: tuple[Violation, ...]
    happened: Sequence[tuple[float, str, str]]  # when, to whom, what
    names: Mapping[str, str]  # of runs, by id
    actions: int  # that were begun
    admitted: int  # runs

    @property
    def trace(self) -> list[str]:
        """Give a line for everything that happened; the same each time, so without ids."""

        def named(id_: re.Match[str]) -> str:
            return self.names.get(id_[0], "…")

        return [f"{at:9.3f}  {who:12}  {_ID.sub(named, what)}" for at, who, what in self.happened]


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, store: Any = None) -> None:
        self.seed = seed
        self.draw = draws("world", seed)
        self.loop = SimulationLoop(START, seed)
        self.clock = VirtualClock(self.loop)
        self.book = _book_drawn(self.draw)
        self.store = store or open_memory()
        self.faults = Faults(draws("faults", seed))
        self.trace: list[tuple[float, str, str]] = []
        self.watch = Watch(self.book, self.store._connection, self.clock.now, self.note)
        self.replicas: list[Replica] = []
        self.alone = self.draw.random() < 0.35
        self.seated: str | None = None
        self.calm = False
        self.horizon = self.draw.choice((10.0, 20.0, 20.0, 45.0))
        self._answers = draws("answers", seed)
        self._truth = draws("truth", seed)
        self._fickle = self.draw.choice((1, 2, 9))  # seconds after which the world may stand otherwise
        self._facts: dict[int, dict[str, Any]] = {}
        self.began = 0

    def note(self, who: str, what: str) -> None:
        """Write a line of the trace."""
        self.trace.append((self.loop.time() - START, who, what))

    # -- replicas --

    @property
    def ready(self) -> Sequence[Replica]:
        """Give the replicas that take calls (one that is frozen takes them too, and does not answer)."""
        return [each for each in self.replicas if each.engine is not None]

    def _start(self) -> None:
        replica = Replica(self, len(self.replicas) + 1)
        self.replicas.append(replica)
        self.note(replica.name, "starts")
        replica.start()

    def died(self, replica: Replica, error: BaseException | None) -> None:
        """Start another in its place, after a while."""
        if error is not None:
            self.note(replica.name, f"ends on {error!r}")
            if not isinstance(error, StoreError):
                self.watch.broken("defect", f"{replica.name} ended on {error!r}")
        self.loop.call_later(0.5 if self.calm else self.draw.choice((0.1, 2.0, 15.0)), self._start)

    # -- actions --

    async def play(self, action: Scripted, params: Act, run: str, replica: Replica) -> Outcome:
        """Play one use of an action."""
        self.began += 1
        began = self.watch.begins(replica, action.effect, action.idempotent(params), params, run)
        replica.endanger()
        draw = self._answers
        if draw.random() < 0.5:
            await asyncio.sleep(draw.choice((0.1, 1.0, 2.0, 3.9)))
        outcome = self._answer(action.effect)
        if outcome is None:
            await asyncio.sleep(3600)
            raise AssertionError("an action was not ended by its timeout")
        self.watch.ends(self.watch.runs[run], began, params, outcome)
        return outcome

    def _answer(self, effect: Effect) -> Outcome | None:
        """Draw what an action comes to; None: it hangs."""
        chance = self._answers.random()
        if chance < (0.88 if effect is Effect.READ else 0.75):
            return Outcome(Result.OK, self._fact() if effect is Effect.READ else {})
        if effect is Effect.NOTIFY:
            return Outcome(
                Result.REFUSED, error="no"
            )  # what could not be sent is kept: the outbox has tests of its own
        if chance < 0.92:
            return Outcome(Result.ERROR, error="no answer")
        if chance < 0.95:
            return Outcome(Result.REFUSED, error="no")
        return Outcome(Result.NOT_SENT, error="not sent") if chance < 0.98 else None

    def _fact(self) -> dict[str, Any]:
        """Give how the world stands: it changes every few seconds, and changes back."""
        span = int(self.loop.time() // self._fickle)
        if span not in self._facts:
            draw = self._truth
            self._facts[span] = {
                "name": draw.choice("aab"), "n": draw.choice((1, 2)), "up": draw.random() < 0.6,
                "population": draw.choice((0, 1, 3, 4, 6, None, "many")),
            }  # fmt: skip
        return self._facts[span]

    # -- the course of things --

    async def main(self) -> None:
        """Let everything happen."""
        for _ in range(1 if self.alone else self.draw.choice((2, 2, 3))):
            self._start()
        sender, operator = Sender(self), Operator(self)
        troubles = [
            asyncio.create_task(each) for each in (sender.work(), operator.work(), self._outages(), self._deaths())
        ]
        await asyncio.sleep(self.horizon)
        self.note("world", "nothing goes wrong from here on")
        self.calm = True
        self.faults.cease()
        for task in troubles:
            task.cancel()
        for replica in self.replicas:
            replica.thaw()
        await operator.reload_all()
        await sender.resolve_all()
        await self._come_to_an_end(operator)

    async def _outages(self) -> None:
        """Let the store be away at times."""
        while self.draw.random() < 0.3:
            await asyncio.sleep(self.draw.uniform(0, self.horizon))
            self.note("store", "is away")
            self.faults.away = True
            await asyncio.sleep(self.draw.choice((1.0, 5.0, 20.0)))
            self.note("store", "is back")
            self.faults.away = False

    async def _deaths(self) -> None:
        """Kill at any moment, whatever is done then."""
        while self.draw.random() < 0.5:
            await asyncio.sleep(self.draw.uniform(0, self.horizon))
            if self.ready:
                replica = self.draw.choice(self.ready)
                if self.draw.random() < 0.3:
                    replica.stop(self.draw.choice((0.5, 5.0)))
                else:
                    replica.after(self.draw.randint(1, 40), replica.kill)

    async def _come_to_an_end(self, operator: Operator) -> None:
        end = self.loop.time() + _PATIENCE
        while self.loop.time() < end and not self.watch.violations:
            await operator.clear_up()
            if not self._open():
                break
            await asyncio.sleep(10)
        for run in self._open():
            if run.origin == "revert" and self.watch.mode(run).rank <= Mode.DRY_RUN.rank:
                continue  # a mode that has fallen for good holds it, as it should
            self.watch.broken("stuck", f"{run.name} ({run.rule.name}, {run.origin}) is still {run.state}")

    def _open(self) -> list[Any]:
        return [run for run in self.watch.runs.values() if run.state.open]

    # -- the end --

    def run(self) -> Ended:
        """Run the world to its end."""
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda loop, context: None)  # what a caller that has gone did not hear
        main = self.loop.create_task(self.main())
        try:
            while not main.done() and not self.watch.violations:
                self.loop.run_until_complete(asyncio.wait({main}, timeout=5.0))
            if main.done():
                main.result()
            self._look_back()
        except Livelock as error:
            self.watch.broken("stuck", str(error))
        finally:
            self._clean()
        runs = self.watch.runs
        admitted = sum(run.admitted is not None for run in runs.values())
        names = {key: run.name for key, run in runs.items()}
        return Ended(self.seed, tuple(self.watch.violations), self.trace, names, self.began, admitted)

    def _look_back(self) -> None:
        """Compare what the store has with what was seen, and verify the chain of some."""
        connection = self.store._connection
        for run, state in connection.execute("SELECT id, state FROM runs"):
            if self.watch.runs[run].state != State(state):
                self.watch.broken("P8", f"{self.watch.runs[run].name} is {state}, and the history says otherwise")
        if self.seed % 20 == 0:
            rows = connection.execute("SELECT seq, run, line, hash FROM events ORDER BY seq")
            audit = Audit([Head("local", 0, GENESIS)])
            audit.walk(Link("local", *row) for row in rows)
            report = audit.report({})
            if not report.ok:
                self.watch.broken("P8", report.problems[0])

    def _clean(self) -> None:
        self.faults.away = True
        for replica in self.replicas:
            replica.dead = True
            self.loop.go_on(replica)
        while tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=0.01))
        asyncio.set_event_loop(None)
        self.loop.close()
        self.store._connection.close()


@contextmanager
def small() -> Iterator[None]:
    """Have bodies of a few alerts pass for large ones, and keep the daemon's narration out of it, which costs most."""
    configured, portion = structlog.get_config(), reception._PORTION
    reception._PORTION = 3
    structlog.configure(
        processors=[_defects], wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.ReturnLoggerFactory(),
    )  # fmt: skip
    try:
        yield
    finally:
        reception._PORTION = portion
        structlog.configure(**configured)


def _defects(logger: Any, method: str, told: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Take notice of what the daemon calls a defect of its own."""
    process: Any = PROCESS.get()
    if told.get("exc_info") and process is not None and not process.dead:
        process.world.watch.broken("defect", f"{told['event']}: {told['exc_info']!r}")
    raise structlog.DropEvent


def _book_drawn(draw: Random) -> Book:
    return book(draw.randrange(SETS))


def book_of(seed: int) -> Book:
    """Give the set of rules of a seed's world."""
    return _book_drawn(draws("world", seed))


def run(seed: int, store: Any = None) -> Ended:
    """Run one seed, over a store in memory unless another is lent."""
    return World(seed, store).run()
