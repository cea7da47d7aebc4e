"""Reception: gathers what has arrived while the last commit was under way, and keeps it in one transaction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec
import structlog

from remediator.engine.clock import Clock
from remediator.engine.desk import Desk
from remediator.engine.intake import Portion, Taken, take_in
from remediator.engine.workers import Workers
from remediator.errors import StoreError
from remediator.model.alert import Notification
from remediator.store.protocol import Store, Transaction

_log = structlog.get_logger("remediator")

_PORTION = 500  # alerts in one transaction of intake
WAITING_ALERTS = 100_000  # alerts taken off the wire and not yet kept; past that the answer is 503


class Overloaded(Exception):
    """Nothing more is taken at the moment; the sender should come again later. Its text says why."""


class Receipt(msgspec.Struct, frozen=True):
    """What a sender is told, once it is durable."""

    notification: str
    alerts: int
    refused: int
    runs: list[str]


class _Arrival:
    """A notification on its way into the store."""

    def __init__(self, notification: Notification) -> None:
        self.notification = notification
        alerts = notification.alerts
        starts = range(0, len(alerts), _PORTION)
        self.portions = deque(
            Portion(notification, alerts[start : start + _PORTION], start == starts[0], start == starts[-1])
            for start in starts
        )
        self.runs: list[str] = []
        self.kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def _refuse(batch: Sequence[tuple[_Arrival, Portion]], error: Exception) -> None:
    for arrival, _ in batch:
        if not arrival.kept.done():
            arrival.kept.set_exception(error)


class Reception:
    """Takes notifications; `work` keeps them until it is cancelled."""

    def __init__(self, store: Store, clock: Clock, desk: Desk, workers: Workers) -> None:
        self._store = store
        self._clock = clock
        self._desk = desk
        self._workers = workers  # who begin what a transaction has decided
        self._turns: deque[_Arrival] = (
            deque()
        )  # each has a portion taken in turn: a small one never waits for large ones
        self._waiting_alerts = 0
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()  # nothing is waiting or being kept
        self._empty.set()

    @property
    def idle(self) -> bool:
        """Tell whether nothing is waiting or being kept."""
        return self._empty.is_set()

    async def finish(self) -> None:
        """Wait until all that has arrived is kept, and what that begins has begun."""
        await self._empty.wait()

    def look_for_room(self, alerts: int) -> None:
        """Raise Overloaded where so many more alerts would be too many beside those that wait."""
        if self._waiting_alerts + alerts > WAITING_ALERTS:
            raise Overloaded("too much is waiting already")

    async def accept(self, notification: Notification) -> Receipt:
        """Keep a notification and all decisions made of it; returns when they are durable.

        Raises Overloaded and StoreError: nothing of it may be relied upon then.
        """
        if self._desk.draining:
            raise Overloaded("the daemon is stopping")
        self.look_for_room(len(notification.alerts))
        arrival = _Arrival(notification)
        if arrival.portions:
            self._turns.append(arrival)
        self._waiting_alerts += len(notification.alerts)
        self._arrived.set()
        self._empty.clear()
        await arrival.kept
        return Receipt(
            notification=notification.id,
            alerts=len(notification.alerts),
            refused=len(notification.refused),
            runs=list(dict.fromkeys(arrival.runs)),
        )

    async def work(self) -> None:
        """Gather what has arrived while the last commit was under way, and keep it in one transaction."""
        while True:
            await self._arrived.wait()
            batch: list[tuple[_Arrival, Portion]] = []
            alerts = 0
            while self._turns and (not batch or alerts + len(self._turns[0].portions[0].alerts) <= _PORTION):
                arrival = self._turns.popleft()
                batch.append((arrival, arrival.portions.popleft()))
                alerts += len(batch[-1][1].alerts)
                if arrival.portions:
                    self._turns.append(arrival)
            if not self._turns:
                self._arrived.clear()
            if batch:
                await self._take_in_batch(batch)
                self._waiting_alerts -= alerts
                if not self._waiting_alerts:
                    self._empty.set()

    async def _take_in_batch(self, batch: list[tuple[_Arrival, Portion]]) -> None:
        portions = [portion for arrival, portion in batch if not arrival.kept.done()]
        index, standing = self._desk.index, self._desk.standing
        begin = self._workers.has_room and not self._desk.draining

        async def script(tx: Transaction) -> Taken:
            return await take_in(tx, portions, index, standing, self._clock.now(), begin=begin)

        try:
            taken = await self._store.transact(script)
        except StoreError as error:
            _refuse(batch, error)
            return
        except Exception as error:  # noqa: BLE001 - a body that we can't digest must not stop the others
            if len(batch) > 1:
                for one in batch:
                    await self._take_in_batch([one])
                return
            _log.exception("a notification could not be taken in, which is a defect", id=batch[0][0].notification.id)
            _refuse(batch, error)
            return
        self._workers.go_on(taken)
        for arrival, portion in batch:
            arrival.runs += taken.runs.pop(arrival.notification.id, [])
            if portion.last and not arrival.kept.done():
                arrival.kept.set_result(None)
