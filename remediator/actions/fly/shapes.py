"""What is read of Fly.io's answers. A field that is missing makes the answer unreadable, unless Fly.io leaves it out by design.

Sources: `Machine`, `CheckStatus`, `MachineConfig` and `Volume` of the Machines API's reference; for `host_status`, the process
groups and the metadata that a deployment leaves, superfly/fly-go, `machine_types.go`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from remediator.actions.protocol import JsonValue

RESTING = ("created", "stopped", "suspended")  # it runs nothing, and somebody or something wants it so
LEAVING = ("destroying", "destroyed", "launch_failed", "migrated", "replaced")
RELEASE = "fly_release_version"  # metadata that a deployment leaves on a machine
ROLLED_BACK = "remediator_rolled_back_from"  # metadata of ours: the releases that proved bad, `41,43`

_RESERVED = ("fly_app_release_command", "fly_app_test_machine_command", "fly_app_console")
# Old clients of Fly.io's look for these, and the API makes them up: no check stands behind one.
_MADE_UP = "bg_deployments_compat"


class Check(msgspec.Struct, frozen=True):
    """What a health check said last."""

    name: str
    status: str  # passing, warning, critical
    output: str | None = None


class _Guest(msgspec.Struct, frozen=True):
    cpu_kind: str | None = None
    cpus: int | None = None
    memory_mb: int | None = None


class _Service(msgspec.Struct, frozen=True):
    checks: list[Any] | None = None


class Config(msgspec.Struct, frozen=True):
    """What is looked at of a machine's configuration; the rest is handed on as it is, and never shown: `env` is in it."""

    image: str | None = None
    metadata: dict[str, str] | None = None
    mounts: list[Any] | None = None
    checks: dict[str, Any] | None = None
    services: list[_Service] | None = None
    standbys: list[Any] | None = None
    schedule: str | None = None
    auto_destroy: bool | None = None
    guest: _Guest | None = None


class ImageRef(msgspec.Struct, frozen=True):
    """The image that a machine runs, taken apart."""

    registry: str | None = None
    repository: str | None = None
    tag: str | None = None
    digest: str | None = None


class Machine(msgspec.Struct, frozen=True):
    """One machine."""

    id: str
    name: str
    state: str
    region: str
    instance_id: str  # of this version of it
    created_at: str
    config: Config | None = None  # none where its host does not answer
    updated_at: str | None = None
    image_ref: ImageRef | None = None
    checks: list[Check] | None = None  # left out where it has none
    host_status: str = "ok"
    raw: dict[str, JsonValue] = {}  # its configuration as it came

    @property
    def metadata(self) -> dict[str, str]:
        """Give the metadata of its configuration."""
        return (self.config and self.config.metadata) or {}

    @property
    def group(self) -> str:
        """Give its process group; a machine that names none is of `app`, as Fly.io has it."""
        return self.metadata.get("fly_process_group") or self.metadata.get("process_group") or "app"

    @property
    def reserved(self) -> bool:
        """Tell whether it is a tool of a deployment or of a person, and serves nobody."""
        return self.group in _RESERVED or self.metadata.get("process_group") == "release_command"

    @property
    def release(self) -> int | None:
        """Give the version of the release that it was deployed with, None where no deployment made it."""
        text = self.metadata.get(RELEASE, "")
        return int(text) if text.isdecimal() and len(text) < 10 else None

    @property
    def image(self) -> str | None:
        """Give the image that its configuration names."""
        return self.config.image if self.config else None

    @property
    def real_checks(self) -> list[Check]:
        """Give its checks, without those that nothing stands behind."""
        return [check for check in self.checks or () if not check.name.startswith(_MADE_UP)]

    @property
    def has_checks(self) -> bool:
        """Tell whether its configuration has any, whatever has been heard of them."""
        config = self.config or Config()
        return bool(config.checks) or any(service.checks for service in config.services or ())

    @property
    def serves(self) -> bool:
        """Tell whether it is started and every check passes. What is not heard of, a check or its host, does not count."""
        if self.state != "started" or self.host_status != "ok" or (self.has_checks and not self.real_checks):
            return False
        return all(check.status == "passing" for check in self.real_checks)

    def condition(self) -> str:
        """Give its state and the checks that don't pass, for a message."""
        failing = [
            f"{check.name} is {check.status}" + (f" ({check.output[:100]})" if check.output else "")
            for check in self.real_checks
            if check.status != "passing"
        ]
        if not failing and self.has_checks and not self.real_checks:
            failing = ["its checks have not reported yet"]
        if self.host_status != "ok":
            failing = [f"its host is {self.host_status}"]
        return f"{self.state}, {', '.join(failing[:3])}" if failing else self.state


class Volume(msgspec.Struct, frozen=True):
    """One volume."""

    id: str
    name: str
    state: str
    region: str
    size_gb: int
    attached_machine_id: str | None = None
    encrypted: bool | None = None
    created_at: str | None = None
    snapshot_retention: int | None = None  # days
    blocks: int | None = None
    blocks_avail: int | None = None

    @property
    def leaving(self) -> bool:
        """Tell whether it is being destroyed."""
        return "destroy" in self.state
