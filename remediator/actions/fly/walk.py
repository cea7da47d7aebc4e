"""A write that goes from machine to machine: it waits for each, stops at the first that fails, and tells how far it came."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from remediator.actions.bounds import visible
from remediator.actions.fly.server import Fly
from remediator.actions.fly.shapes import Machine
from remediator.actions.protocol import JsonValue, Outcome, Result

POLL = 0.5  # seconds between two looks at one machine; Fly.io allows five a second
_GONE = ("launch_failed", "destroying", "destroyed")
_NAMED = 5  # ids that a message spells out


@dataclass(slots=True)
class Walk:
    """How far a write over several machines has come."""

    app: str
    word: str  # what becomes of each: "restarted"
    total: int
    done: list[str] = field(default_factory=list)

    async def over(
        self, machines: Sequence[Machine], act: Callable[[Machine], Awaitable[Outcome | None]]
    ) -> Outcome | None:
        """Do it to one machine after the other; gives what stopped it, None where all are done."""
        for number, machine in enumerate(machines):
            why = await act(machine)
            if why is not None:
                return self.stopped(f"machine {machine.id}", why, [each.id for each in machines[number + 1 :]])
            self.done.append(machine.id)
        return None

    def stopped(self, at: str, why: Outcome, untouched: Sequence[str] = ()) -> Outcome:
        """Say where it stopped. What was done before makes it an error, whatever the reason: it is neither done nor not."""
        result: dict[str, JsonValue] = {self.word: list(self.done), "stopped_at": at, "untouched": list(untouched)}
        if not self.done:
            words = f"no machine of {self.app} is {self.word}: {at}: {why.error}"
            return msgspec.structs.replace(why, result=result, error=visible(words, longest=900))
        far = f"{len(self.done)} of {self.total} machines of {self.app} are {self.word} ({_listed(self.done)})"
        words = f"{far}, then {at}: {why.error}"
        if untouched:
            words += f"; not touched: {_listed(untouched)}"
        return Outcome(Result.ERROR, result, visible(words, longest=900))


def _listed(ids: Sequence[str]) -> str:
    more = len(ids) - _NAMED
    return ", ".join(ids[:_NAMED]) + (f" and {more} more" if more > 0 else "")


async def until_serving(fly: Fly, app: str, own: str, instance: str | None = None) -> Outcome | None:
    """Wait till a machine is started and its checks pass; an Outcome says that it doesn't come to that.

    With `instance` that version of it is meant, and a failed one is given up at once: it is new, so it never was well.
    """

    def meant(machine: Machine) -> bool:
        return instance in {None, machine.instance_id}

    def lost(machine: Machine) -> bool:
        return machine.state in _GONE or (machine.state == "failed" and machine.instance_id == instance)

    return await _until(
        fly, app, own, "started with its checks passing", lambda machine: machine.serves and meant(machine), lost
    )


async def until_stopped(fly: Fly, app: str, own: str) -> Outcome | None:
    """Wait till a machine has stopped."""
    return await _until(
        fly, app, own, "stopped", lambda machine: machine.state == "stopped", lambda machine: machine.state in _GONE
    )


async def until_destroyed(fly: Fly, app: str, own: str) -> Outcome | None:
    """Wait till a machine is no more: Fly.io shows it as destroyed for a while, then not at all."""
    why = await _until(fly, app, own, "destroyed", lambda machine: machine.state == "destroyed", lambda machine: False)
    return None if why is not None and why.result == {"status": 404} else why


def unfinished(words: str, why: Outcome) -> Outcome:
    """Make an error of a reason that came when something had been done already."""
    return Outcome(Result.ERROR, why.result, visible(f"{words}: {why.error}", longest=600))


Sight = Callable[[Machine], bool]


async def _until(fly: Fly, app: str, own: str, wanted: str, holds: Sight, lost: Sight) -> Outcome | None:
    """Look at a machine till it is as wanted. Every other end is an error: the change that is waited for was asked for."""
    while True:
        machine = await fly.machine(app, own)
        if isinstance(machine, Outcome):
            return unfinished(f"it was asked for, and whether it is {wanted} is not known", machine)
        if holds(machine):
            return None
        if lost(machine) or fly.context.remaining() <= POLL:
            when = "it is" if lost(machine) else "when the time was up it was"
            words = f"{when} {machine.condition()}, not {wanted}: look at its logs with fly.logs"
            return Outcome(Result.ERROR, error=visible(words, longest=600))
        await asyncio.sleep(POLL)
