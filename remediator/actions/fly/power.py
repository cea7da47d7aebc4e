"""`fly.restart`, `fly.stop` and `fly.start`: machines one after the other, each waited for.

Sources: "Restart a Machine", "Stop a Machine" and "Start a Machine" of the Machines API's reference. A machine that somebody
else holds a lease on (a deployment at work) answers 409: the walk stops there.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import Field, WithJsonSchema, model_validator

from remediator.actions.bounds import visible
from remediator.actions.fly.names import AppParameters, MachineId, ProcessGroup
from remediator.actions.fly.population import at_work, named
from remediator.actions.fly.server import Fly, fly_of, no
from remediator.actions.fly.shapes import RESTING, Machine
from remediator.actions.fly.walk import Walk, until_serving, until_stopped
from remediator.actions.protocol import Action, Context, Duration, Effect, JsonValue, Outcome, Result

Grace = Annotated[
    Duration, Field(ge=1, le=600), WithJsonSchema({"type": "string", "examples": ["30s"]})
]  # given to the API in whole seconds
_GRACE = "How long a machine may take to end by itself before it is killed, from 1s to 10m; default: as Fly.io has it."


class PowerParameters(AppParameters):
    """Which machines of an app."""

    machines: list[MachineId] | None = Field(
        default=None, min_length=1, max_length=100, description="The ids of the machines that are meant."
    )
    group: ProcessGroup | None = Field(
        default=None, description="Only machines of this process group.", examples=["app"]
    )

    @model_validator(mode="after")
    def _one_selection(self) -> PowerParameters:
        if self.machines is not None and self.group is not None:
            raise ValueError("give `machines` or `group`, not both")
        return self

    @property
    def meant(self) -> str:
        """Say which machines are meant."""
        if self.machines is not None:
            return f"the machines {', '.join(self.machines)} of the app {self.app}"
        return f"the machines of the group {self.group} of the app {self.app}" if self.group else f"the app {self.app}"


P = TypeVar("P", bound=PowerParameters)


class _Power(Action[P]):
    """Base of the three: who is meant, then one machine after the other."""

    effect = Effect.WRITE
    section = "fly"
    word: ClassVar[str]  # what becomes of each: "restarted"
    passed_over: ClassVar[tuple[str, ...]]  # states in which there is nothing to be done

    def idempotent(self, params: P) -> bool:
        """Tell that a machine that is so already is left alone."""
        return True

    def covers(self, machine: Machine) -> bool:
        """Tell whether a machine that was not named is meant."""
        return machine.state not in self.passed_over

    async def act(self, fly: Fly, params: P, machine: Machine) -> Outcome | None:
        """Do it to one machine, and wait."""
        raise NotImplementedError

    def chosen(self, params: P, machines: list[Machine]) -> list[Machine] | Outcome:
        """Give the machines that are meant, those in whose state there is nothing to be done among them."""
        if params.machines is not None:
            return named(params.app, machines, params.machines)
        group = params.group
        found = [machine for machine in at_work(machines) if group in {None, machine.group}]
        return found or no(f"{params.app} has no machines" + (f" of the group {group}" if group else ""))

    async def run(self, params: P, context: Context) -> Outcome:
        """Look which machines there are, and do it to one after the other; the first that fails ends it."""
        fly = fly_of(context)
        if isinstance(fly, Outcome):
            return fly
        machines = await fly.machines(params.app)
        if isinstance(machines, Outcome):
            return machines
        chosen = self.chosen(params, machines)
        if isinstance(chosen, Outcome):
            return chosen
        # Those that serve come last: if the first does not come back, as many as possible still do.
        todo = sorted(filter(self.covers, chosen), key=lambda machine: machine.serves)
        skipped: list[JsonValue] = [
            {"id": machine.id, "state": machine.state} for machine in chosen if not self.covers(machine)
        ]
        if not todo and not self.idempotent(params):
            states = ", ".join(sorted({machine.state for machine in chosen}))
            return no(f"no machine of {params.app} can be {self.word}: they are {states}; to start them use fly.start")
        walk = Walk(params.app, self.word, len(todo))
        why = await walk.over(todo, lambda machine: self.act(fly, params, machine))
        result: dict[str, JsonValue] = {"app": params.app, self.word: list(walk.done), "skipped": skipped}
        return why or Outcome(Result.OK, result)


class RestartParameters(PowerParameters):
    """Which machines to restart."""

    grace: Grace | None = Field(default=None, description=_GRACE)


class FlyRestart(_Power[RestartParameters]):
    """Restart the machines of an app, or those named, one after the other.

    Each is waited for till it is started and its checks pass; the first that doesn't come to that ends the step, and the others
    are not touched: the error says how far it came. Machines whose checks fail come first. Left alone and listed under `skipped`
    are those that are not running (`created`, `stopped`, `suspended`); not meant unless named are standbys, and machines of
    a schedule or a deployment. `restarted` lists ids. Without any machine to restart it is refused. Give a `timeout` that is
    long enough for all of them.

    Example:
        - uses: fly.restart
          with: {app: '{{ labels.app }}'}
          timeout: 10m
    """

    name = "fly.restart"
    parameters = RestartParameters
    word = "restarted"
    passed_over = RESTING

    def idempotent(self, params: RestartParameters) -> bool:
        """Tell that a second restart interrupts the service again."""
        return False

    def plan(self, params: RestartParameters) -> str:
        """Name the machines."""
        return visible(f"restart {params.meant} at Fly.io, one machine after the other", longest=2000)

    async def act(self, fly: Fly, params: RestartParameters, machine: Machine) -> Outcome | None:
        """Restart one."""
        query = (("timeout", f"{round(params.grace)}s"),) if params.grace else ()
        value = await fly.ask("POST", "apps", params.app, "machines", machine.id, "restart", query=query)
        return value if isinstance(value, Outcome) else await until_serving(fly, params.app, machine.id)


class StartParameters(PowerParameters):
    """Which machines to start."""


class FlyStart(_Power[StartParameters]):
    """Start the machines of an app that are not running, or those named, one after the other.

    Each is waited for till it is started and its checks pass; the first that doesn't come to that ends the step. `started`
    lists ids; `skipped` those that are not `created`, `stopped` or `suspended`, with their state. Not meant unless named are
    standbys, and machines of a schedule or a deployment.

    Example:
        - uses: fly.start
          with: {app: '{{ labels.app }}'}
          timeout: 5m
    """

    name = "fly.start"
    parameters = StartParameters
    word = "started"
    passed_over = ()

    def covers(self, machine: Machine) -> bool:
        """Tell whether it is at rest."""
        return machine.state in RESTING

    def plan(self, params: StartParameters) -> str:
        """Name the machines."""
        return visible(f"start {params.meant} at Fly.io, one machine after the other", longest=2000)

    async def act(self, fly: Fly, params: StartParameters, machine: Machine) -> Outcome | None:
        """Start one."""
        value = await fly.ask("POST", "apps", params.app, "machines", machine.id, "start")
        return value if isinstance(value, Outcome) else await until_serving(fly, params.app, machine.id)


class StopParameters(PowerParameters):
    """Which machines to stop."""

    all: bool = Field(default=False, description="Whether all machines (of the group) are meant, where none is named.")
    grace: Grace | None = Field(default=None, description=_GRACE)

    @model_validator(mode="after")
    def _chosen(self) -> StopParameters:
        if self.all == (self.machines is not None):
            raise ValueError("name the `machines` to stop, or say `all: true`: then the app serves nobody")
        return self


class FlyStop(_Power[StopParameters]):
    """Stop machines of an app, one after the other: those named, or with `all: true` all that there are.

    Each is waited for till it has stopped. `stopped` lists ids; `skipped` those that were not running. Fly.io's proxy starts
    a stopped machine again when a request comes in, where its service says `autostart`.

    Example:
        - uses: fly.stop
          with: {app: '{{ labels.app }}', all: true, grace: 30s}
          timeout: 5m
    """

    name = "fly.stop"
    parameters = StopParameters
    word = "stopped"
    passed_over = RESTING

    def plan(self, params: StopParameters) -> str:
        """Name the machines."""
        which = f"all of {params.meant}" if params.all else params.meant
        return visible(f"stop {which} at Fly.io, one machine after the other", longest=2000)

    async def act(self, fly: Fly, params: StopParameters, machine: Machine) -> Outcome | None:
        """Stop one."""
        return await stop(fly, params.app, machine.id, params.grace)


async def stop(fly: Fly, app: str, own: str, grace: float | None = None) -> Outcome | None:
    """Ask a machine to stop and wait for it. The API takes the time that it may need as a text."""
    asked: dict[str, Any] = {"timeout": f"{round(grace)}s"} if grace else {}
    value = await fly.ask("POST", "apps", app, "machines", own, "stop", json=asked)
    return value if isinstance(value, Outcome) else await until_stopped(fly, app, own)
