"""Calling: an action is lent what it needs, and what it came to is cleared of secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from remediator.actions.protocol import Action, Context, Outcome, Parameters, Resources
from remediator.engine.desk import Desk
from remediator.execute import perform, redacted
from remediator.model.time import Seconds


class Secrets(Protocol):
    """Where the values of secrets come from: `remediator.secrets` has the real one."""

    def read(self, name: str) -> str:
        """Give one. Raises KeyError when it isn't configured, ConfigurationError when it can't be read."""

    def refresh(self) -> None:
        """Take notice of what has changed."""

    @property
    def values(self) -> Sequence[str]:
        """Give all that are to stand in no record."""


class Caller:
    """The one place from which actions are used."""

    def __init__(self, desk: Desk, secrets: Secrets) -> None:
        self._desk = desk
        self._secrets = secrets
        self._resources = Resources()

    async def call(self, action: Action[Any], parameters: Parameters, seconds: Seconds, run: str) -> Outcome:
        """Use an action once, within so many seconds; cancelling ends it."""
        used: list[str] = []

        def secret(name: str) -> str:
            value = self._secrets.read(name)
            used.append(value)
            return value

        deadline = asyncio.get_running_loop().time() + seconds
        context = Context(
            deadline=deadline, settings=self._desk.settings, secret=secret, run=run, resources=self._resources
        )
        outcome = await perform(action, parameters, context)
        self._secrets.refresh()  # whatever was written down while it was at work
        return redacted(outcome, [*used, *self._secrets.values])

    async def close(self) -> None:
        """Close what actions keep open between uses."""
        await self._resources.close()
