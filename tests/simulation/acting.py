"""The scripted actions: they say when they begin, take their time, and come to what the seed draws."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from simulation.loop import PROCESS

from remediator.actions.catalog import Catalog
from remediator.actions.core import Wait
from remediator.actions.protocol import Action, Context, Effect, Gate, Outcome, Parameters


class Act(Parameters):
    at: str = Field("", description="Where it stands in its rule: RUNG/PHASE/POSITION.")
    what: Annotated[str, Gate.DISPLAY] = Field("", description="What is done: a plan that has changed says another.")
    item: int = Field(0, description="Its number in a loop.")
    again: bool = Field(False, description="Whether it may be repeated.")


class Scripted(Action[Act]):
    """An action that the world plays in which its process runs."""

    parameters = Act
    says_no = True

    def __init__(self, name: str, effect: Effect) -> None:
        self.name = name  # type: ignore[misc]
        self.effect = effect  # type: ignore[misc]

    def idempotent(self, params: Act) -> bool:
        """Reads are; others as their parameters say."""
        return self.effect is Effect.READ or params.again

    def plan(self, params: Act) -> str:
        """Say it."""
        return f"{self.name} {params.at} {params.what}"

    async def run(self, params: Act, context: Context) -> Outcome:
        """Be played."""
        process: Any = PROCESS.get()
        outcome: Outcome = await process.world.play(self, params, context.run, process)
        return outcome


ACTIONS: tuple[Action[Any], ...] = (
    Scripted("sim.read", Effect.READ), Scripted("sim.notify", Effect.NOTIFY), Scripted("sim.write", Effect.WRITE), Wait(),
)  # fmt: skip
CATALOG = Catalog({action.name: action for action in ACTIONS})
