"""What the tests of `fly.*` share: the fake Fly.io, and a way to use an action against it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fakes.fly import TOKEN, FakeFly

from remediator.actions.fly import ACTIONS
from remediator.actions.protocol import Action, Outcome

BY_NAME: dict[str, Action[Any]] = {action.name: action for action in ACTIONS}
Use = Callable[..., Awaitable[Outcome]]


@pytest.fixture
async def fly() -> AsyncIterator[FakeFly]:
    """Serve a fake Fly.io."""
    async with FakeFly() as fake:
        assert isinstance(fake, FakeFly)
        yield fake


@pytest.fixture
def use(fly: FakeFly, context) -> Use:
    """Use an action on the app `web`."""

    async def go(name: str, *, seconds: float = 10.0, token: str = TOKEN, **params: Any) -> Outcome:
        action = BY_NAME[f"fly.{name}"]
        settings = {"fly": {"token": {"secret": "fly_token"}, "url": fly.url, "api_url": fly.url}}
        parameters = action.parameters.model_validate({"app": "web", **params})
        return await action.run(parameters, context(settings, {"fly_token": token}, seconds))

    return go


@pytest.fixture
def writes(fly: FakeFly) -> Callable[[], list[str]]:
    """Give the writing requests so far, as `METHOD the end of the path`."""

    def given() -> list[str]:
        asked = [seen for seen in fly.seen if seen.method != "GET" and seen.path != "/graphql"]
        return [f"{seen.method} {seen.path.removeprefix('/v1/apps/web/')}" for seen in asked]

    return given
