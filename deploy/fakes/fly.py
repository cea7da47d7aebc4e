"""A fake Fly.io: one organization with the app `web`. The Machines API, GraphQL's releases and the logs are under one URL.

The shapes are those of the Machines API's reference (fly.io/docs/machines/api: apps, machines and volumes resources, "Machine
states and lifecycle"; its OpenAPI document is in superfly/docs) and, for releases, logs, tokens and the lease's header, of
Fly.io's own client (superfly/fly-go: `resource_releases.go`, `resource_logs.go`, `auth.go`, `flaps/flaps_machines.go`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from aiohttp import web

from fakes.fake import Fake, Refusal

TOKEN = "fm2_fakeFlyToken0123456789"
REGISTRY = "registry.fly.io"
_SERIAL = count(1)


def _at(ago: float = 0.0) -> str:
    return datetime.fromtimestamp(time.time() - ago, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def image(tag: str) -> str:
    """Give the name of one of the app's images."""
    return f"{REGISTRY}/web:deployment-{tag}"


@dataclass
class Machine:
    """One machine, as the fake keeps it."""

    config: dict[str, Any]
    region: str = "fra"
    state: str = "started"
    own: str = field(default_factory=lambda: f"148ed{next(_SERIAL):09x}")
    instance: str = field(default_factory=lambda: f"01FAKE{next(_SERIAL):020d}")
    created_at: str = field(default_factory=_at)
    host_status: str = "ok"
    lease: str | None = None  # the nonce of whoever holds it
    sick: bool = False  # its check fails
    restarts: int = 0

    def shown(self) -> dict[str, Any]:
        """Give it as the API does."""
        registry, _, rest = self.config["image"].partition("/")
        repository, _, tag = rest.partition(":")
        answer: dict[str, Any] = {
            "id": self.own, "name": f"fake-{self.own[-4:]}", "state": self.state, "region": self.region,
            "instance_id": self.instance, "private_ip": "fdaa::1", "created_at": self.created_at, "updated_at": _at(),
            "image_ref": {"registry": registry, "repository": repository, "tag": tag, "digest": "sha256:" + "0" * 64},
            "events": [], "host_status": self.host_status,
        }  # fmt: skip
        answer["config" if self.host_status == "ok" else "incomplete_config"] = self.config
        if self.config.get("checks"):
            well = self.state == "started" and not self.sick
            answer["checks"] = [
                {"name": name, "status": "passing" if well else "critical", "updated_at": _at(),
                 "output": "200 OK" if well else "connect: connection refused"}
                for name in self.config["checks"]
            ]  # fmt: skip
        return answer


@dataclass
class Release:
    """One release."""

    version: int
    tag: str
    ago: float  # seconds
    status: str = "complete"

    def shown(self) -> dict[str, Any]:
        """Give it as GraphQL does."""
        return {
            "id": f"rel_{self.version}", "version": self.version, "status": self.status, "description": "Release",
            "stable": True, "imageRef": image(self.tag), "createdAt": _at(self.ago),
        }  # fmt: skip


def config_of(release: Release, group: str = "app", **more: Any) -> dict[str, Any]:
    """Give the configuration that a deployment of a release leaves on a machine."""
    return {
        "image": image(release.tag), "env": {"DATABASE_PASSWORD": "hunter2-of-the-app"},
        "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256},
        "metadata": {
            "fly_platform_version": "v2", "fly_process_group": group, "fly_release_id": f"rel_{release.version}",
            "fly_release_version": str(release.version),
        },
        "checks": {"up": {"type": "http", "port": 8080, "path": "/health", "interval": "15s", "timeout": "10s"}},
        "restart": {"policy": "on-failure", "max_retries": 10},
        **more,
    }  # fmt: skip


class FakeFly(Fake):
    """Fly.io with the app `web`: two machines that run a fresh release, a healthy release before it, and a volume."""

    name = "fly"
    port = 9402

    def __init__(self) -> None:
        super().__init__()
        self.machines: list[Machine] = []
        self.releases: list[Release] = []
        self.volumes: list[dict[str, Any]] = []
        self.snapshots: list[str] = []  # ids of volumes
        self.lines: list[tuple[str, str]] = []  # machine, message
        self.sick_images: set[str] = set()  # a machine that begins to run one of these fails its check
        self.capacity = 100
        self.reset()

    def reset(self) -> None:
        """Make it as it was at the start."""
        good, failed, fresh = (
            Release(41, "GOOD", 86400),
            Release(42, "FAILED", 7200, "failed"),
            Release(43, "FRESH", 600),
        )
        self.releases[:] = [fresh, failed, good]
        self.machines[:] = [
            Machine(config_of(fresh), "fra", own="148ed726c15789", created_at=_at(600)),
            Machine(config_of(fresh), "ams", own="148ed726c15790", created_at=_at(500)),
        ]
        self.volumes[:] = [
            {
                "id": "vol_4y1q8k2p6m3n9x7r", "name": "data", "state": "created", "region": "fra", "zone": "z1",
                "size_gb": 3, "encrypted": True, "attached_machine_id": "148ed726c15791", "attached_alloc_id": None,
                "created_at": _at(86400), "snapshot_retention": 5, "fstype": "ext4",
                "blocks": 1000, "blocks_free": 600, "blocks_avail": 500, "block_size": 4096,
            }
        ]  # fmt: skip
        self.lines[:] = [("148ed726c15789", f"GET /basket {number}") for number in range(40)]
        self.snapshots.clear()
        self.sick_images.clear()
        self.capacity = 100

    def machine(self, own: str) -> Machine:
        """Give a machine by its id."""
        return next(machine for machine in self.machines if machine.own == own)

    @property
    def files(self) -> Mapping[str, str]:
        """Give the secrets."""
        return {"fly-token": TOKEN}

    @property
    def section(self) -> Mapping[str, Any]:
        """Lead here."""
        return {"token": {"secret": "fly-token"}, "url": self.url, "api_url": self.url}

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the paths of the published contract that the actions use."""
        app = "/v1/apps/{app}"
        one = f"{app}/machines/{{machine}}"
        return [
            web.get(app, self._app),
            web.get(f"{app}/machines", self._list), web.post(f"{app}/machines", self._create),
            web.get(one, self._show), web.post(one, self._update), web.delete(one, self._destroy),
            web.post(f"{one}/restart", self._restart), web.post(f"{one}/start", self._start),
            web.post(f"{one}/stop", self._stop),
            web.get(f"{app}/volumes", self._volumes), web.post(f"{app}/volumes/{{volume}}/snapshots", self._snapshot),
            web.post("/graphql", self._graphql), web.get("/api/v1/apps/{app}/logs", self._logs),
        ]  # fmt: skip

    def error(self, status: int, message: str) -> web.Response:
        """Give an error as the Machines API does."""
        return web.json_response({"error": message, "status": "fake"}, status=status)

    def _enter(self, request: web.Request, *, known: bool = True) -> None:
        if request.headers.get("Authorization") != f"FlyV1 {TOKEN}":
            raise Refusal(401, "unauthenticated: no valid token")
        if known and request.match_info.get("app") != "web":
            raise Refusal(404, "app not found")

    def _meant(self, request: web.Request, *, to_change: bool = True) -> Machine:
        self._enter(request)
        found = [machine for machine in self.machines if machine.own == request.match_info["machine"]]
        if not found:
            raise Refusal(404, "machine not found")
        if to_change and found[0].lease and request.headers.get("fly-machine-lease-nonce") != found[0].lease:
            raise Refusal(409, "failed to get lease: the machine is leased by somebody else")
        return found[0]

    async def _app(self, request: web.Request) -> web.Response:
        self._enter(request)
        organization = {"name": "Shop", "slug": "shop"}
        return web.json_response({"id": "fake", "name": "web", "status": "deployed", "organization": organization})

    async def _list(self, request: web.Request) -> web.Response:
        self._enter(request)
        gone = request.query.get("include_deleted") == "true"
        there = [machine for machine in self.machines if gone or machine.state != "destroyed"]
        return web.json_response([machine.shown() for machine in there])

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(self._meant(request, to_change=False).shown())

    async def _create(self, request: web.Request) -> web.Response:
        self._enter(request)
        asked = await _body(
            request, {"config": dict}, {"region": str, "name": str, "skip_launch": bool, "lease_ttl": int}
        )
        if len(self.machines) >= self.capacity:
            raise Refusal(422, "insufficient resources available to fulfill request")
        machine = Machine(asked["config"], asked.get("region", "fra"))
        self._launch(machine, skip=asked.get("skip_launch", False))
        self.machines.append(machine)
        return web.json_response(machine.shown())

    async def _update(self, request: web.Request) -> web.Response:
        machine = self._meant(request)
        optional = {"current_version": str, "skip_launch": bool, "region": str, "name": str, "lease_ttl": int}
        asked = await _body(request, {"config": dict}, optional)
        if asked.get("current_version") not in {None, machine.instance}:
            raise Refusal(409, "aborted: the machine's current version is another")
        machine.config, machine.instance = asked["config"], f"01FAKE{next(_SERIAL):020d}"
        self._launch(machine, skip=asked.get("skip_launch", False))
        return web.json_response(machine.shown())

    def _launch(self, machine: Machine, *, skip: bool) -> None:
        machine.sick = machine.config["image"] in self.sick_images
        if not skip:
            machine.state = "started"
            self.began(machine)

    def began(self, machine: Machine) -> None:
        """Note that a machine begins to run what it is configured to, or begins anew. Nothing runs in the fake."""

    def ended(self, machine: Machine) -> None:
        """Note that a machine runs no more."""

    async def _destroy(self, request: web.Request) -> web.Response:
        machine = self._meant(request)
        if machine.state == "started" and request.query.get("force") != "true":
            raise Refusal(412, "failed_precondition: unable to destroy machine, not currently stopped")
        machine.state = "destroyed"
        self.ended(machine)
        return web.json_response({"ok": True})

    async def _restart(self, request: web.Request) -> web.Response:
        machine = self._meant(request)
        _duration(request.query.get("timeout", "30s"))
        machine.restarts += 1
        self._launch(machine, skip=False)
        return web.json_response({"ok": True})

    async def _start(self, request: web.Request) -> web.Response:
        machine = self._meant(request)
        if machine.state == "started":
            raise Refusal(412, "failed_precondition: unable to start machine, it is started")
        before = machine.state
        self._launch(machine, skip=False)
        return web.json_response({"previous_state": before, "migrated": False, "new_host": ""})

    async def _stop(self, request: web.Request) -> web.Response:
        machine = self._meant(request)
        asked = await _body(request, {}, {"signal": str, "timeout": str})
        _duration(asked.get("timeout", "30s"))
        machine.state = "stopped"
        self.ended(machine)
        return web.json_response({"ok": True})

    async def _volumes(self, request: web.Request) -> web.Response:
        self._enter(request)
        return web.json_response(self.volumes)

    async def _snapshot(self, request: web.Request) -> web.Response:
        self._enter(request)
        own = request.match_info["volume"]
        if own not in {volume["id"] for volume in self.volumes}:
            raise Refusal(404, "volume not found")
        self.snapshots.append(own)
        return web.json_response({})

    async def _graphql(self, request: web.Request) -> web.Response:
        self._enter(request, known=False)
        asked = await _body(request, {"query": str}, {"variables": dict, "operationName": str})
        variables = asked.get("variables", {})
        if not re.search(r"app\(name: \$app\).*releasesUnprocessed\(first: \$limit\)", asked["query"], re.DOTALL):
            raise Refusal(400, "the fake knows the query of releases alone")
        if variables.get("app") != "web":
            said = {"message": "Could not find App", "path": ["app"], "extensions": {"code": "NOT_FOUND"}}
            return web.json_response({"data": {"app": None}, "errors": [said]})
        limit = variables["limit"]
        page = {
            "nodes": [release.shown() for release in self.releases[:limit]],
            "pageInfo": {"hasNextPage": len(self.releases) > limit},
        }
        return web.json_response({"data": {"app": {"releases": page}}})

    async def _logs(self, request: web.Request) -> web.Response:
        self._enter(request)
        machine, region = request.query.get("instance"), request.query.get("region")
        regions = {each.own: each.region for each in self.machines}
        found = [
            (number, own, message) for number, (own, message) in enumerate(self.lines)
            if machine in {None, own} and region in {None, regions.get(own, "fra")}
        ]  # fmt: skip
        data = [
            {
                "id": str(number), "type": "log",
                "attributes": {
                    "timestamp": _at(len(self.lines) - number), "message": message, "level": "info", "instance": own,
                    "region": regions.get(own, "fra"), "meta": {"instance": own},
                },
            }
            for number, own, message in found[-100:]
        ]  # fmt: skip
        return web.json_response({"data": data, "meta": {"next_token": "1779235200000000000"}})


async def _body(request: web.Request, needed: dict[str, type], optional: dict[str, type]) -> dict[str, Any]:
    """Read a body as the contract describes it: what it doesn't know, or what has another type, is refused."""
    text = await request.text()
    try:
        asked = json.loads(text) if text else {}
    except ValueError:
        raise Refusal(400, "invalid JSON") from None
    known: dict[str, Callable[..., Any]] = {**needed, **optional}
    if not isinstance(asked, dict) or set(needed) - set(asked) or set(asked) - set(known):
        raise Refusal(400, f"bad fields: {sorted(asked)}")
    for name, value in asked.items():
        if type(value) is not known[name]:
            raise Refusal(400, f"{name} has the wrong type")
    if isinstance(asked.get("config"), dict) and not isinstance(asked["config"].get("image"), str):
        raise Refusal(422, "config.image is required")
    return asked


def _duration(text: str) -> None:
    if not re.fullmatch(r"(\d+(ms|s|m|h))+|\d+", text):
        raise Refusal(400, "invalid timeout")
