"""Fly.io's two APIs: one request, and its answer in one of our shapes, or an Outcome that says why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from remediator.actions import api
from remediator.actions.api import Platform, secret_of
from remediator.actions.bounds import visible
from remediator.actions.fetch import base_url
from remediator.actions.fly.shapes import Machine, Volume
from remediator.actions.protocol import Context, JsonValue, Outcome, Result

T = TypeVar("T")
Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Fly:
    """Fly.io, as one use of an action speaks to it."""

    machines_api: Platform  # the Machines API, version 1
    web_api: Platform  # GraphQL, and the logs
    context: Context

    async def ask(self, method: str, *parts: str, query: Query = (), json: JsonValue = None) -> JsonValue | Outcome:
        """Ask the Machines API for a path given by its parts."""
        outcome = await api.ask(self.machines_api, method, api.path(*parts), self.context, query=query, json=json)
        return _uncertain(outcome) if isinstance(outcome, Outcome) else outcome

    async def machines(self, app: str) -> list[Machine] | Outcome:
        """Give all machines of an app, those that are being destroyed too."""
        value = await self.ask("GET", "apps", app, "machines")
        if isinstance(value, Outcome):
            return value
        rows = fit(value, list[dict[str, Any]], f"the list of {app}'s machines")
        if isinstance(rows, Outcome):
            return rows
        machines = []
        for row in rows:
            machine = _machine(row)
            if isinstance(machine, Outcome):
                return machine
            machines.append(machine)
        return machines

    async def machine(self, app: str, own: str) -> Machine | Outcome:
        """Give one machine."""
        value = await self.ask("GET", "apps", app, "machines", own)
        return value if isinstance(value, Outcome) else _machine(value)

    async def write(self, method: str, app: str, *parts: str, json: JsonValue = None) -> Machine | Outcome:
        """Ask for a change of which a machine comes back: it is created or updated."""
        value = await self.ask(method, "apps", app, "machines", *parts, json=json)
        return value if isinstance(value, Outcome) else _machine(value)

    async def volumes(self, app: str) -> list[Volume] | Outcome:
        """Give all volumes of an app, those that are being destroyed too."""
        value = await self.ask("GET", "apps", app, "volumes")
        return value if isinstance(value, Outcome) else fit(value, list[Volume], f"the list of {app}'s volumes")


def fly_of(context: Context) -> Fly | Outcome:
    """Make it of the configuration, or say what is missing there."""
    secret = secret_of(context, "fly", "token")
    if isinstance(secret, Outcome):
        return secret
    url = base_url(context, "fly")
    if isinstance(url, Outcome):
        return url
    api_url = str(context.settings["fly"].get("api_url") or "").rstrip("/")
    if not api_url:
        return Outcome(Result.NOT_SENT, error="fly.api_url is not set: set it in the configuration")
    token, name = secret
    headers = {"Authorization": _authorization(token)}
    parts = {token, token.removeprefix("FlyV1 "), *token.removeprefix("FlyV1 ").split(",")}
    secrets = dict.fromkeys(sorted(filter(None, parts), key=len, reverse=True), f"[secret {name}]")
    return Fly(
        Platform("Fly.io", f"{url}/v1", headers, secrets), Platform("Fly.io", api_url, headers, secrets), context
    )


def fit(value: JsonValue, kind: type[T], what: str) -> T | Outcome:
    """Give a value as that type; one that is not so is an error, and never read as empty or zero."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        words = f"{what} is not as Fly.io writes it ({error}): nothing can be told from it; is fly.url right?"
        return Outcome(Result.ERROR, error=visible(words, longest=400))


def no(words: str, **result: JsonValue) -> Outcome:
    """Make an Outcome for what was looked at and not done."""
    return Outcome(Result.REFUSED, result or None, visible(words, longest=500))


def _machine(value: JsonValue) -> Machine | Outcome:
    machine = fit(value, Machine, "a machine")
    if isinstance(machine, Outcome):
        return machine
    return msgspec.structs.replace(machine, raw=value.get("config") or {})


def _authorization(token: str) -> str:
    """Give the header's value: macaroons go under a scheme of their own (superfly/fly-go, `auth.go`)."""
    if token.startswith("FlyV1 "):  # as `fly tokens create` prints them
        return token
    macaroon = any(part.partition("_")[0] in {"fm1r", "fm1a", "fm2"} for part in token.split(","))
    return f"FlyV1 {token}" if macaroon else f"Bearer {token}"


def _uncertain(outcome: Outcome) -> Outcome:
    """Make an error of a 408: the platform gave up waiting for itself, and nobody knows what became of the request."""
    if outcome.result == {"status": 408}:
        return msgspec.structs.replace(outcome, kind=Result.ERROR)
    return outcome
