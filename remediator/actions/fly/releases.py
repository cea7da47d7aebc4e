"""`fly.releases`, and which release is healthy, so that a rollback may go back to it.

The Machines API knows no releases: they are asked for by GraphQL, in the words of superfly/fly-go, `resource_releases.go`.
A deployment by Fly.io's own client ends its release as `complete`, `failed` or `interrupted`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import msgspec
from pydantic import Field

from remediator.actions import api
from remediator.actions.api import fitting
from remediator.actions.bounds import visible
from remediator.actions.fly.names import AppParameters
from remediator.actions.fly.server import Fly, fit, fly_of, no
from remediator.actions.fly.shapes import LEAVING, ROLLED_BACK, Machine
from remediator.actions.protocol import Action, Context, Effect, JsonValue, Outcome, Result
from remediator.model.time import parse_rfc3339

KNOWN = 50  # of the newest releases that are looked at for a healthy one

_QUERY = """
query Releases($app: String!, $limit: Int!) {
  app(name: $app) {
    releases: releasesUnprocessed(first: $limit) {
      nodes { id version status description stable imageRef createdAt }
      pageInfo { hasNextPage }
    }
  }
}
"""


class Release(msgspec.Struct, frozen=True, rename="camel"):
    """One release, as GraphQL gives it."""

    id: str
    version: int
    status: str
    created_at: str
    image_ref: str | None = None
    description: str | None = None
    stable: bool | None = None


class _Page(msgspec.Struct, frozen=True, rename="camel"):
    has_next_page: bool


class Releases(msgspec.Struct, frozen=True, rename="camel"):
    """The newest releases of an app, newest first."""

    nodes: list[Release]
    page_info: _Page


class _App(msgspec.Struct, frozen=True):
    releases: Releases


class _Data(msgspec.Struct, frozen=True):
    app: _App | None = None


class _Error(msgspec.Struct, frozen=True):
    message: str


class _Reply(msgspec.Struct, frozen=True):
    data: _Data | None = None
    errors: list[_Error] | None = None


async def releases_of(fly: Fly, app: str, limit: int) -> Releases | Outcome:
    """Ask for the newest releases of an app."""
    asked: JsonValue = {"query": _QUERY, "variables": {"app": app, "limit": limit}}
    value = await api.ask(fly.web_api, "POST", "/graphql", fly.context, json=asked)
    reply = value if isinstance(value, Outcome) else fit(value, _Reply, f"the list of {app}'s releases")
    if isinstance(reply, Outcome):
        return reply
    if reply.errors:
        return no(f"Fly.io refused to list the releases of {app}: {reply.errors[0].message}")
    if reply.data is None or reply.data.app is None:
        return no(f"Fly.io knows no app {app}, or the token may not see it: is the name right?")
    found = reply.data.app.releases
    return msgspec.structs.replace(found, nodes=sorted(found.nodes, key=lambda release: -release.version))


def proved_bad(machines: Sequence[Machine]) -> set[int]:
    """Give the versions that a rollback of ours has left: their deployment ended well, and they were bad all the same."""
    texts = (part for machine in machines for part in machine.metadata.get(ROLLED_BACK, "").split(","))
    return {int(text) for text in texts if text.isdecimal() and len(text) < 10}


def healthy(release: Release, bad: set[int]) -> bool | None:
    """Tell whether a release was healthy, None where nobody can tell."""
    if release.version in bad:
        return False
    return {"complete": True, "succeeded": True, "failed": False, "interrupted": False}.get(release.status)


def healthy_before(releases: Sequence[Release], bad: set[int]) -> Release | None:
    """Give the last healthy release before the newest, None where there is none."""
    return next((release for release in releases[1:] if release.image_ref and healthy(release, bad)), None)


class ReleasesParameters(AppParameters):
    """Which releases."""

    limit: int = Field(default=25, ge=1, le=100, description="How many of the newest are listed.")


class FlyReleases(Action[ReleasesParameters]):
    """List the newest releases of an app: which one is current, how old it is, which of them were healthy.

    `current` is the newest, null where the app has none; `previous` lists those before it; `more` tells that there are still
    older ones. Each has `version`, `status`, `image`, `created_at`, `age_s` (seconds), `description`, `stable`, and `healthy`:
    true where its deployment was completed, false where that failed, or where `fly.rollback` has left it; null where nobody
    can tell. `running` gives the number of machines by the version that they run, and `rollback_to` the version to which
    `fly.rollback` would go back, or null.

    Example:
        - id: releases
          uses: fly.releases
          with: {app: '{{ labels.app }}'}
          expect: result.current.age_s < 7200 and result.rollback_to
    """

    name = "fly.releases"
    effect = Effect.READ
    parameters = ReleasesParameters
    section = "fly"

    def plan(self, params: ReleasesParameters) -> str:
        """Name the app."""
        return visible(f"ask Fly.io for the {params.limit} newest releases of the app {params.app}", longest=2000)

    async def run(self, params: ReleasesParameters, context: Context) -> Outcome:
        """Ask for the releases, and for the machines that run them."""
        fly = fly_of(context)
        if isinstance(fly, Outcome):
            return fly
        found = await releases_of(fly, params.app, max(params.limit, KNOWN))
        if isinstance(found, Outcome):
            return found
        machines = await fly.machines(params.app)
        if isinstance(machines, Outcome):
            return machines
        bad = proved_bad(machines)
        try:
            listed = [_described(release, bad) for release in found.nodes[: params.limit]]
        except ValueError as error:
            words = f"Fly.io's list of releases can't be read: {error}"
            return Outcome(Result.ERROR, error=visible(words, longest=300))
        target = healthy_before(found.nodes[:KNOWN], bad)
        running = Counter(
            str(machine.release) for machine in machines if machine.release and machine.state not in LEAVING
        )
        result: dict[str, JsonValue] = {
            "current": listed[0] if listed else None,
            "previous": listed[1:],
            "more": found.page_info.has_next_page or len(found.nodes) > params.limit,
            "running": dict(running),
            "rollback_to": target.version if target else None,
        }
        return fitting(result, f"the list of {params.app}'s releases")


def _described(release: Release, bad: set[int]) -> dict[str, JsonValue]:
    """Give a release in our words. Raises ValueError where its time is none."""
    return {
        "version": release.version,
        "status": release.status,
        "image": release.image_ref,
        "created_at": release.created_at,
        "age_s": max(0, round(time.time() - parse_rfc3339(release.created_at))),
        "description": (release.description or "")[:200],
        "stable": release.stable,
        "healthy": healthy(release, bad),
    }
