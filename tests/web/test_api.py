"""/api/v1: what the command line asks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from remediator.model.time import format_rfc3339

if TYPE_CHECKING:
    from conftest import Site

RULE = """
rules:
  - name: mend
    summary: x
    match: '{alertname="Down"}'
    for: 5m
    target: 't/{{ labels.app }}'
    guard: {only_firing: ['{alertname="Slow"}']}
    steps: [{uses: test.write, with: {says: '{{ labels.app }}'}}]
"""
RUN_KEYS = {
    "id", "rule", "rule_hash", "target", "mode", "state", "reason", "alerts", "plan", "plan_hash", "steps", "created_at",
    "started_at", "ended_at", "rung", "drill",
}  # fmt: skip
STEP_KEYS = {"id", "uses", "phase", "state", "attempt", "started_at", "ended_at", "result", "error"}


async def test_the_api_asks_for_the_token(site: Site) -> None:
    """The webhook's credential doesn't open it."""
    for header in ({}, {"Authorization": "Bearer nope"}):
        response = await site.client.get("/api/v1/runs", headers=header)
        assert (response.status, (await response.json())["error"]["code"]) == (401, "unauthorized")


async def test_a_run_has_every_key_of_the_interface(site: Site) -> None:
    """Names are a contract: users script against them."""
    await site.stage.rules(RULE.replace("    for: 5m\n", "").replace("Slow", "Down"))
    await site.stage.fires(app="web")
    (listed,) = (await site.api("GET", "/runs"))[1]["runs"]
    status, run = await site.api("GET", f"/runs/{listed['id']}")
    assert (status, run) == (200, listed)
    assert run.keys() >= RUN_KEYS
    assert run["steps"][0].keys() >= STEP_KEYS
    assert run["created_at"].endswith("Z")


async def test_runs_are_filtered_and_paged(site: Site) -> None:
    """`next` leads on."""
    await site.stage.rules(RULE)
    for number in range(5):
        await site.stage.fires(app=f"a{number}")
    _, first = await site.api("GET", "/runs?limit=2&state=waiting")
    _, second = await site.api("GET", f"/runs?limit=10&before={first['next']}")
    assert [len(first["runs"]), len(second["runs"]), second["next"]] == [2, 3, None]
    assert (await site.api("GET", "/runs?rule=other"))[1]["runs"] == []
    assert (await site.api("GET", "/runs?since=1h"))[1]["runs"] != []


@pytest.mark.parametrize("query", ["state=odd", "since=yesterday", "limit=0", "limit=x"])
async def test_a_question_that_makes_no_sense_is_400(site: Site, query: str) -> None:
    """With words."""
    status, told = await site.api("GET", f"/runs?{query}")
    assert (status, told["error"]["code"]) == (400, "bad_request")


async def test_what_is_not_there_is_404_in_the_one_shape_of_errors(site: Site) -> None:
    """Unknown runs, controls and paths."""
    for method, path in (
        ("GET", "/runs/nope"),
        ("DELETE", "/controls/nope"),
        ("GET", "/nope"),
        ("POST", "/runs/nope/cancel"),
        ("POST", "/runs/nope/approve"),
    ):
        status, told = await site.api(method, path, json={"plan_hash": "x"})
        assert (status, set(told["error"])) == (404, {"code", "message", "details"}), path


@pytest.mark.parametrize("what", [{"kind": "pause"}, {"kind": "mode", "mode": "off"}])
async def test_what_is_laid_on_a_rule_that_is_not_in_force_comes_with_a_warning(
    site: Site, what: dict[str, str]
) -> None:
    """It is laid all the same: the rule may come, or be at work still."""
    await site.stage.rules(RULE)
    status, laid = await site.api("POST", "/controls", json={**what, "reason": "x", "rule": "mnd"})
    assert (status, laid["warning"]) == (200, "no rule `mnd` is in force; did you mean `mend`?")
    assert [each["id"] for each in (await site.api("GET", "/controls"))[1]["controls"]] == [laid["id"]]
    status, laid = await site.api("POST", "/controls", json={**what, "reason": "x", "rule": "mend"})
    assert (status, "warning" in laid) == (200, False)


async def test_pause_and_resume_by_the_api(site: Site) -> None:
    """A pause needs a reason, for whoever finds it."""
    assert (await site.api("POST", "/controls", json={"kind": "pause"}))[0] == 400
    assert (await site.api("POST", "/controls", json={"kind": "odd", "reason": "x"}))[0] == 400
    status, control = await site.api(
        "POST", "/controls", json={"kind": "pause", "reason": "x", "author": "ann", "for": "1h"}
    )
    assert (status, control["author"]) == (200, "ann")
    assert [each["id"] for each in (await site.api("GET", "/controls"))[1]["controls"]] == [control["id"]]
    assert (await site.api("DELETE", f"/controls/{control['id']}"))[0] == 200
    assert (await site.api("GET", "/controls"))[1]["controls"] == []


async def test_cancel_by_the_api(site: Site) -> None:
    """And again is 409."""
    await site.stage.rules(RULE)
    await site.stage.fires(app="web")
    run = (await site.stage.run())["id"]
    assert (await site.api("POST", f"/runs/{run}/cancel", json={"reason": "x", "author": "ann"}))[0] == 200
    await site.stage.settle()
    assert (await site.stage.run())["because"] == "ann: x"
    assert (await site.api("POST", f"/runs/{run}/cancel", json={}))[0] == 409
    assert (await site.api("POST", f"/runs/{run}/resolve", json={"as": "odd"}))[0] == 400


async def test_rules_alerts_and_events_are_listed(site: Site) -> None:
    """What is in force, what fires, what has happened."""
    await site.stage.rules(RULE)
    await site.stage.fires(app="web")
    assert (await site.api("GET", "/rules"))[1]["rules"][0]["match"] == ['alertname="Down"']
    assert (await site.api("GET", "/alerts?alertname=Down"))[1]["alerts"][0]["labels"]["app"] == "web"
    events = (await site.api("GET", "/events?limit=1"))[1]
    assert (events["events"][0]["kind"], events["next"]) == ("rules.loaded", 1)


async def test_what_comes_later_says_so(site: Site) -> None:
    """Nothing is silently missing."""
    assert (await site.api("GET", "/openapi.json"))[0] == 501


async def test_a_report_is_given_as_json_text_or_markdown(site: Site) -> None:
    """Of the last day, unless asked otherwise; escapes of a terminal are shown as they are written."""
    await site.stage.rules(RULE.replace("    for: 5m\n", "").replace("Slow", "Down"))
    await site.stage.fires(app="web")
    await site.stage.fires(app="\x9b2J")  # refused: no target has a control character
    status, report = await site.api("GET", "/report")
    assert (status, report["numbers"]["refused"], report["acted"]["entries"][0]["verdict"]) == (200, 1, "done")
    site.stage.clock.time += 7200
    assert (await site.api("GET", "/report?since=1h"))[1]["numbers"]["runs"] == 0
    assert (await site.api("GET", "/report?since=3h"))[1]["numbers"]["runs"] == 2
    for form, kind in (("text", "text/plain"), ("markdown", "text/markdown")):
        headers = {"Authorization": "Bearer local-token"}
        response = await site.client.get(f"/api/v1/report?format={form}", headers=headers)
        told = await response.text()
        assert (response.status, response.content_type) == (200, kind)
        assert "mend on t/web" in told
        assert "x9b2J" in told
        assert "\x9b" not in told
    for query in ("since=yesterday", "format=pdf"):
        assert (await site.api("GET", f"/report?{query}"))[0] == 400


async def test_explain_gives_the_matcher_or_guard_that_stops_an_alert_and_the_plan(site: Site) -> None:
    """With the books' real figures; nothing is kept of it."""
    await site.stage.rules(RULE)
    raw = json.dumps(
        {
            "alerts": [
                {"status": "firing", "labels": {"alertname": "Down", "app": "web"}},
                {"status": "firing", "labels": {"alertname": "Up"}},
                {"status": "firing", "labels": {"alertname": "Down"}},
                {"status": "resolved", "labels": {"alertname": "Down", "app": "web"}},
            ]
        }
    )
    _, told = await site.api("POST", "/explain", data=raw)
    stopped, unmatched, faulty, resolved = (alert["rules"][0] for alert in told["alerts"])
    assert (stopped["matches"], stopped["outcome"], stopped["reason"]) == (True, "blocked", "only_firing")
    assert (stopped["target"], stopped["plan"][0]["says"]) == ("t/web", "test.write web")
    assert (unmatched["matches"], unmatched["because"]) == (
        False, "alertname=\"Down\" does not match: alertname is 'Up'",
    )  # fmt: skip
    assert (faulty["outcome"], faulty["reason"]) == ("blocked", "template_error")
    assert resolved["because"] == "the alert is resolved: nothing begins"
    await site.stage.fires("Slow")
    await site.api("POST", "/controls", json={"kind": "pause", "reason": "deploy", "author": "ann", "target": "t/web"})
    _, told = await site.api("POST", "/explain", data=raw)
    assert [told["alerts"][0]["rules"][0][key] for key in ("outcome", "reason", "because")] == [
        "waiting", "paused", "paused by ann: deploy",
    ]  # fmt: skip
    await site.api("POST", "/controls", json={"kind": "resume", "target": "t/web"})
    _, told = await site.api("POST", "/explain", data=raw)
    assert told["alerts"][0]["rules"][0]["outcome"] == "admitted"
    assert await site.stage.runs() == []
    await site.stage.fires(app="web")
    _, told = await site.api("POST", "/explain", data=raw)
    assert told["alerts"][0]["rules"][0]["because"] == "this episode was taken up before: a repeat begins nothing"


async def test_explain_knows_an_episode_that_is_over(site: Site) -> None:
    """A body that comes late, or is posted again, begins nothing; what began since then does."""
    await site.stage.rules(RULE)
    began = format_rfc3339(site.stage.clock.now())
    await site.stage.fires(app="web")
    await site.stage.passes(60)
    await site.stage.resolves(app="web")
    await site.stage.passes(60)
    for starts_at, told in (
        (began, "this episode is over"),
        (format_rfc3339(site.stage.clock.now()), "no alert that matches"),
    ):
        alert = {"status": "firing", "labels": {"alertname": "Down", "app": "web"}, "startsAt": starts_at}
        _, explained = await site.api("POST", "/explain", data=json.dumps({"alerts": [alert]}))
        assert told in explained["alerts"][0]["rules"][0]["because"]


async def test_notices_are_listed_only_where_they_are_asked_for(site: Site) -> None:
    """They are runs like others, and would bury them."""
    from remediator.engine.noticing import Notice
    from remediator.rules.compile import check_rule

    steps = [{"uses": "test.notify", "with": {"says": "{{ notice.text }}"}}]
    definition = {"name": "notices", "summary": "x", "match": "all", "target": "notices", "steps": steps, "vars": {}}
    await site.stage.rules("rules: []", notices=check_rule(definition, site.stage.catalog, None)[0])
    await site.stage.engine.say(Notice("pause", "paused"))
    await site.stage.settle()
    assert (await site.api("GET", "/runs"))[1]["runs"] == []
    (only,) = (await site.api("GET", "/runs?rule=notices"))[1]["runs"]
    assert (only["state"], only["origin"]) == ("succeeded", "notice")
