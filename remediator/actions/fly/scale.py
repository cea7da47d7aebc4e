"""`fly.scale`: more machines of a process group, or fewer.

Sources: "Create a Machine", "Stop a Machine" and "Delete a Machine permanently" of the Machines API's reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from remediator.actions.bounds import visible
from remediator.actions.fly.names import AppParameters, ProcessGroup
from remediator.actions.fly.population import of_group
from remediator.actions.fly.power import stop
from remediator.actions.fly.server import Fly, fly_of, no
from remediator.actions.fly.shapes import RESTING, Machine
from remediator.actions.fly.walk import Walk, unfinished, until_destroyed, until_serving
from remediator.actions.protocol import Action, Context, Effect, JsonValue, Outcome, Result
from remediator.actions.scaling import Scaling


class ScaleParameters(AppParameters, Scaling):
    """Which group, and to how many machines."""

    group: ProcessGroup | None = Field(
        default=None, description="The process group; needed where the app has several.", examples=["app"]
    )


class FlyScale(Action[ScaleParameters]):
    """Scale a process group of an app to a number of machines, or by some more or fewer between a floor and a ceiling.

    Never below the floor, never to zero unless `allow_zero`. Counted are the machines of the group that Fly.io lists, running or
    not, without standbys and those of a schedule or a deployment. Scaling out clones the newest machine that serves, and waits
    till the new one is started and its checks pass. Scaling in stops and then destroys: first what serves nobody, then the
    newest; it ends where somebody else changes the number meanwhile. Machines with volumes are refused: a clone would have no
    data.

    `before`, `machines` (the number now), `changed`, `created` and `destroyed` (ids) tell what was done; where that is
    less than was asked for, so does the error.

    Example:
        - uses: fly.scale
          with: {app: '{{ labels.app }}', by: 1, ceiling: 6}
          timeout: 5m
    """

    name = "fly.scale"
    effect = Effect.WRITE
    parameters = ScaleParameters
    section = "fly"

    def idempotent(self, params: ScaleParameters) -> bool:
        """Tell whether the number is absolute."""
        return params.to is not None

    def plan(self, params: ScaleParameters) -> str:
        """Give the number."""
        what = f"the group {params.group} of the app {params.app}" if params.group else f"the app {params.app}"
        return visible(f"scale the machines of {what} at Fly.io {params.much}", longest=2000)

    async def run(self, params: ScaleParameters, context: Context) -> Outcome:
        """Count, then go one machine after the other."""
        fly = fly_of(context)
        if isinstance(fly, Outcome):
            return fly
        group = _Group(fly, params.app, params.group)
        machines = await group.members()
        if isinstance(machines, Outcome):
            return machines
        target = params.target(len(machines), "machines")
        if isinstance(target, str):
            return no(f"{params.app} is not scaled: {target}", machines=len(machines))
        if target == len(machines):
            return group.outcome(target, target)
        if with_volume := [machine.id for machine in machines if machine.config and machine.config.mounts]:
            words = f"machine {with_volume[0]} of {params.app} has a volume, whose data no clone would have"
            return no(f"{words}: nothing was done; scale it by hand", machines=len(machines))
        if target > len(machines):
            return await group.grow(machines, target)
        return await group.shrink(machines, target)


@dataclass(frozen=True, slots=True)
class _Group:
    """One process group that is being scaled."""

    fly: Fly
    app: str
    name: str | None

    async def members(self) -> list[Machine] | Outcome:
        """Give its machines as they are now."""
        machines = await self.fly.machines(self.app)
        return machines if isinstance(machines, Outcome) else of_group(self.app, machines, self.name)

    def outcome(self, before: int, now: int, *, created: Sequence[str] = (), destroyed: Sequence[str] = ()) -> Outcome:
        """Say what was done."""
        result: dict[str, JsonValue] = {
            "app": self.app, "before": before, "machines": now, "changed": before != now,
            "created": list(created), "destroyed": list(destroyed),
        }  # fmt: skip
        return Outcome(Result.OK, result)

    async def grow(self, machines: Sequence[Machine], target: int) -> Outcome:
        """Clone a machine that serves, or at least runs, so many times."""
        running = [machine for machine in machines if machine.state == "started" and machine.raw]
        if not running:
            return no(f"no machine of {self.app} is started, so there is none worth cloning: nothing was done")
        model = max(running, key=lambda machine: (machine.serves, machine.created_at))
        walk = Walk(self.app, "created", target - len(machines))
        for number in range(1, walk.total + 1):
            made = await self.fly.write("POST", self.app, json={"config": model.raw, "region": model.region})
            if isinstance(made, Outcome):
                return walk.stopped(f"new machine {number}", made)
            why = await until_serving(self.fly, self.app, made.id, made.instance_id)
            walk.done.append(made.id)
            if why is not None:
                return walk.stopped(f"new machine {made.id} is there and does not serve", why)
        return self.outcome(len(machines), target, created=walk.done)

    async def shrink(self, machines: Sequence[Machine], target: int) -> Outcome:
        """Destroy what serves nobody, then the newest; before each further one it is counted anew."""
        # Sorted twice: the second keeps the order of the first among equals.
        newest = sorted(machines, key=lambda machine: machine.created_at, reverse=True)
        todo = sorted(newest, key=lambda machine: machine.serves)[: len(machines) - target]
        walk = Walk(self.app, "destroyed", len(todo))

        async def act(machine: Machine) -> Outcome | None:
            expected = len(machines) - len(walk.done)
            why = await self._still(expected, walk) if walk.done else None
            return why or await self._destroy(machine)

        why = await walk.over(todo, act)
        return why or self.outcome(len(machines), target, destroyed=walk.done)

    async def _still(self, expected: int, walk: Walk) -> Outcome | None:
        """Say that the number of machines is no longer what it should be, if that is so."""
        now = await self.members()
        if isinstance(now, Outcome):
            return now
        left = sum(machine.id not in walk.done for machine in now)
        return None if left == expected else no(f"somebody else scales it: it has {left} machines, not {expected}")

    async def _destroy(self, machine: Machine) -> Outcome | None:
        """Stop one machine and destroy it. The API destroys none that runs, unless it is forced."""
        if machine.state not in RESTING:
            why = await stop(self.fly, self.app, machine.id)
            if why is not None:
                return why
        value = await self.fly.ask("DELETE", "apps", self.app, "machines", machine.id)
        if isinstance(value, Outcome):
            return unfinished("it is stopped, and not destroyed", value) if machine.state not in RESTING else value
        return await until_destroyed(self.fly, self.app, machine.id)
