"""`fly.status`, `fly.machines` and `fly.volumes`: what there is.

Sources: "Get an app", "List Machines" and "List Volumes" of the Machines API's reference.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from pydantic import Field

from remediator.actions.api import fitting
from remediator.actions.bounds import encoded_size, visible
from remediator.actions.fly.names import AppParameters, ProcessGroup, Region
from remediator.actions.fly.server import fit, fly_of
from remediator.actions.fly.shapes import Check, ImageRef, Machine, Volume
from remediator.actions.protocol import MAX_RESULT_BYTES, Action, Context, Effect, JsonValue, Outcome

_OUTPUT = 300  # characters of what a check says


class _Organization(msgspec.Struct, frozen=True):
    slug: str | None = None


class _App(msgspec.Struct, frozen=True):
    name: str
    status: str
    organization: _Organization | None = None


class FlyStatus(Action[AppParameters]):
    """Ask Fly.io how an app is: its machines by state and region, and its health checks.

    `status` is the app's own (`deployed`, `suspended`, …). `machines` has `total`, `serving` (started, every check passes),
    `by_state` and `by_region` (numbers); `checks` has `total`, `passing`, `warning` and `critical`; `failing` lists `machine`,
    `region`, `check`, `status` and `output` of each that does not pass, without `output` where that is more than a result may
    hold. Counted are all machines that Fly.io lists, but for those that are destroyed.

    Example:
        - id: app
          uses: fly.status
          with: {app: '{{ labels.app }}'}
          expect: result.machines.serving > 0
    """

    name = "fly.status"
    effect = Effect.READ
    parameters = AppParameters
    section = "fly"

    def plan(self, params: AppParameters) -> str:
        """Name the app."""
        return visible(f"ask Fly.io how the app {params.app} is", longest=2000)

    async def run(self, params: AppParameters, context: Context) -> Outcome:
        """Ask for the app, and for its machines."""
        fly = fly_of(context)
        if isinstance(fly, Outcome):
            return fly
        value = await fly.ask("GET", "apps", params.app)
        app = value if isinstance(value, Outcome) else fit(value, _App, f"the app {params.app}")
        if isinstance(app, Outcome):
            return app
        machines = await fly.machines(params.app)
        if isinstance(machines, Outcome):
            return machines
        there = [machine for machine in machines if machine.state != "destroyed"]
        result = _health(app, there)
        if encoded_size(result) > MAX_RESULT_BYTES:
            result["failing"] = [{**each, "output": None} for each in result["failing"]]
        return fitting(result, f"the state of {params.app}")


class MachinesParameters(AppParameters):
    """Which machines."""

    region: Region | None = Field(default=None, description="Only those of this region.", examples=["fra"])
    group: ProcessGroup | None = Field(default=None, description="Only those of this process group.", examples=["app"])


class FlyMachines(Action[MachinesParameters]):
    """List the machines of an app.

    `machines` lists `id`, `name`, `state`, `region`, `group`, `release` (its version, or null), `image`, `created_at`,
    `updated_at`, `host` (`ok`, or that its host does not answer), `serves` (started, every check passes), `checks` (`name`,
    `status`, `output`) and `config` (`cpus`, `cpu_kind`, `memory_mb`, `volumes`, `standby`, `schedule`); never its environment.
    `count` is their number. Destroyed ones are left out. Where that is more than a result may hold (64 KiB), only `id`,
    `name`, `state`, `region` and `serves` are given; where that is still too much the step fails: the list is never cut.

    Example:
        - id: machines
          uses: fly.machines
          with: {app: '{{ labels.app }}'}
          expect: result.count >= 2
    """

    name = "fly.machines"
    effect = Effect.READ
    parameters = MachinesParameters
    section = "fly"

    def plan(self, params: MachinesParameters) -> str:
        """Name the app, and what narrows it down."""
        where = f" in {params.region}" if params.region else ""
        group = f" of the group {params.group}" if params.group else ""
        return visible(f"ask Fly.io for the machines of the app {params.app}{group}{where}", longest=2000)

    async def run(self, params: MachinesParameters, context: Context) -> Outcome:
        """Ask for them."""
        fly = fly_of(context)
        if isinstance(fly, Outcome):
            return fly
        machines = await fly.machines(params.app)
        if isinstance(machines, Outcome):
            return machines
        found = [
            machine
            for machine in machines
            if machine.state != "destroyed"
            and params.region in {None, machine.region}
            and params.group in {None, machine.group}
        ]
        result: dict[str, JsonValue] = {"machines": [_whole(machine) for machine in found], "count": len(found)}
        if encoded_size(result) > MAX_RESULT_BYTES:
            result["machines"] = [_short(machine) for machine in found]
        return fitting(result, f"the list of {params.app}'s machines")


class FlyVolumes(Action[AppParameters]):
    """List the volumes of an app.

    `volumes` lists `id`, `name`, `state`, `region`, `size_gb`, `used` (a fraction, or null where Fly.io does not tell),
    `machine` (the machine that has it, or null), `encrypted`, `created_at` and `snapshot_retention` (days); `count` is their
    number, `unattached` the number of those that no machine has. Destroyed ones are left out.

    Example:
        - id: volumes
          uses: fly.volumes
          with: {app: '{{ labels.app }}'}
          expect: result.unattached == 0
    """

    name = "fly.volumes"
    effect = Effect.READ
    parameters = AppParameters
    section = "fly"

    def plan(self, params: AppParameters) -> str:
        """Name the app."""
        return visible(f"ask Fly.io for the volumes of the app {params.app}", longest=2000)

    async def run(self, params: AppParameters, context: Context) -> Outcome:
        """Ask for them."""
        fly = fly_of(context)
        if isinstance(fly, Outcome):
            return fly
        volumes = await fly.volumes(params.app)
        if isinstance(volumes, Outcome):
            return volumes
        found = [_volume(volume) for volume in volumes if volume.state != "destroyed"]
        unattached = sum(volume["machine"] is None for volume in found)
        result: dict[str, JsonValue] = {"volumes": found, "count": len(found), "unattached": unattached}
        return fitting(result, f"the list of {params.app}'s volumes")


def image_of(image: ImageRef | None) -> str | None:
    """Put the image that a machine runs together, as a registry names it."""
    if image is None or not image.repository:
        return None
    place = f"{image.registry}/{image.repository}" if image.registry else image.repository
    return place + (f":{image.tag}" if image.tag else "") + (f"@{image.digest}" if image.digest else "")


def _health(app: _App, machines: list[Machine]) -> dict[str, Any]:
    checks = [(machine, check) for machine in machines for check in machine.real_checks]
    states = Counter(check.status for _, check in checks)
    return {
        "app": app.name,
        "status": app.status,
        "organization": app.organization.slug if app.organization else None,
        "machines": {
            "total": len(machines),
            "serving": sum(machine.serves for machine in machines),
            "by_state": dict(Counter(machine.state for machine in machines)),
            "by_region": dict(Counter(machine.region for machine in machines)),
        },
        "checks": {"total": len(checks), **{word: states[word] for word in ("passing", "warning", "critical")}},
        "failing": [
            {"machine": machine.id, "region": machine.region, **_check(check)}
            for machine, check in checks
            if check.status != "passing"
        ],
    }


def _check(check: Check) -> dict[str, JsonValue]:
    return {"check": check.name, "status": check.status, "output": (check.output or "")[:_OUTPUT]}


def _short(machine: Machine) -> dict[str, JsonValue]:
    return {
        "id": machine.id, "name": machine.name, "state": machine.state, "region": machine.region, "serves": machine.serves,
    }  # fmt: skip


def _whole(machine: Machine) -> dict[str, JsonValue]:
    return {
        **_short(machine),
        "group": machine.group,
        "release": machine.release,
        "image": image_of(machine.image_ref) or machine.image,
        "created_at": machine.created_at,
        "updated_at": machine.updated_at,
        "host": machine.host_status,
        "checks": [
            {"name": check.name, "status": check.status, "output": (check.output or "")[:_OUTPUT]}
            for check in machine.real_checks
        ],
        "config": _config(machine),
    }


def _config(machine: Machine) -> dict[str, JsonValue] | None:
    if machine.config is None:
        return None
    guest = machine.config.guest
    return {
        "cpus": guest.cpus if guest else None,
        "cpu_kind": guest.cpu_kind if guest else None,
        "memory_mb": guest.memory_mb if guest else None,
        "volumes": [mount.get("volume") for mount in machine.config.mounts or () if isinstance(mount, dict)],
        "standby": bool(machine.config.standbys),
        "schedule": machine.config.schedule or None,
    }


def _volume(volume: Volume) -> dict[str, JsonValue]:
    used = None
    if volume.blocks and volume.blocks_avail is not None:
        used = round(1 - volume.blocks_avail / volume.blocks, 4)
    return {
        "id": volume.id,
        "name": volume.name,
        "state": volume.state,
        "region": volume.region,
        "size_gb": volume.size_gb,
        "used": used,
        "machine": volume.attached_machine_id or None,
        "encrypted": volume.encrypted,
        "created_at": volume.created_at,
        "snapshot_retention": volume.snapshot_retention,
    }
