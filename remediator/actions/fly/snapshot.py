"""`fly.snapshot`: of an app's volumes.

Source: "Create a snapshot" (`POST /apps/APP/volumes/VOLUME/snapshots`) of the Machines API's reference.
"""

from __future__ import annotations

from pydantic import Field

from remediator.actions.bounds import visible
from remediator.actions.fly.names import AppParameters, VolumeId
from remediator.actions.fly.server import fly_of, no
from remediator.actions.fly.shapes import Volume
from remediator.actions.protocol import Action, Context, Effect, JsonValue, Outcome, Result


class SnapshotParameters(AppParameters):
    """Which volumes."""

    volume: VolumeId | None = Field(
        default=None,
        description="The one volume that is meant; default: all of the app.",
        examples=["vol_4y1q8k2p6m3n9x7r"],
    )


class FlySnapshot(Action[SnapshotParameters]):
    """Take a snapshot of an app's volumes, or of the one named.

    Fly.io takes it in the background, and keeps it as long as the volume's `snapshot_retention` says. `volumes` lists the ids
    of those for which it was asked. An app without volumes, or without the one named, is refused.

    Example:
        - uses: fly.snapshot
          with: {app: '{{ labels.app }}'}
    """

    name = "fly.snapshot"
    effect = Effect.WRITE
    parameters = SnapshotParameters
    section = "fly"

    def plan(self, params: SnapshotParameters) -> str:
        """Name the volumes."""
        which = f"the volume {params.volume}" if params.volume else "every volume"
        return visible(f"take a snapshot of {which} of the app {params.app} at Fly.io", longest=2000)

    async def run(self, params: SnapshotParameters, context: Context) -> Outcome:
        """Look which volumes there are, and ask for a snapshot of each."""
        fly = fly_of(context)
        if isinstance(fly, Outcome):
            return fly
        volumes = await fly.volumes(params.app)
        if isinstance(volumes, Outcome):
            return volumes
        meant = [volume for volume in volumes if not volume.leaving and params.volume in {None, volume.id}]
        if not meant:
            return no(
                f"{params.app} has no volume" + (f" {params.volume}" if params.volume else "") + ": nothing was done"
            )
        taken: list[JsonValue] = []
        for volume in meant:
            value = await fly.ask("POST", "apps", params.app, "volumes", volume.id, "snapshots")
            if isinstance(value, Outcome):
                return _stopped(value, volume, taken, len(meant))
            taken.append(volume.id)
        return Outcome(Result.OK, {"app": params.app, "volumes": taken})


def _stopped(why: Outcome, volume: Volume, taken: list[JsonValue], total: int) -> Outcome:
    kind = Result.ERROR if taken else why.kind
    pause = None if taken else why.retry_after
    words = f"a snapshot was asked for of {len(taken)} of {total} volumes, then volume {volume.id}: {why.error}"
    return Outcome(kind, {"volumes": taken}, visible(words, longest=700), retry_after=pause)
