"""/api/v1: what the command line and, later, the pages ask of the running daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from remediator.engine import Engine, controls
from remediator.errors import MalformedBody, StoreError
from remediator.model.run import State
from remediator.model.story import Story
from remediator.model.time import Seconds, parse_duration
from remediator.receive import Limits, decode
from remediator.review.explain import Asked, explain
from remediator.store.protocol import RunFilter, Transaction
from remediator.web.access import Handler, failure, holds_token
from remediator.web.shapes import alert_shape, control_shape, event_shape, rule_shape, run_shape

_PAGE = 100
_LARGEST_PAGE = 1000


class _Bad(Exception):
    """The request can't be understood."""


class Api:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def runs(self, request: web.Request) -> web.Response:
        """List runs, newest first, with `next` where there are more."""
        limit = _whole(request, "limit", _PAGE)
        since = request.query.get("since")
        which = RunFilter(
            state=_state(request.query.get("state")),
            rule=request.query.get("rule"),
            since=None if since is None else self.engine.clock.now() - _span(since),
            before=request.query.get("before"),
            limit=limit,
        )

        async def script(tx: Transaction) -> list[dict[str, Any]]:
            found = [await tx.run(run.id) for run in await tx.runs(which)]
            return [run_shape(story, await tx.alerts_of(story.run.id)) for story in found if story is not None]

        runs = await self.engine.store.view(script)
        return _json({"runs": runs, "next": runs[-1]["id"] if len(runs) == limit else None})

    async def run(self, request: web.Request) -> web.Response:
        """Give one run; an id may be cut short as long as it names one run only."""
        return _json(await self._shape(request.match_info["id"]))

    async def _shape(self, run_id: str) -> dict[str, Any]:
        async def script(tx: Transaction) -> dict[str, Any] | None:
            story: Story | None = await tx.run(run_id)
            return None if story is None else run_shape(story, await tx.alerts_of(run_id))

        shape = await self.engine.store.view(script)
        if shape is None:
            raise KeyError(run_id)
        return shape

    async def alerts(self, request: web.Request) -> web.Response:
        """List the alerts that fire, of one name or all."""
        name = request.query.get("alertname")
        limit, after = _whole(request, "limit", _PAGE), _whole(request, "after", 0, 0)
        episodes = await self.engine.store.view(lambda tx: tx.firing(name))
        page = [episode for episode in episodes if episode.id > after][:limit]
        return _json(
            {"alerts": [alert_shape(each) for each in page], "next": page[-1].id if len(page) == limit else None}
        )

    async def rules(self, request: web.Request) -> web.Response:
        """List the rules in force."""
        return _json({"rules": [rule_shape(rule) for rule in self.engine.desk.rules.rules]})

    async def events(self, request: web.Request) -> web.Response:
        """Read history in order."""
        limit, after = _whole(request, "limit", _PAGE), _whole(request, "after", 0, 0)
        run = request.query.get("run")
        found = await self.engine.store.view(lambda tx: tx.events(after, limit, run))
        return _json(
            {"events": [event_shape(each) for each in found], "next": found[-1].seq if len(found) == limit else None}
        )

    async def list_controls(self, request: web.Request) -> web.Response:
        """List what is laid and in force."""
        now = self.engine.clock.now()
        laid = await self.engine.store.view(lambda tx: tx.controls(now))
        return _json({"controls": [control_shape(each) for each in laid]})

    async def lay(self, request: web.Request) -> web.Response:
        """Pause: `{kind: pause, reason, rule, target, for, author}`; resume: the same with `kind: resume`."""
        asked = await _document(request)
        author, reason = _author(asked), _text(asked, "reason") or ""
        rule, target = _text(asked, "rule"), _text(asked, "target")
        if asked.get("kind") == "resume":
            lifted = await controls.resume(self.engine, author, reason, rule=rule, target=target)
            return _json({"lifted": [control_shape(each) for each in lifted]})
        if asked.get("kind") != "pause":
            raise _Bad("kind is neither pause nor resume")
        if not reason:
            raise _Bad("a pause needs a reason, for whoever finds it")
        span = _text(asked, "for")
        control = await controls.pause(
            self.engine, author, reason, rule=rule, target=target, span=None if span is None else _span(span)
        )
        return _json(control_shape(control))

    async def lift(self, request: web.Request) -> web.Response:
        """Lift one pause."""
        control = await controls.lift(self.engine, request.match_info["id"], "api", request.query.get("reason", ""))
        if control is None:
            raise KeyError(request.match_info["id"])
        return _json(control_shape(control))

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel a run: `{reason, author}`."""
        asked = await _document(request)
        await controls.cancel(self.engine, request.match_info["id"], _author(asked), _text(asked, "reason") or "")
        return _json(await self._shape(request.match_info["id"]))

    async def resolve(self, request: web.Request) -> web.Response:
        """Settle an unknown run: `{as: succeeded or failed, reason, author}`."""
        asked = await _document(request)
        if asked.get("as") not in ("succeeded", "failed"):
            raise _Bad("`as` says what became of it: succeeded or failed")
        run_id, outcome = request.match_info["id"], State(asked["as"])
        await controls.resolve(self.engine, run_id, outcome, _author(asked), _text(asked, "reason") or "")
        return _json(await self._shape(run_id))

    async def explain(self, request: web.Request) -> web.Response:
        """Explain a notification's body with the guards' real figures."""
        now = self.engine.clock.now()
        notification = decode(await request.read(), now, Limits())

        async def script(tx: Transaction) -> dict[str, Any]:
            known = await tx.episodes({alert.fingerprint for alert in notification.alerts})
            open_ = {episode.id: key for key, episode in known.items() if episode.firing}
            taken_up = frozenset((open_[number], rule) for number, rule in await tx.decided(list(open_)))
            asked = Asked(books=tx.books, controls=await tx.controls(now), taken_up=taken_up)
            return await explain(notification, self.engine.desk.rules.rules, self.engine.desk.standing, now, asked)

        return _json(await self.engine.store.view(script))

    async def not_yet(self, request: web.Request) -> web.Response:
        """Answer for what a later release brings."""
        return failure(501, "not_yet", f"{request.path} comes with a later release")


def api_app(engine: Engine, token: str) -> web.Application:
    """Make the application below /api/v1."""
    api = Api(engine)
    app = web.Application(middlewares=[_errors, holds_token(token)], client_max_size=32 * 1024 * 1024)
    app.add_routes(
        [
            web.get("/runs", api.runs),
            web.get("/runs/{id}", api.run),
            web.post("/runs/{id}/cancel", api.cancel),
            web.post("/runs/{id}/resolve", api.resolve),
            web.post("/runs/{id}/approve", api.not_yet),
            web.post("/runs/{id}/reject", api.not_yet),
            web.get("/alerts", api.alerts),
            web.get("/rules", api.rules),
            web.get("/events", api.events),
            web.get("/controls", api.list_controls),
            web.post("/controls", api.lay),
            web.delete("/controls/{id}", api.lift),
            web.post("/explain", api.explain),
            web.get("/report", api.not_yet),
            web.get("/openapi.json", api.not_yet),
        ]
    )
    return app


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every error of the API the one shape of errors."""
    try:
        return await handler(request)
    except KeyError as error:
        return failure(404, "not_found", f"there is no run or control {error.args[0]!r}")
    except (_Bad, MalformedBody) as error:
        return failure(400, "bad_request", str(error))
    except controls.Impossible as error:
        return failure(409, "impossible", str(error))
    except StoreError as error:
        return failure(503, "store_away", str(error))


def _json(document: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")


async def _document(request: web.Request) -> Mapping[str, Any]:
    try:
        document = msgspec.json.decode(await request.read() or b"{}")
    except msgspec.DecodeError as error:
        raise _Bad(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _Bad("the body is not a JSON object")
    return document


def _text(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise _Bad(f"{key} is not a text")
    return value


def _author(document: Mapping[str, Any]) -> str:
    return _text(document, "author") or "api"


def _guarded(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ValueError as error:
        raise _Bad(str(error)) from None


def _whole(request: web.Request, key: str, default: int, least: int = 1) -> int:
    value: int = _guarded(lambda: int(request.query.get(key, default)))
    if not least <= value < 2**63:
        raise _Bad(f"{key} is not a number from {least} on")
    return min(value, _LARGEST_PAGE) if key == "limit" else value


def _span(text: str) -> Seconds:
    span: Seconds = _guarded(lambda: parse_duration(text))
    return span


def _state(text: str | None) -> State | None:
    state: State | None = _guarded(lambda: None if text is None else State(text))
    return state
