"""A stage for the engine: real engine, real store, virtual time, actions that do as they are told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import msgspec
from pydantic import Field

from remediator.actions.catalog import Catalog, load_catalog
from remediator.actions.protocol import Action, Context, Effect, Gate, Outcome, Parameters, Result
from remediator.engine import Engine, Receipt, Standing, workers
from remediator.model.alert import Alert, AlertStatus, Notification
from remediator.model.identity import new_id
from remediator.receive import fingerprint
from remediator.review.stubs import StubbedSecrets
from remediator.rules.load import load_rules
from remediator.rules.windows import Modes
from remediator.store.protocol import RunFilter
from remediator.store.sqlite import SqliteStore, open_store
from remediator.web.shapes import run_shape

START = 1_795_000_000.0


class Free(Parameters):
    """Takes whatever a test wants to pass."""

    says: Annotated[str, Gate.DISPLAY] = Field("", description="A text.")
    arg: Annotated[str, Gate.ARGUMENT] = Field("", description="An argument.")
    number: int = Field(0, description="A number.")
    idempotent: bool = Field(False, description="Whether it may be repeated.")


class Scripted(Action[Free]):
    """An action that does as a test says."""

    parameters = Free
    says_no = True

    def __init__(self, name: str, effect: Effect, stage: Stage) -> None:
        self.name = name  # type: ignore[misc]
        self.effect = effect  # type: ignore[misc]
        self.stage = stage

    def idempotent(self, params: Free) -> bool:
        """Reads are; others as their parameters say."""
        return self.effect is Effect.READ or params.idempotent

    def plan(self, params: Free) -> str:
        """Say it."""
        return f"{self.name} {params.says}".strip()

    async def run(self, params: Free, context: Context) -> Outcome:
        """Do as the test says."""
        return await self.stage.act(self.name, params)


class VirtualClock:
    """Time stands still until the stage moves it."""

    def __init__(self) -> None:
        self.time = START
        self.parked: dict[asyncio.Future[None], float] = {}
        self.sleepers: set[asyncio.Task[None] | None] = set()  # tasks that wait here

    def now(self) -> float:
        """Give the present instant."""
        return self.time

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Park until the event is set or the stage's time has come."""
        if event.is_set():
            return
        timer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.parked[timer] = self.time + seconds
        self.sleepers.add(sleeper := asyncio.current_task())
        waiting = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({timer, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            self.parked.pop(timer, None)
            self.sleepers.discard(sleeper)
            timer.cancel()


class Stage:
    """What tests of the engine speak to."""

    def __init__(self, folder: Path, store: Any = None) -> None:
        """Over a file in the folder, unless another store is lent."""
        self.folder = folder
        self._lent = store
        self.clock = VirtualClock()
        self.calls: list[tuple[str, str]] = []  # (action, says), in order
        self.outcomes: dict[str, list[Any]] = defaultdict(list)  # by action: next results; the last one stays
        self.blocked: dict[str, asyncio.Event] = {}  # by action: it doesn't end before the event is set
        self.holding = 0  # actions that are at work until the test lets them end
        self.standing = Standing(modes=Modes.of("auto"), max_running=None)
        real = load_catalog()
        scripted = [
            Scripted(name, effect, self)
            for name, effect in (
                ("test.read", Effect.READ), ("test.probe", Effect.READ), ("test.check", Effect.READ),
                ("test.notify", Effect.NOTIFY), ("test.write", Effect.WRITE), ("test.undo", Effect.WRITE),
            )
        ]  # fmt: skip
        self.catalog = Catalog({**{name: real[name] for name in real}, **{each.name: each for each in scripted}})
        self.store: SqliteStore
        self.engine: Engine
        self._work: asyncio.Task[None] | None = None

    async def act(self, name: str, params: Free) -> Outcome:
        """Be the action."""
        self.calls.append((name, params.says))
        if name in self.blocked:
            self.holding += 1
            try:
                await self.blocked[name].wait()
            finally:
                self.holding -= 1
        told = self.outcomes[name]
        result = (told.pop(0) if len(told) > 1 else told[0]) if told else {}
        return result if isinstance(result, Outcome) else Outcome(Result.OK, result)

    async def start(self) -> None:
        """Start the engine over the store's file."""
        self.store = self._lent or open_store(self.folder / "store.db")
        before = self.engine.desk.worker if hasattr(self, "engine") else None
        self.engine = Engine(self.store, self.clock, self.catalog, StubbedSecrets())
        now = self.clock.now()
        await self.store.transact(lambda tx: tx.take_over(now, before))
        self._work = asyncio.create_task(self.engine.run())

    async def rules(self, text: str, **standing: Any) -> None:
        """Put rules in force, from YAML."""
        file = self.folder / "rules.yml"
        file.write_text(text)
        loaded = load_rules([file], self.catalog, vars={})
        assert loaded.ok, "\n".join(map(str, loaded.problems))
        for key, value in standing.items():
            self.standing = replace_standing(self.standing, **{key: value})
        await self.engine.adopt(loaded.rules, self.standing, {})
        await self.settle()

    async def crash(self) -> None:
        """End the daemon as kill -9 would: nothing more is written; then start it anew over the same store."""
        assert self._work is not None
        for task in [self._work, *self.engine.workers.tasks]:
            task.cancel()
        await asyncio.gather(self._work, *self.engine.workers.tasks, return_exceptions=True)
        await self.store.close()
        self.clock.parked.clear()
        rules, standing = self.engine.desk.rules, self.standing
        await self.start()
        await self.engine.adopt(rules, standing, {})
        await self.settle()

    async def stop(self) -> None:
        """End the engine."""
        if self._work is not None:
            self._work.cancel()
            for event in self.blocked.values():
                event.set()
            await asyncio.gather(self._work, *self.engine.workers.tasks, return_exceptions=True)
            await self.store.close()

    # -- time --

    async def settle(self) -> None:
        """Let everything happen that needs no time to pass."""
        calm = 0
        while calm < 25:
            await asyncio.sleep(0)
            # workers that wait neither for an action that the test holds nor, as while the store is away, for time to pass
            busy = len(self.engine.workers.tasks - self.clock.sleepers) > self.holding
            held = max(0, self.holding - len(self.engine.workers.tasks))  # of what is delivered from the outbox
            awake = 4 - held  # claiming, renewing, losing, delivering
            waiting = not self.engine.reception.idle or self.engine.workers.looking or len(self.clock.parked) < awake
            calm = 0 if busy or waiting else calm + 1
            assert self._work is not None
            if self._work.done():
                self._work.result()

    async def passes(self, seconds: float) -> None:
        """Let time pass, waking everything in its order."""
        end = self.clock.time + seconds
        await self.settle()
        while True:
            due = min(self.clock.parked.values(), default=end)
            if due > end:
                break
            self.clock.time = max(self.clock.time, due)
            for timer, at in list(self.clock.parked.items()):
                if at <= self.clock.time and not timer.done():
                    timer.set_result(None)
            await self.settle()
            if due == end:
                break
        self.clock.time = end
        self.engine.look()
        await self.settle()

    # -- alerts --

    async def notify(self, *alerts: Alert) -> Receipt:
        """Post a notification, as the webhook would, and let it settle."""
        now = self.clock.now()
        notification = Notification(new_id(now), now, "hook", "{}", {}, 0, alerts, (), b"{}")
        receipt = await self.engine.accept(notification)
        await self.settle()
        return receipt

    def alert(self, name: str = "Down", status: str = "firing", **labels: str) -> Alert:
        """Make an alert; one that resolves began at the stage's start."""
        told = {"alertname": name, **labels}
        ends = self.clock.now() if status == "resolved" else None
        starts = self.clock.now() if status == "firing" else START
        return Alert(fingerprint(told), AlertStatus(status), told, {}, starts, ends)

    async def fires(self, name: str = "Down", **labels: str) -> Receipt:
        """Let one alert fire."""
        return await self.notify(self.alert(name, **labels))

    async def resolves(self, name: str = "Down", **labels: str) -> Receipt:
        """Let one alert resolve."""
        self.clock.time += 0.001
        return await self.notify(self.alert(name, "resolved", **labels))

    # -- looking --

    async def runs(self) -> list[dict[str, Any]]:
        """Give all runs as the API shows them, oldest first."""

        async def script(tx: Any) -> list[dict[str, Any]]:
            stories = [await tx.run(run.id) for run in await tx.runs(RunFilter(limit=1000))]
            return [run_shape(story, await tx.alerts_of(story.run.id)) for story in stories]

        found = await self.store.view(script)
        return list(reversed(msgspec.json.decode(msgspec.json.encode(found))))

    async def states(self) -> list[tuple[str, str | None]]:
        """Give state and reason of all runs, oldest first."""
        return [(run["state"], run["reason"]) for run in await self.runs()]

    async def run(self) -> dict[str, Any]:
        """Give the only run."""
        (only,) = await self.runs()
        return only

    def used(self, name: str) -> int:
        """Count the calls of one action."""
        return sum(each == name for each, _ in self.calls)


def replace_standing(standing: Standing, **changes: Any) -> Standing:
    """Change some of it; `mode` is a word for `modes`."""
    from dataclasses import replace

    if "mode" in changes:
        changes["modes"] = Modes.of(str(changes.pop("mode")))

    return replace(standing, **changes)


def ok(result: Mapping[str, Any] | None = None) -> Outcome:
    """Make an outcome."""
    return Outcome(Result.OK, result or {})


@asynccontextmanager
async def stage_in(folder: Path, store: Any = None) -> Any:
    """Give a stage that has started."""
    stage = Stage(folder, store)
    # Nobody else works here, so no waker is lost: virtual days go by from one due time to the next, not five seconds at a time.
    with patch.object(workers, "_IDLE", 3600.0):
        await stage.start()
        try:
            yield stage
        finally:
            await stage.stop()


Make = Callable[[], Stage]
