"""Stubs: the actions of a catalog with their own parameters, plans and timers, and answers in the place of what they do."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from remediator.actions.catalog import Catalog
from remediator.actions.protocol import Action, Context, Outcome, Parameters, Result
from remediator.model.time import Seconds, format_duration

_LENT_AS = "answers"  # the place in `Context.settings`, where an action finds its section of the configuration


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call of an action comes to, and how long it takes."""

    outcome: Outcome
    seconds: Seconds = 0.0


NOTHING = Answer(Outcome(Result.OK, {}))  # of an action that nobody has given an answer


class StubbedSecrets:
    """Secrets that name themselves: stubs send them nowhere."""

    values = ()

    def read(self, name: str) -> str:
        """Give words that stand for it."""
        return f"the secret {name}"

    def refresh(self) -> None:
        """Nothing changes."""


class Answers:
    """What the actions of one world answer: by action, one answer for each call, and the last one for all that follow."""

    def __init__(self, told: Mapping[str, Sequence[Answer]]) -> None:
        self._left = {name: deque(answers) for name, answers in told.items()}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Give the settings that a world has to be opened with, for its stubs to find these."""
        return {_LENT_AS: self}

    def take(self, action: str) -> Answer:
        """Give the answer to the next call of an action."""
        left = self._left.get(action)
        if not left:
            return NOTHING
        return left.popleft() if len(left) > 1 else left[0]


def stub(catalog: Catalog) -> Catalog:
    """Give the same catalog, every action of which touches nothing and answers as its world says."""
    return Catalog({name: _stubbed(action) for name, action in catalog.items()})


def _stubbed(action: Action[Any]) -> Action[Any]:
    stubbed = copy.copy(action)
    stubbed.run = partial(_run, action.name)  # type: ignore[method-assign]  # all else stays the action's own
    return stubbed


async def _run(name: str, params: Parameters, context: Context) -> Outcome:
    """Take the place of `Action.run`."""
    answers: Answers = context.settings[_LENT_AS]
    answer = answers.take(name)
    left = context.remaining()
    await asyncio.sleep(min(answer.seconds, left))
    if answer.seconds > left:
        takes = format_duration(answer.seconds)
        return Outcome(Result.ERROR, error=f"{name} did not end in time: its result says that it takes {takes}")
    return answer.outcome
