"""`fly.rollback`: back to the image of the last release that was healthy.

Sources: fly.io/docs, "Rollback Guide" (a rollback is a deployment of an earlier image), and "Update a Machine" of the Machines
API's reference, by which an image is rolled back: `current_version` makes sure that nobody has changed the machine meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remediator.actions.bounds import visible
from remediator.actions.fly.names import AppParameters
from remediator.actions.fly.releases import KNOWN, Release, Releases, healthy_before, proved_bad, releases_of
from remediator.actions.fly.server import Fly, fly_of, no
from remediator.actions.fly.shapes import LEAVING, RELEASE, RESTING, ROLLED_BACK, Machine
from remediator.actions.fly.walk import Walk, until_serving
from remediator.actions.protocol import Action, Context, Effect, JsonValue, Outcome, Result


class RollbackParameters(AppParameters):
    """Which app to roll back."""


class FlyRollback(Action[RollbackParameters]):
    """Roll an app back to the image of the last release that was healthy.

    That is the newest release before the current one whose deployment was completed, and which no earlier rollback has left.
    It is refused where there is none, where all machines run it already, or where the current release has the same image: then
    its configuration or secrets changed, which an image does not take back. Each machine that a deployment made is updated, one
    after the other, and waited for till it is started and its checks pass; the first that doesn't come to that ends the step, and
    the others are not touched: the error says how far it came. Machines whose checks fail come first; one at rest is updated and
    not started. Data, configuration and secrets stay as they are.

    `from` and `to` are versions, `image` is the image, `updated` lists ids, `unchanged` those that ran it already. Give a
    `timeout` that is long enough for all machines.

    Example:
        - uses: fly.rollback
          with: {app: '{{ labels.app }}'}
          timeout: 10m
    """

    name = "fly.rollback"
    effect = Effect.WRITE
    parameters = RollbackParameters
    section = "fly"

    def idempotent(self, params: RollbackParameters) -> bool:
        """Tell that a second one could take back a release that came in between."""
        return False

    def plan(self, params: RollbackParameters) -> str:
        """Name the app."""
        return visible(f"roll the app {params.app} at Fly.io back to its last healthy release", longest=2000)

    async def run(self, params: RollbackParameters, context: Context) -> Outcome:
        """Find the release, and update one machine after the other."""
        fly = fly_of(context)
        if isinstance(fly, Outcome):
            return fly
        releases = await releases_of(fly, params.app, KNOWN)
        if isinstance(releases, Outcome):
            return releases
        machines = await fly.machines(params.app)
        if isinstance(machines, Outcome):
            return machines
        back = _way_back(params.app, releases, machines)
        if isinstance(back, Outcome):
            return back
        walk = Walk(params.app, "updated", len(back.todo))
        why = await walk.over(back.todo, lambda machine: _update(fly, params.app, machine, back))
        result: dict[str, JsonValue] = {
            "app": params.app, "from": back.left, "to": back.to.version, "image": back.to.image_ref,
            "updated": list(walk.done), "unchanged": back.unchanged,
        }  # fmt: skip
        return why or Outcome(Result.OK, result)


@dataclass(frozen=True, slots=True)
class _Back:
    """What a rollback is to do."""

    left: int  # the version that proved bad
    to: Release
    todo: list[Machine]
    unchanged: list[JsonValue]  # ids
    bad: set[int]  # all versions that have proved bad, this one among them

    def config(self, machine: Machine) -> dict[str, JsonValue]:
        """Give a machine's configuration with the other image, and who it is written down as."""
        metadata = {
            **machine.metadata,
            RELEASE: str(self.to.version),
            "fly_release_id": self.to.id,
            ROLLED_BACK: ",".join(map(str, sorted(self.bad))),
        }
        return {**machine.raw, "image": self.to.image_ref, "metadata": metadata}


def _way_back(app: str, releases: Releases, machines: Sequence[Machine]) -> _Back | Outcome:
    """Say what to do, or why there is no way back."""
    deployed = [
        machine
        for machine in machines
        if machine.state not in LEAVING
        and not machine.reserved
        and (machine.config is None or machine.release is not None)
    ]
    if unknown := [machine.id for machine in deployed if machine.config is None]:
        return no(
            f"the host of machine {unknown[0]} of {app} does not answer, so it can't be updated: nothing was done"
        )
    if not deployed:
        return no(f"{app} has no machine that a deployment made: nothing was rolled back")
    if not releases.nodes:
        return no(f"{app} has no releases: nothing was rolled back")
    left = releases.nodes[0]
    bad = proved_bad(machines)
    to = healthy_before(releases.nodes, bad)
    if to is None:
        return no(
            f"{app} has no healthy release before version {left.version}: nothing was rolled back; deploy a good one"
        )
    if to.image_ref == left.image_ref:
        words = (
            f"the current release {left.version} of {app} has the image of the healthy release {to.version} before it"
        )
        return no(f"{words}: its configuration or secrets have changed, which a rollback can't take back")
    # Those that serve come last, those at rest at the very end: the first ones show whether the image is any better.
    todo = sorted(
        (machine for machine in deployed if machine.image != to.image_ref),
        key=lambda machine: (machine.state in RESTING, machine.serves),
    )
    if not todo:
        return no(f"all machines of {app} run the last healthy release, {to.version}, already: nothing was rolled back")
    known = {release.version for release in releases.nodes}
    unchanged: list[JsonValue] = [machine.id for machine in deployed if machine not in todo]
    return _Back(left.version, to, todo, unchanged, (bad & known) | {left.version})


async def _update(fly: Fly, app: str, machine: Machine, back: _Back) -> Outcome | None:
    """Give one machine the other image, and wait till it serves."""
    rests = machine.state in RESTING
    asked = {"config": back.config(machine), "current_version": machine.instance_id, "skip_launch": rests}
    updated = await fly.write("POST", app, machine.id, json=asked)
    if isinstance(updated, Outcome):
        return updated
    return None if rests else await until_serving(fly, app, machine.id, updated.instance_id)
