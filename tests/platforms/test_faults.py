"""Every action meets every fault, at each of its requests: the outcome is right, the deadline kept, nothing is sent twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from fakes.fake import RETRY_AFTER, Fault
from platforms.proxy import BROKEN, broken_port
from platforms.stand import CATALOG, Stand, group_of, told, use

from remediator.actions.bounds import redact
from remediator.actions.protocol import Effect, Outcome, Resources, Result

Start = Callable[[str], Awaitable[Stand]]

DEADLINE = 1.0  # seconds that a step gets
SHORT = 0.25  # the same for one that asks a port which never answers, and needs no program to ask it
GRACE = 6.0  # beyond it, for a child's process group to be asked to end
STATUSES = ("401", "403", "404", "409", "422", "429", "500")
FAULTS = (*STATUSES, "hang", "cut", "cut-after", "drip", "garbage")
SLOW = ("hang", "drip")
NAMES = [name for name in CATALOG if name not in {"wait", "log"}]


def fault_of(word: str) -> Fault:
    """Make a fault of its word."""
    return Fault("status", int(word)) if word.isdecimal() else Fault(word)  # type: ignore[arg-type]


def is_right(outcome: Outcome, word: str, first: bool) -> str | None:
    """Say what is wrong with what an action came to, None where it is right."""
    if outcome.kind is Result.OK:
        return "it says that all went well"
    if not outcome.error or "\n" in outcome.error:
        return f"the operator is told {outcome.error!r}"
    if word == "429" and first and (outcome.kind, outcome.retry_after) != (Result.NOT_SENT, RETRY_AFTER):
        return f"turned away for a while, and it is {outcome.kind} with {outcome.retry_after}"
    if word in {"401", "403", "422"} and first and outcome.kind is not Result.REFUSED:
        return f"the answer is no, and it is {outcome.kind}"
    if word not in {*STATUSES, "refused"} and outcome.kind is not Result.ERROR:
        return f"nobody knows what became of it, and it is {outcome.kind}"
    return None


def sent_twice(place: Stand) -> list[str]:
    """Give the writing requests that came more than once."""
    assert place.fake is not None
    harmless = ("GET ", "POST /graphql", "POST /api/v1/query", *place.harmless)
    asked = Counter(f"{seen.method} {seen.path} {seen.body}" for seen in place.fake.seen)
    return [each for each, times in asked.items() if times > 1 and not each.startswith(harmless)]


def leaked(place: Stand, outcome: Outcome) -> bool:
    """Tell whether a record of this would hold a secret, in any form."""
    text = told(outcome)
    return redact(text, dict.fromkeys(place.secrets.values(), "*")) != text


async def struck(place: Stand, name: str, resources: Resources, at: int, word: str) -> str | None:
    """Use an action while a fault strikes one of its requests, and say what is wrong with what came of it."""
    assert place.fake is not None
    assert place.reset is not None, "a fake has to be made as new between two faults"
    params = place.params(name, place.written(name)[0])
    place.reset()
    place.fake.seen.clear()
    place.fake.faults.clear()
    place.fake.faults.extend([None] * at + [fault_of(word)])
    began = time.monotonic()
    async with asyncio.timeout(DEADLINE + GRACE + 5):
        outcome = await use(place, name, params, resources, seconds=DEADLINE if word in SLOW else 10.0)
    took = time.monotonic() - began
    complaint = is_right(outcome, word, first=at == 0)
    if (name, word) in place.fine and outcome.kind is Result.OK:
        complaint = None
    if word in SLOW and took > DEADLINE + 1.0:
        complaint = f"it took {took:.1f} s of {DEADLINE} s"
    if twice := sent_twice(place):
        complaint = f"sent twice: {twice}"
    if leaked(place, outcome):
        complaint = f"it tells a secret: {told(outcome)}"
    return complaint and f"{word} at request {at + 1}: {complaint} ({outcome.error})"


@pytest.mark.parametrize("name", NAMES)
async def test_every_fault_of_a_platform_comes_to_a_right_outcome(
    name: str, stand: Start, resources: Resources
) -> None:
    """At whichever of its requests it strikes."""
    place = await stand(name)
    if place.fake is None:
        pytest.skip(f"{name} is tried on no fake: broken ports are what it meets")
    clean = await use(place, name, place.params(name, place.written(name)[0]), resources)
    assert clean.kind is Result.OK, clean.error
    requests = range(min(len(place.fake.seen), 8))
    assert requests
    wrong = [await struck(place, name, resources, at, word) for at in requests for word in FAULTS if word not in SLOW]
    # What is slow goes on until its deadline: all at the same time, each beside a fake of its own.
    slow = [(at, word) for at in requests for word in SLOW]
    beside = [place] * len(slow) if place.alone else [await stand(name) for _ in slow]
    turns = asyncio.Semaphore(1 if place.alone else len(slow))

    async def in_turn(its: Stand, at: int, word: str) -> str | None:
        async with turns:
            return await struck(its, name, resources, at, word)

    wrong += await asyncio.gather(*(in_turn(its, *what) for its, what in zip(beside, slow, strict=True)))
    assert list(filter(None, wrong)) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_port_comes_to_a_right_outcome(name: str, kind: str, stand: Start, resources: Resources) -> None:
    """Nobody listens: nothing was sent. Anything else: nobody knows, within the deadline."""
    place = await stand(name)
    if place.reach is None or name in place.offline:
        pytest.skip(f"{name} asks nobody over a network")
    params = place.params(name, place.written(name)[0])
    seconds = SHORT if kind == "hang" and group_of(name) != "ssh" else DEADLINE
    async with broken_port(kind) as port:
        began = time.monotonic()
        async with asyncio.timeout(DEADLINE + GRACE + 5):
            outcome = await use(place, name, params, resources, seconds=seconds, at=port)
        took = time.monotonic() - began
    assert outcome.kind is not Result.OK
    assert outcome.error
    assert took < seconds + GRACE
    assert not leaked(place, outcome)
    if kind == "refused":
        assert outcome.kind is Result.NOT_SENT, outcome.error


@pytest.mark.parametrize("name", [name for name in NAMES if CATALOG[name].section])
async def test_without_its_section_nothing_is_sent(name: str, stand: Start, resources: Resources) -> None:
    """The operator learns what to write into the configuration."""
    place = await stand(name)
    params = place.params(name, place.written(name)[0])
    bare = Stand(settings={}, secrets={})
    outcome = await use(bare, name, params, resources)
    assert outcome.kind is Result.NOT_SENT
    assert (CATALOG[name].section or "") in (outcome.error or "")


@pytest.mark.parametrize("name", [name for name, action in CATALOG.items() if action.effect is not Effect.READ])
async def test_a_secret_that_can_not_be_had_stops_before_anything_is_sent(
    name: str, stand: Start, resources: Resources
) -> None:
    """Not configured, or empty."""
    place = await stand(name)
    if not place.secrets:
        pytest.skip(f"{name} takes no secret here")
    params = place.params(name, place.written(name)[0])
    for secrets in ({}, dict.fromkeys(place.secrets, "")):
        if place.fake is not None:
            place.fake.seen.clear()
        outcome = await use(Stand(place.settings, secrets), name, params, resources)
        assert outcome.kind is Result.NOT_SENT, outcome.error
        assert place.fake is None or not place.fake.seen
