"""Every action's example does what it shows, against the platform's fake or the real thing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from platforms.stand import CATALOG, Stand, told, use

from remediator.actions.bounds import encoded_size
from remediator.actions.protocol import MAX_RESULT_BYTES, Effect, Resources, Result

Start = Callable[[str], Awaitable[Stand]]


@pytest.mark.parametrize("name", CATALOG)
async def test_the_example_works(name: str, stand: Start, resources: Resources) -> None:
    """Rendered as the engine would, with labels that fit it; and the result is bounded JSON that tells no secret."""
    place = await stand(name)
    for written in place.written(name):
        params = place.params(name, written)
        assert CATALOG[name].check(params, place.settings) is None
        says = CATALOG[name].plan(params)
        assert says == says.strip() != ""
        assert "\n" not in says
        if place.reset is not None:
            place.reset()
        outcome = await use(place, name, params, resources)
        assert outcome.kind is Result.OK, outcome.error
        assert encoded_size(outcome.result) <= MAX_RESULT_BYTES
        assert not any(secret in told(outcome) or secret in says for secret in place.secrets.values())


@pytest.mark.parametrize("name", [name for name, action in CATALOG.items() if action.effect is Effect.READ])
async def test_a_read_asks_and_changes_nothing(name: str, stand: Start, resources: Resources) -> None:
    """Dry-run carries it out: so it sends nothing but what the platform says only reads."""
    place = await stand(name)
    if place.fake is None:
        pytest.skip(f"{name} is tried on no fake that records requests: its own tests show it")
    await use(place, name, place.params(name, place.written(name)[0]), resources)
    asked = [f"{seen.method} {seen.path}" for seen in place.fake.seen]
    harmless = ("GET ", "POST /graphql", "POST /api/v1/query", *place.harmless)
    assert asked, "nothing was asked"
    assert [each for each in asked if not each.startswith(harmless)] == []
