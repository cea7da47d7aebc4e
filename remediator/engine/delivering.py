"""Delivering: what could not be sent is kept in the outbox, and sent in its order when its channel can be reached again.

Past a span another channel is told. A message that may have been sent already, and must not be sent twice, is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import structlog
from msgspec.structs import replace
from pydantic import ValidationError

from remediator.actions.protocol import Action, Outcome, Parameters, Result
from remediator.engine.calling import Caller
from remediator.engine.clock import Clock
from remediator.engine.desk import Desk
from remediator.engine.noticing import Notice, tell_by
from remediator.errors import StoreError
from remediator.model.message import KeptMessage, Message
from remediator.model.run import Event, EventKind
from remediator.model.story import Story
from remediator.model.time import Seconds, Timestamp, format_duration
from remediator.rules.rule import Rule
from remediator.store.protocol import Store, Transaction

_log = structlog.get_logger("remediator")

_FIRST_PAUSE: Seconds = 5.0
_LONGEST_PAUSE: Seconds = 300.0
_KEPT_FOR: Seconds = 24 * 3600.0  # an older page wakes people for what is over
_IDLE: Seconds = 60.0


async def keep_unsent(tx: Transaction, story: Story, rule: Rule, now: Timestamp) -> bool:
    """Put into the outbox what the touched steps of a run could not send; tells whether there was any."""
    kept = [step for step in story.steps if step.kept and step.key in story.touched]
    for step in kept:
        told = rule.list_for(step.phase, step.rung)[step.position]
        parameters = parameters_of(told.action, step.parameters)
        if parameters is None:
            continue
        message = Message(
            uses=step.uses, parameters=step.parameters, says=told.action.plan(parameters), run=story.run.id,
            rule=rule.name, confidential=rule.confidential, repeatable=step.repeatable, timeout=told.timeout, kept_at=now,
            error=step.error,
        )  # fmt: skip
        await tx.keep_message(told.action.channel(parameters), message, now + pause_after(1, step.retry_after))
    return bool(kept)


def parameters_of(action: Action[Parameters], kept: object) -> Parameters | None:
    """Read parameters as they were kept; None where the action takes them no more."""
    try:
        return action.parameters.model_validate_json(msgspec.json.encode(kept))
    except ValidationError:
        return None


def pause_after(attempts: int, asked: Seconds | None) -> Seconds:
    """Say how long a channel is left alone after so many attempts."""
    return max(min(_FIRST_PAUSE * 2.0 ** (attempts - 1), _LONGEST_PAUSE), asked or 0.0)


class Delivery:
    """Sends what is in the outbox. `work` goes on until it is cancelled."""

    def __init__(self, store: Store, clock: Clock, desk: Desk, caller: Caller) -> None:
        self._store = store
        self._clock = clock
        self._desk = desk
        self._caller = caller
        self._due = asyncio.Event()

    def look(self) -> None:
        """Look into the outbox now."""
        self._due.set()

    async def work(self) -> None:
        """Send whatever is due, the first of each channel at a time, until cancelled."""
        while True:
            self._due.clear()
            pause = _IDLE
            try:
                if not self._desk.draining:
                    claimed, until = await self._claim()
                    await asyncio.gather(*(self._deliver(kept, until) for kept in claimed))
                    due = await self._store.view(lambda tx: tx.next_message_due())
                    pause = pause if due is None else max(0.0, min(pause, due - self._clock.now()))
            except StoreError as error:
                _log.error("the outbox can't be read", error=str(error))
            if pause > 0:
                await self._clock.wait(self._due, pause)

    async def _claim(self) -> tuple[Sequence[KeptMessage], Timestamp]:
        """Take what is due, and say until when it is ours to send."""
        due = await self._store.view(lambda tx: tx.next_message_due())
        if due is None or due > self._clock.now():
            return (), 0.0

        async def script(tx: Transaction) -> tuple[Sequence[KeptMessage], Timestamp]:
            now = self._clock.now()
            # For the longest that sending may take: whoever finds it past that knows that its sender is no more.
            until = now + self._desk.standing.lease
            return await tx.claim_messages(self._desk.worker, now, until), until

        return await self._store.transact(script)

    async def _deliver(self, kept: KeptMessage, until: Timestamp) -> None:
        """Send one, and keep what came of it. Raises StoreError: then its lease runs out, and it is found interrupted."""
        outcome = await self._send(kept, until)

        async def script(tx: Transaction) -> str | None:
            return await self._settle(tx, kept, outcome, self._clock.now())

        given_up = await self._store.transact(script)
        about = {"run": kept.message.run, "rule": kept.message.rule, "uses": kept.message.uses}
        if given_up is not None:
            _log.error("a message is given up: tell whom it concerns", **about, says=kept.message.says, error=given_up)
        elif outcome.ok:
            _log.info("a message that was kept has been sent", **about, attempts=kept.message.attempts + 1)
        else:
            _log.warning("a message could not be sent, and is kept", **about, error=outcome.error)

    async def _send(self, kept: KeptMessage, until: Timestamp) -> Outcome:
        message = kept.message
        if kept.interrupted and not message.repeatable:
            return Outcome(
                Result.REFUSED, error="the daemon ended while it was being sent, and it must not be sent twice"
            )
        if self._clock.now() - message.kept_at > _KEPT_FOR:
            return Outcome(
                Result.REFUSED, error=f"it could not be sent for {format_duration(_KEPT_FOR)}: {message.error}"
            )
        action = self._desk.action(message.uses)
        parameters = None if action is None else parameters_of(action, message.parameters)
        if action is None or parameters is None:
            return Outcome(Result.REFUSED, error=f"there is no action {message.uses} any more that could send it")
        longest = min(message.timeout, self._desk.standing.lease / 2)
        if self._clock.now() + longest > until:  # we stood still: another may have it by now, or before we have ended
            return Outcome(Result.NOT_SENT, error="the daemon stood still before it could be sent")
        return await self._caller.call(action, parameters, longest, message.run)

    async def _settle(self, tx: Transaction, kept: KeptMessage, outcome: Outcome, now: Timestamp) -> str | None:
        """Take a message out of the outbox, or put it back; says why it is given up, if it is."""
        message, worker = kept.message, self._desk.worker
        again = outcome.kind is Result.NOT_SENT or (outcome.kind is Result.ERROR and message.repeatable)
        if not again:
            if await tx.drop_message(kept.seq, worker):
                data = {"uses": message.uses, "rule": message.rule, "sent": outcome.ok, "error": outcome.error}
                await tx.append([Event(at=now, kind=EventKind.DELIVERED, run=message.run, data=data)])
            return None if outcome.ok else outcome.error
        message = replace(message, attempts=message.attempts + 1, error=outcome.error)
        due_at = now + pause_after(message.attempts, outcome.retry_after)
        standing = self._desk.standing
        if standing.second is not None and not message.told and message.rule != standing.second.name:
            tell_at = message.kept_at + standing.second_after
            if now >= tell_at:
                message = replace(message, told=True)
                await tell_by(tx, standing.second, standing.public_url, _undelivered(message), now)
            else:
                due_at = min(due_at, tell_at)
        await tx.put_back_message(kept.seq, worker, message, due_at)
        return None


def _undelivered(message: Message) -> Notice:
    says = "a confidential message" if message.confidential else message.says
    return Notice("undelivered", f"{message.uses} of {message.rule} could not be sent: {says}", confidential=False)
