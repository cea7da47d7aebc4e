"""What needs no platform: `wait` and `log`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from remediator.actions.bounds import visible
from remediator.actions.protocol import Action, Context, Duration, Effect, Gate, Outcome, Parameters, Result
from remediator.model.time import Seconds, format_duration


class WaitParameters(Parameters):
    """How long to wait."""

    for_: Annotated[
        Duration,
        Field(ge=0, alias="for", description="How long: a Prometheus duration such as `90s` or `1h30m`."),
    ]


class LogParameters(Parameters):
    """What to write to the log."""

    message: Annotated[str, Gate.DISPLAY] = Field(description="The text; control characters are made visible.")


class Wait(Action[WaitParameters]):
    """Let time pass. It is a timer: no worker is held meanwhile, and a restart doesn't begin it anew.

    Example:
        - uses: wait
          with: {for: 30s}
    """

    name = "wait"
    effect = Effect.READ
    parameters = WaitParameters

    def timer(self, params: WaitParameters) -> Seconds:
        """Give the span."""
        return params.for_

    def plan(self, params: WaitParameters) -> str:
        """Name the span."""
        return f"wait {format_duration(params.for_)}"

    async def run(self, params: WaitParameters, context: Context) -> Outcome:
        """Do nothing: the engine has let the time pass."""
        return Outcome(Result.OK)


class Log(Action[LogParameters]):
    """Write a line to the daemon's log.

    Example:
        - uses: log
          with: {message: 'Left {{ target }} alone: its database is down'}
    """

    name = "log"
    effect = Effect.READ
    parameters = LogParameters

    def plan(self, params: LogParameters) -> str:
        """Quote the line."""
        return f"log: {visible(params.message, longest=2000)}"

    async def run(self, params: LogParameters, context: Context) -> Outcome:
        """Write it, at level info, with the run's id."""
        import structlog  # noqa: PLC0415 - a fifth of a second, which `remediator check` need not spend

        structlog.get_logger("remediator.actions.log").info("rule_log", message=params.message, run=context.run)
        return Outcome(Result.OK, {"message": params.message})


ACTIONS: tuple[Action[Any], ...] = (Wait(), Log())
