"""/api/v1: what the command line and, later, the pages ask of the running daemon. Viewers look, operators act."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from remediator.document import nearest
from remediator.engine import Engine, controls
from remediator.engine.approving import approvals
from remediator.engine.occasions import NotProposed, Occasion
from remediator.engine.replicas import HEARD
from remediator.errors import InvalidRules, MalformedBody, StoreError
from remediator.forms.access import Access
from remediator.model.alert import Episode
from remediator.model.control import Control, ControlKind
from remediator.model.identity import new_id
from remediator.model.run import Mode, Origin, State
from remediator.model.story import Story
from remediator.model.time import Timestamp
from remediator.receive import Limits, decode
from remediator.review.explain import Asked, explain
from remediator.review.morning import NIGHT, read_report
from remediator.review.wording import as_markdown, as_text
from remediator.rules.compile import NOTICE_RULES
from remediator.store.protocol import RunFilter, Transaction
from remediator.web.access import PERSON, Handler, Person, Role, by_role, failure
from remediator.web.asked import BadRequest, read_document, read_span, read_state, read_text, read_whole
from remediator.web.shapes import (
    alert_shape,
    approval_shape,
    control_shape,
    event_shape,
    replica_shape,
    rule_shape,
    run_shape,
    veiled_run,
    viewed_event,
)

_PAGE = 100


class _Missing(Exception):
    """What the request names is not there."""


class _Found(msgspec.Struct, frozen=True):
    """A run as the store has it, with what its JSON needs beside."""

    story: Story
    alerts: Sequence[Episode]
    controls: Sequence[Control]  # read where a person is asked


async def _find(tx: Transaction, run_id: str, now: Timestamp) -> _Found | None:
    story = await tx.run(run_id)
    if story is None:
        return None
    asks = story.run.state is State.AWAITING_APPROVAL
    return _Found(story, await tx.alerts_of(run_id), await tx.controls(now, run_id) if asks else ())


class Api:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def runs(self, request: web.Request) -> web.Response:
        """List runs, newest first, with `next` where there are more."""
        limit = read_whole(request, "limit", _PAGE)
        since = request.query.get("since")
        which = RunFilter(
            state=read_state(request.query.get("state")),
            rule=request.query.get("rule"),
            since=None if since is None else self.engine.clock.now() - read_span(since),
            before=request.query.get("before"),
            limit=limit,
            notices=request.query.get("rule") in NOTICE_RULES,
            drills=request.query.get("drill") == "true",
        )

        now = self.engine.clock.now()

        async def script(tx: Transaction) -> list[_Found | None]:
            return [await _find(tx, run.id, now) for run in await tx.runs(which)]

        found = [each for each in await self.engine.store.view(script) if each is not None]
        runs = [await self._shape(each, request[PERSON]) for each in found]
        return _json({"runs": runs, "next": runs[-1]["id"] if len(runs) == limit else None})

    async def run(self, request: web.Request) -> web.Response:
        """Give one run."""
        return await self._one(request.match_info["id"], request)

    async def _one(self, run_id: str, request: web.Request, status: int = 200) -> web.Response:
        now = self.engine.clock.now()
        found = await self.engine.store.view(lambda tx: _find(tx, run_id, now))
        if found is None:
            raise KeyError(run_id)
        return _json(await self._shape(found, request[PERSON]), status)

    async def _shape(self, found: _Found, person: Person) -> dict[str, Any]:
        """Give a run as far as this person may see it."""
        story, run = found.story, found.story.run
        desk, store = self.engine.desk, self.engine.store
        if not person.role.may(Role.OPERATOR) and await desk.confidential(run, store):
            return veiled_run(story)
        if run.state is not State.AWAITING_APPROVAL:
            return run_shape(story, found.alerts)
        try:
            approval = (await desk.rule_of(run, store)).rungs[run.rung].approval
        except (InvalidRules, StoreError):
            approval = None  # its rule is gone, or an action that it needs: the list of runs can be read all the same
        return run_shape(story, found.alerts, approval_shape(run, approval, approvals(run, found.controls)))

    async def alerts(self, request: web.Request) -> web.Response:
        """List the alerts that fire, of one name or all."""
        name = request.query.get("alertname")
        limit, after = read_whole(request, "limit", _PAGE), read_whole(request, "after", 0, 0)
        episodes = await self.engine.store.view(lambda tx: tx.firing(name))
        page = [episode for episode in episodes if episode.id > after][:limit]
        return _json(
            {"alerts": [alert_shape(each) for each in page], "next": page[-1].id if len(page) == limit else None}
        )

    async def rules(self, request: web.Request) -> web.Response:
        """List the rules in force."""
        return _json({"rules": [rule_shape(rule) for rule in self.engine.desk.rules.rules]})

    async def replicas(self, request: web.Request) -> web.Response:
        """List the daemons over this store that were heard of lately."""
        since, rules = self.engine.clock.now() - HEARD, self.engine.desk.rules_hash
        found = await self.engine.store.view(lambda tx: tx.replicas(since))
        return _json({"replicas": [replica_shape(each, rules) for each in found]})

    async def events(self, request: web.Request) -> web.Response:
        """Read history in order."""
        limit, after = read_whole(request, "limit", _PAGE), read_whole(request, "after", 0, 0)
        run = request.query.get("run")
        found = await self.engine.store.view(lambda tx: tx.events(after, limit, run))
        if request[PERSON].role.may(Role.OPERATOR):
            shapes = [event_shape(each) for each in found]
        else:
            confidential = await self._confidential({each.run for each in found if each.run is not None})
            shapes = [viewed_event(each, confidential=each.run in confidential) for each in found]
        return _json({"events": shapes, "next": found[-1].seq if len(found) == limit else None})

    async def _confidential(self, runs: Collection[str]) -> frozenset[str]:
        """Give those runs that are for operators only; one that is not in the store any more is."""

        async def script(tx: Transaction) -> dict[str, Story | None]:
            return {run: await tx.run(run) for run in runs}

        stories = await self.engine.store.view(script)
        desk, store = self.engine.desk, self.engine.store
        return frozenset(
            [run for run, story in stories.items() if story is None or await desk.confidential(story.run, store)]
        )

    async def list_controls(self, request: web.Request) -> web.Response:
        """List what is laid and in force."""
        now = self.engine.clock.now()
        laid = await self.engine.store.view(lambda tx: tx.controls(now))
        return _json({"controls": [control_shape(each) for each in laid]})

    async def lay(self, request: web.Request) -> web.Response:
        """Pause, or lay a mode: `{kind: pause or mode, mode, reason, rule, target, for}`; resume: `kind: resume`."""
        asked = await read_document(request)
        author, reason = _author(request, read_text(asked, "author")), read_text(asked, "reason") or ""
        rule, target, span = read_text(asked, "rule"), read_text(asked, "target"), read_text(asked, "for")
        kind = asked.get("kind")
        if kind == "resume":
            lifted = await controls.resume(self.engine, author, reason, rule=rule, target=target)
            return _json({"lifted": [control_shape(each) for each in lifted]})
        if kind not in ("pause", "mode"):
            raise BadRequest("kind is pause, mode or resume")
        if not reason:
            raise BadRequest(f"a {kind} needs a reason, for whoever finds it")
        seconds = None if span is None else read_span(span)
        if kind == "pause":
            control = await controls.pause(self.engine, author, reason, rule=rule, target=target, span=seconds)
            return _json({**control_shape(control), **self._doubt(rule)})
        if asked.get("mode") not in list(Mode):
            raise BadRequest(f"mode is one of {', '.join(Mode)}")
        now = self.engine.clock.now()
        control = Control(
            id=new_id(now), kind=ControlKind.MODE, laid_at=now, author=author, reason=reason, rule=rule, target=target,
            mode=Mode(asked["mode"]), until=None if seconds is None else now + seconds,
        )  # fmt: skip
        return _json({**control_shape(await controls.lay_mode(self.engine, control)), **self._doubt(rule)})

    def _doubt(self, rule: str | None) -> dict[str, str]:
        """Warn of a rule that is not in force: what is laid on it stands, since it may come, or be at work still."""
        known = self.engine.desk.rules.by_name
        if rule is None or rule in known:
            return {}
        return {"warning": f"no rule `{rule}` is in force{nearest(rule, known)}"}

    async def lift(self, request: web.Request) -> web.Response:
        """Lift what is laid on everything, a rule or a target, whoever laid it: `?reason=`."""
        control_id, author = request.match_info["id"], _author(request, request.query.get("author"))
        control = await controls.lift(self.engine, control_id, author, request.query.get("reason", ""))
        if control is None:
            raise _Missing(f"nothing that is in force has the id {control_id!r}: see `remediator controls`")
        return _json(control_shape(control))

    async def propose(self, request: web.Request) -> web.Response:
        """Propose a run by hand: `{rule, labels, reason}`, and `drill: true` for a drill, which needs no reason."""
        asked = await read_document(request)
        name, drill = read_text(asked, "rule"), asked.get("drill", False)
        author, reason = _author(request, read_text(asked, "author")), read_text(asked, "reason")
        if name is None:
            raise BadRequest("`rule` says which rule is to run")
        if not isinstance(drill, bool):
            raise BadRequest("drill is true or false")
        if not reason and not drill:
            raise BadRequest("a run by hand needs a reason, for whoever reads of it")
        if name not in self.engine.desk.rules.by_name:
            raise _Missing(f"there is no rule `{name}` in force{nearest(name, self.engine.desk.rules.by_name)}")
        given = self._labels(asked.get("labels", {}))
        occasion = Occasion(Origin.HAND, given=given, author=author, reason=reason, drill=drill)
        return await self._one(await controls.by_hand(self.engine, name, occasion), request, 201)

    def _labels(self, given: Any) -> Mapping[str, str]:
        """Take labels as those of an alert: what an alert could not have, nobody gives by hand."""
        if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
            raise BadRequest("labels is a mapping of names to texts")
        body = msgspec.json.encode({"alerts": [{"status": "firing", "labels": given}]})
        return decode(body, self.engine.clock.now(), Limits()).alerts[0].labels

    async def approve(self, request: web.Request) -> web.Response:
        """Approve one plan of a run: `{plan_hash, reason}`. By whom is what the token proves, whatever the body says."""
        asked = await read_document(request)
        run_id, plan_hash = request.match_info["id"], read_text(asked, "plan_hash")
        if not plan_hash:
            raise BadRequest("an approval is for one plan: give its `plan_hash`, as the run shows it")
        await controls.approve(self.engine, run_id, plan_hash, request[PERSON].name, read_text(asked, "reason") or "")
        return await self._one(run_id, request)

    async def reject(self, request: web.Request) -> web.Response:
        """Say no to what a run asks for: `{reason}`. By whom is what the token proves."""
        asked = await read_document(request)
        run_id, reason = request.match_info["id"], read_text(asked, "reason")
        if not reason:
            raise BadRequest("a rejection needs a reason, for whoever reads of it")
        await controls.reject(self.engine, run_id, request[PERSON].name, reason)
        return await self._one(run_id, request)

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel a run: `{reason}`."""
        asked, run_id = await read_document(request), request.match_info["id"]
        author = _author(request, read_text(asked, "author"))
        await controls.cancel(self.engine, run_id, author, read_text(asked, "reason") or "")
        return await self._one(run_id, request)

    async def resolve(self, request: web.Request) -> web.Response:
        """Settle an unknown run: `{as: succeeded or failed, reason}`."""
        asked, run_id = await read_document(request), request.match_info["id"]
        if asked.get("as") not in ("succeeded", "failed"):
            raise BadRequest("`as` says what became of it: succeeded or failed")
        author, outcome = _author(request, read_text(asked, "author")), State(asked["as"])
        await controls.resolve(self.engine, run_id, outcome, author, read_text(asked, "reason") or "")
        return await self._one(run_id, request)

    async def explain(self, request: web.Request) -> web.Response:
        """Explain a notification's body with the guards' real figures."""
        now = self.engine.clock.now()
        notification = decode(await request.read(), now, Limits())

        async def script(tx: Transaction) -> dict[str, Any]:
            known = await tx.episodes({alert.fingerprint for alert in notification.alerts})
            open_ = {episode.id: key for key, episode in known.items() if episode.firing}
            taken_up = frozenset((open_[number], rule) for number, rule in await tx.decided(list(open_)))
            ended = ((key, each.ended_at) for key, each in known.items() if not each.lost)
            over = {key: at for key, at in ended if at is not None}
            asked = Asked(books=tx.books, controls=await tx.controls(now), taken_up=taken_up, over=over)
            return await explain(notification, self.engine.desk.rules.rules, self.engine.desk.standing, now, asked)

        return _json(await self.engine.store.view(script))

    async def report(self, request: web.Request) -> web.Response:
        """Report on what has happened since then: `since` (24h), `format` json, text or markdown."""
        since, form, now = request.query.get("since"), request.query.get("format", "json"), self.engine.clock.now()
        if form not in ("json", "text", "markdown"):
            raise BadRequest("format is json, text or markdown")
        report = await read_report(self.engine, now - (NIGHT if since is None else read_span(since)), now)
        if form == "json":
            return _json(report)
        if form == "text":
            return web.Response(text=as_text(report))
        return web.Response(text=as_markdown(report), content_type="text/markdown")

    async def not_yet(self, request: web.Request) -> web.Response:
        """Answer for what a later release brings."""
        return failure(501, "not_yet", f"{request.path} comes with a later release")


def api_app(engine: Engine, token: str, access: Callable[[], Access]) -> web.Application:
    """Make the application below /api/v1; `access` gives what is in force when somebody asks."""
    api = Api(engine)
    allowed = by_role(token, access, lambda: engine.desk.standing.public_url)
    app = web.Application(middlewares=[_errors, allowed], client_max_size=32 * 1024 * 1024)
    app.add_routes(
        [
            web.get("/runs", api.runs),
            web.post("/runs", api.propose),
            web.get("/runs/{id}", api.run),
            web.post("/runs/{id}/cancel", api.cancel),
            web.post("/runs/{id}/resolve", api.resolve),
            web.post("/runs/{id}/approve", api.approve),
            web.post("/runs/{id}/reject", api.reject),
            web.get("/alerts", api.alerts),
            web.get("/rules", api.rules),
            web.get("/replicas", api.replicas),
            web.get("/events", api.events),
            web.get("/controls", api.list_controls),
            web.post("/controls", api.lay),
            web.delete("/controls/{id}", api.lift),
            web.post("/explain", api.explain),
            web.get("/report", api.report),
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
        return failure(404, "not_found", f"there is no run {error.args[0]!r}")
    except _Missing as error:
        return failure(404, "not_found", str(error))
    except (BadRequest, MalformedBody) as error:
        return failure(400, "bad_request", str(error))
    except (controls.Impossible, InvalidRules) as error:
        return failure(409, "impossible", str(error))
    except NotProposed as error:
        return failure(409, "not_proposed", str(error))
    except StoreError as error:
        return failure(503, "store_away", str(error))


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/json")


def _author(request: web.Request, named: str | None) -> str:
    """Say in whose name an order is given; only the holder of the local token may name another."""
    person = request[PERSON]
    return named if person.local and named else person.name
