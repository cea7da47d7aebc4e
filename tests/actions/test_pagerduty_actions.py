"""`pagerduty.*` against the fake, and what they send against PagerDuty's published contract."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fakes.fake import Fault
from fakes.pagerduty import PERSON, ROUTING_KEY, TOKEN, FakePagerDuty, Incident
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from remediator.actions.pagerduty import (
    EventParameters,
    PagerDutyAcknowledge,
    PagerDutyIncident,
    PagerDutyResolve,
    PagerDutyTrigger,
    TriggerParameters,
)
from remediator.actions.protocol import Action, Outcome, Result
from remediator.rules.parameters import ParameterTemplates
from remediator.rules.pieces import UnsafeValue

SPECS = Path(__file__).resolve().parents[2] / ".." / "shared" / "specs"
SECRETS = {"key": ROUTING_KEY, "token": TOKEN}
LEAST = {"summary": "web is down", "severity": "critical"}


@pytest.fixture
async def fake() -> AsyncIterator[FakePagerDuty]:
    """Start a fake without incidents."""
    made = FakePagerDuty()
    made.incidents.clear()
    async with made:
        yield made


def sections(url: str, **more: Any) -> dict[str, Any]:
    """Give the configuration that leads to a URL."""
    given = {"routing_key": {"secret": "key"}, "token": {"secret": "token"}, "events_url": url, "api_url": url}
    return {"pagerduty": {**given, **more}}


@pytest.fixture
def use(context, fake):
    """Use an action against the fake."""

    async def go(action: Action[Any], secrets: dict[str, str] = SECRETS, **given: Any) -> Outcome:
        made = context(sections(fake.url), secrets)
        return await action.run(action.parameters.model_validate(given), made)

    return go


def contract(name: str) -> dict[str, Any]:
    """Load a published contract from beside the checkout."""
    file = SPECS / name
    if not file.exists():
        pytest.skip(f"PagerDuty's published contract {name} is not beside the checkout")
    return json.loads(file.read_text())


async def test_p2_what_one_run_triggers_joins_one_incident(use, fake) -> None:
    """So a repeat after a crash pages nobody anew."""
    for _ in range(2):
        outcome = await use(PagerDutyTrigger(), **LEAST)
        assert (outcome.kind, outcome.result) == (
            Result.OK,
            {"dedup_key": "remediator/01jd", "message": "Event processed"},
        )
    (incident,) = fake.incidents
    assert (incident.key, incident.title, incident.triggers) == ("remediator/01jd", "web is down", 2)


async def test_an_event_says_what_it_was_given(use, fake) -> None:
    """And nothing that it was not."""
    given = {
        **LEAST, "source": "web-1", "component": "nginx", "group": "shop", "class": "HighErrorRate", "dedup_key": "a b/c",
        "custom_details": {"n": [1, None, {"x": "y"}]}, "links": {"Runbook": "https://runbooks.example.com/web?x=1"},
    }  # fmt: skip
    assert (await use(PagerDutyTrigger(), **given)).ok
    assert fake.seen[-1].json == {
        "routing_key": ROUTING_KEY, "event_action": "trigger", "dedup_key": "a b/c", "client": "Remediator",
        "links": [{"href": "https://runbooks.example.com/web?x=1", "text": "Runbook"}],
        "payload": {
            "summary": "web is down", "severity": "critical", "source": "web-1", "component": "nginx", "group": "shop",
            "class": "HighErrorRate", "custom_details": {"n": [1, None, {"x": "y"}]},
        },
    }  # fmt: skip
    assert (await use(PagerDutyTrigger(), **LEAST)).ok
    assert fake.seen[-1].json["payload"] == {**LEAST, "source": "remediator"}


async def test_an_incident_is_acknowledged_and_resolved(use, fake) -> None:
    """By the same key; a new trigger then opens a new one."""
    await use(PagerDutyTrigger(), **LEAST)
    assert (await use(PagerDutyAcknowledge())).ok
    assert fake.incidents[0].status == "acknowledged"
    assert (await use(PagerDutyResolve())).ok
    assert fake.incidents[0].status == "resolved"
    await use(PagerDutyTrigger(), **LEAST)
    assert [each.status for each in fake.incidents] == ["resolved", "triggered"]


@pytest.mark.parametrize("action", [PagerDutyAcknowledge(), PagerDutyResolve()])
async def test_an_event_for_no_incident_is_taken(use, fake, action: Action[Any]) -> None:
    """As PagerDuty does, and nothing comes of it."""
    outcome = await use(action, dedup_key="nothing")
    assert outcome.result == {"dedup_key": "nothing", "message": "Event processed"}
    assert fake.incidents == []


@pytest.mark.parametrize("action", [PagerDutyTrigger(), PagerDutyAcknowledge(), PagerDutyResolve()])
def test_events_with_a_key_are_idempotent(action: Action[Any]) -> None:
    """There always is one: the run's, or the author's."""
    assert action.idempotent(action.parameters.model_validate(LEAST if action.name == "pagerduty.trigger" else {}))


async def test_a_long_summary_is_cut_with_a_mark(use, fake) -> None:
    """PagerDuty takes 1,024 characters."""
    assert (await use(PagerDutyTrigger(), **{**LEAST, "summary": "ä" * 1025})).ok
    assert fake.incidents[0].title == "ä" * 1023 + "…"
    assert (await use(PagerDutyTrigger(), **{**LEAST, "summary": "ä" * 1024}, dedup_key="two")).ok
    assert fake.incidents[1].title == "ä" * 1024


async def test_details_that_are_too_much_do_not_stop_a_page(use, fake) -> None:
    """The event goes without them, and both it and the result say so."""
    outcome = await use(PagerDutyTrigger(), **LEAST, custom_details={"log": "x" * 600_000})
    assert outcome.result == {"dedup_key": "remediator/01jd", "message": "Event processed", "truncated": True}
    assert "left out" in fake.incidents[0].payload["custom_details"]["remediator"]


async def test_the_reason_of_a_refusal_is_told(use, fake) -> None:
    """PagerDuty's general message, and what it has against this very event."""
    outcome = await use(PagerDutyTrigger(), {"key": "short"}, **LEAST)
    assert outcome.kind is Result.REFUSED
    assert "Event object is invalid: Length of 'routing_key' is incorrect (should be 32 characters)" in outcome.error
    assert fake.incidents == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Result.REFUSED), (403, Result.REFUSED), (429, Result.NOT_SENT), (500, Result.ERROR), (503, Result.ERROR)],
)
async def test_a_status_is_sorted_by_what_it_leaves_to_do(use, fake, status: int, kind: Result) -> None:
    """PagerDuty's table of response codes; 429 means that the event was not looked at."""
    fake.faults.append(Fault("status", status))
    outcome = await use(PagerDutyTrigger(), **LEAST)
    assert outcome.kind is kind
    assert len(fake.seen) == 1


@pytest.mark.parametrize("body", ['{"status": "throttled"}', "{}", "[]", "null", "", "OK"])
async def test_only_pagerdutys_own_word_is_success(context, serve, body: str) -> None:
    """A proxy that says 200 to everything has paged nobody."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=202, text=body)

    made = context(sections(await serve(handler)), SECRETS)
    outcome = await PagerDutyTrigger().run(TriggerParameters.model_validate(LEAST), made)
    assert outcome.kind is Result.ERROR


async def test_p9_the_routing_key_is_told_to_nobody(context, serve) -> None:
    """It is in the body, and a server may repeat that in an error."""

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"message": await request.text(), "errors": [ROUTING_KEY]}, status=400)

    made = context(sections(await serve(handler)), SECRETS)
    outcome = await PagerDutyTrigger().run(TriggerParameters.model_validate(LEAST), made)
    assert outcome.kind is Result.REFUSED
    assert "[secret key]" in outcome.error
    assert ROUTING_KEY not in f"{outcome}"


@pytest.mark.parametrize("action", [PagerDutyTrigger(), PagerDutyAcknowledge(), PagerDutyIncident()])
async def test_what_is_missing_is_named(context, fake, action: Action[Any]) -> None:
    """And nothing is sent."""
    key = "token" if action.name == "pagerduty.incident" else "routing_key"
    params = action.parameters.model_validate(LEAST if action.name == "pagerduty.trigger" else {})
    unset = await action.run(params, context(sections(fake.url, **{key: None}), SECRETS))
    unknown = await action.run(params, context(sections(fake.url), {}))
    assert (unset.kind, unknown.kind) == (Result.NOT_SENT, Result.NOT_SENT)
    assert f"pagerduty.{key} is not set" in unset.error
    assert f"pagerduty.{key} names" in unknown.error
    assert fake.seen == []


def test_reading_needs_a_token_of_its_own() -> None:
    """Which `remediator check` says before it is wanted."""
    check = PagerDutyIncident().check
    assert check(EventParameters(), {}) is None
    assert check(EventParameters(), sections("x")) is None
    assert "pagerduty.token" in (check(EventParameters(), sections("x", token=None)) or "")


async def test_an_acknowledged_incident_tells_by_whom_and_since_when(use, fake) -> None:
    """The earliest of the acknowledgements counts."""
    at = ["2026-01-15T22:31:00Z", "2026-01-15T22:30:00Z"]
    fake.incidents.append(
        Incident(7, "web/web", "It is down", "acknowledged", "2026-01-15T22:00:00Z", [(at[0], "Bo"), (at[1], PERSON)])
    )
    outcome = await use(PagerDutyIncident(), dedup_key="web/web")
    assert outcome.result == {
        "found": True, "open": 1, "dedup_key": "web/web", "id": "PFAKE7", "number": 7, "title": "It is down",
        "status": "acknowledged", "urgency": "high", "service": "Web shop", "created_at": "2026-01-15T22:00:00Z",
        "acknowledged": True, "acknowledged_by": ["Bo", PERSON], "acknowledged_since": at[1], "assigned_to": [PERSON],
        "url": f"{fake.url}/incidents/PFAKE7",
    }  # fmt: skip


async def test_an_incident_is_found_by_the_runs_own_key(use, fake) -> None:
    """What the run has triggered, it can ask about."""
    await use(PagerDutyTrigger(), **LEAST)
    result = (await use(PagerDutyIncident())).result
    assert (result["found"], result["status"], result["acknowledged"]) == (True, "triggered", False)
    assert (result["acknowledged_by"], result["acknowledged_since"]) == ([], None)


async def test_no_incident_is_an_answer_with_the_same_keys(use, fake) -> None:
    """So that a rule's expression about it does not fail."""
    none = (await use(PagerDutyIncident(), dedup_key="x")).result
    fake.incidents.append(Incident(1, "x", "x"))
    some = (await use(PagerDutyIncident(), dedup_key="x")).result
    assert set(none) == set(some)
    assert (none["found"], none["acknowledged"], none["status"], none["open"]) == (False, False, None, 0)


async def test_the_open_one_of_several_incidents_is_meant(use, fake) -> None:
    """A key is used again when its incident has been resolved."""
    fake.incidents += [
        Incident(1, "x", "old", "resolved"),
        Incident(2, "x", "now"),
        Incident(3, "x", "odd", "resolved"),
    ]
    result = (await use(PagerDutyIncident(), dedup_key="x")).result
    assert (result["number"], result["open"]) == (2, 1)
    fake.incidents[1].status = "resolved"
    result = (await use(PagerDutyIncident(), dedup_key="x")).result
    assert (result["number"], result["status"], result["open"]) == (3, "resolved", 0)


@pytest.mark.parametrize("body", ["{}", "[]", "null", "", '{"incidents": [{"id": "P1"}]}', '{"incidents": null}'])
async def test_p5_an_answer_with_something_missing_is_no_answer(context, serve, body: str) -> None:
    """It is never read as: nobody has acknowledged."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    made = context(sections(await serve(handler)), SECRETS)
    outcome = await PagerDutyIncident().run(EventParameters(), made)
    assert outcome.kind is Result.ERROR
    assert outcome.error.endswith(("is its URL right?", "is pagerduty.api_url right?"))


async def test_a_wrong_token_is_refused_with_advice(use) -> None:
    """The operator is told which credential it is about."""
    outcome = await use(PagerDutyIncident(), {**SECRETS, "token": "wrong-token"})
    assert outcome.kind is Result.REFUSED
    assert "Unauthorized; the credential is wrong or has run out" in outcome.error


@pytest.mark.parametrize(
    "given",
    [
        {"summary": "x"}, {"summary": "", "severity": "info"}, {"summary": "x", "severity": "P1"},
        {**LEAST, "dedup_key": ""}, {**LEAST, "dedup_key": "a\nb"}, {**LEAST, "dedup_key": "x" * 256},
        {**LEAST, "links": {"x": "javascript:alert(1)"}}, {**LEAST, "links": {"x": "https://"}},
        {**LEAST, "custom_details": ["x"]}, {**LEAST, "routing_key": "x"},
    ],
)  # fmt: skip
def test_what_pagerduty_would_refuse_is_found_in_the_rule(given: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises(ValidationError):
        TriggerParameters.model_validate(given)


def render(given: dict[str, Any], value: str) -> TriggerParameters:
    """Render parameters with a label."""
    scope = {"labels": {"x": value}}
    return ParameterTemplates({**LEAST, **given}, TriggerParameters).render(scope, [])  # type: ignore[return-value]


@pytest.mark.parametrize("value", ["critical", "error", "warning", "info"])
def test_a_severity_may_come_from_a_label(value: str) -> None:
    """If it is one of PagerDuty's."""
    assert render({"severity": "{{ labels.x }}"}, value).severity == value


def test_p10_a_label_stays_in_its_place() -> None:
    """In a link it is encoded, in a key and a severity it has to fit, in a text its controls are made visible."""
    with pytest.raises(UnsafeValue):
        render({"severity": "{{ labels.x }}"}, "critical\n")
    with pytest.raises(UnsafeValue):
        render({"dedup_key": "web/{{ labels.x }}"}, "a\x1b[2J")
    with pytest.raises(UnsafeValue):
        render({"links": {"x": "https://{{ labels.x }}/"}}, "evil.example")
    link = render({"links": {"x": "https://a.example/{{ labels.x }}"}}, "b?c=1#d/é").links["x"]
    assert link == "https://a.example/b%3Fc%3D1%23d%2F%C3%A9"
    assert render({"summary": "{{ labels.x }} is down"}, "a\x1b[2J").summary == "a\\x1b[2J is down"


def test_plans_are_one_line() -> None:
    """They say who is woken for what."""
    trigger = PagerDutyTrigger().plan(TriggerParameters.model_validate({**LEAST, "summary": "a\nb"}))
    assert trigger == "page by PagerDuty (critical), the incident of this run: a\\nb"
    meant = EventParameters(dedup_key="web/web")
    assert PagerDutyAcknowledge().plan(meant) == "acknowledge at PagerDuty, the incident web/web"
    assert PagerDutyResolve().plan(meant) == "resolve at PagerDuty, the incident web/web"
    assert PagerDutyIncident().plan(meant) == "ask PagerDuty about an incident, the incident web/web"


async def test_events_keep_to_the_published_contract(use, fake) -> None:
    """Every kind of event, in its shortest and its longest form; and what the fake answers."""
    published = contract("pagerduty_events_v2.json")
    post = published["paths"]["/enqueue"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    event = Draft202012Validator({**schema, "components": published["components"]})
    payload = published["components"]["schemas"]["Payload"]["properties"]
    whole = {"source": "a", "component": "b", "group": "c", "class": "d", "custom_details": {"e": 1}}
    await use(PagerDutyTrigger(), **LEAST)
    await use(PagerDutyTrigger(), **LEAST, **whole, links={"x": "https://example.com/"})
    await use(PagerDutyAcknowledge())
    await use(PagerDutyResolve())
    assert len(fake.seen) == 4
    for seen in fake.seen:
        assert (seen.method, seen.path, seen.headers["content-type"]) == ("POST", "/v2/enqueue", "application/json")
        event.validate(seen.json)
        assert set(seen.json) <= set(schema["properties"])
        assert set(seen.json.get("payload", {})) <= set(payload)


async def test_the_question_keeps_to_the_published_contract(use, fake) -> None:
    """Headers and query are those that are published; PagerDuty would ignore others, and so answer something else."""
    published = contract("pagerduty_rest.json")
    get = published["paths"]["/incidents"]["get"]
    names = [each["$ref"].rpartition("/")[2] for each in get["parameters"]]
    known = {found["name"]: found for found in (published["components"]["parameters"][name] for name in names)}
    assert (await use(PagerDutyIncident(), dedup_key="x")).ok
    (seen,) = fake.seen
    assert (seen.method, seen.path) == ("GET", "/incidents")
    for name, parameter in known.items():
        if parameter["in"] == "header" and parameter.get("required"):
            assert seen.headers[name.lower()] == parameter["schema"]["default"]
    for name, value in seen.query:
        schema = known[name]["schema"]
        typed: Any = {"integer": int, "array": lambda text: text.split(","), "string": str}[schema["type"]](value)
        Draft202012Validator(schema).validate(typed)


async def test_the_fakes_incidents_have_what_published_ones_have(use, fake) -> None:
    """Else the action would be tried on something that PagerDuty never says."""
    published = contract("pagerduty_rest.json")
    answers = published["paths"]["/incidents"]["get"]["responses"]["200"]["content"]["application/json"]
    example = answers["examples"]["response"]["value"]["incidents"][0]
    shown = Incident(1, "x", "x", acknowledgements=[("2026-01-15T22:31:00Z", "Bo")]).shown(fake.url)
    assert set(shown) <= set(example)
    assert {name: type(value) for name, value in shown.items()} == {name: type(example[name]) for name in shown}
