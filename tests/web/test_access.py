"""Who may do what: tokens and roles, a trusted proxy, approvals (P12), and what of confidential runs viewers see."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from multidict import CIMultiDict

from remediator.errors import InvalidRules

if TYPE_CHECKING:
    from conftest import Site

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    facts: [{id: release, uses: test.probe}]
    target: 't/{{ labels.app }}'
    mode: approve
    approval: {timeout: 15m}
    guard: {cooldown: 0s}
    steps: [{uses: test.write, with: {says: '{{ labels.app }} {{ facts.release.n }}'}}]
"""
NOBODY = {"Authorization": ""}
PROXY = {"header": "X-Forwarded-User", "addresses": ["127.0.0.0/8", "::1"]}


async def asking(site: Site, rule: str = RULE) -> dict[str, Any]:
    """Give a run that awaits approval."""
    site.stage.outcomes["test.probe"] = [{"n": 1}]
    await site.stage.rules(rule)
    await site.stage.fires(app="web")
    run = (await site.api("GET", "/runs"))[1]["runs"][0]
    assert run["state"] == "awaiting_approval"
    return run


async def approve(site: Site, run: dict[str, Any], by: str | None = None, **body: Any) -> tuple[int, str]:
    """Approve a run's plan, and give status and error code or state."""
    told = {"plan_hash": run["plan_hash"], **body}
    status, answer = await site.api("POST", f"/runs/{run['id']}/approve", by=by, json=told)
    await site.stage.settle()
    return status, answer["error"]["code"] if "error" in answer else answer["state"]


# -- who asks --


async def test_viewers_look_and_operators_act(site: Site) -> None:
    """Every path that is not a GET takes an operator; who is not known gets nowhere."""
    site.give_access(vic="viewer", olga="operator", ada="admin")
    for path in ("/runs", "/alerts", "/rules", "/events", "/controls"):
        assert [(await site.api("GET", path, by=who))[0] for who in ("vic", "olga", "ada", None)] == [200] * 4
        assert (await site.api("GET", path, by="eve"))[0] == 401
    for method, path in (
        ("POST", "/runs"), ("POST", "/runs/x/approve"), ("POST", "/runs/x/reject"), ("POST", "/runs/x/cancel"),
        ("POST", "/runs/x/resolve"), ("POST", "/controls"), ("DELETE", "/controls/x"), ("POST", "/explain"),
    ):  # fmt: skip
        status, told = await site.api(method, path, by="vic", json={})
        assert (status, told["error"]["code"]) == (403, "forbidden"), path
        assert "vic is a viewer" in told["error"]["message"]
        assert (await site.api(method, path, by="olga", json={}))[0] in (400, 404), path
        assert (await site.api(method, path, by="eve", json={}))[0] == 401, path


async def test_who_is_taken_out_of_the_configuration_is_out_at_once(site: Site) -> None:
    """The access in force is that of the moment, not of the start."""
    site.give_access(vic="viewer")
    assert (await site.api("GET", "/runs", by="vic"))[0] == 200
    site.give_access()
    status, told = await site.api("GET", "/runs", by="vic")
    assert (status, "not known here" in told["error"]["message"]) == (401, True)


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer ", "Basic dmljOnZpYydzIHRva2Vu", "Bearer \udcff", "vic's token", "Bearer vic"]
)
async def test_anything_else_proves_nothing(site: Site, shown: str) -> None:
    """Neither a name, nor another scheme, nor bytes that are no text."""
    site.give_access(vic="viewer")
    assert (await site.api("GET", "/runs", headers={"Authorization": shown}))[0] == 401


async def test_the_hash_of_a_token_is_no_token(site: Site) -> None:
    """Whoever reads the configuration can't come in by it."""
    site.give_access(ada="admin")
    shown = {"Authorization": f"Bearer {site.access.users['ada'].token}"}
    assert (await site.api("GET", "/runs", headers=shown))[0] == 401


async def test_a_proxy_is_believed_from_its_addresses_only(site: Site) -> None:
    """It names the person; somebody under `users` has the role given there, others the proxy's."""
    site.give_access({**PROXY, "role": "viewer"}, olga="operator")
    named = {**NOBODY, "X-Forwarded-User": "zoe@example.com"}
    assert (await site.api("GET", "/runs", headers=named))[0] == 200
    assert (await site.api("POST", "/controls", headers=named, json={}))[0] == 403
    laid = {"kind": "pause", "reason": "x"}
    status, control = await site.api("POST", "/controls", headers={**NOBODY, "X-Forwarded-User": "olga"}, json=laid)
    assert (status, control["author"]) == (200, "olga")
    site.give_access({**PROXY, "addresses": ["10.0.0.0/8"]}, olga="operator")
    status, told = await site.api("GET", "/runs", headers={**NOBODY, "X-Forwarded-User": "olga"})
    assert (status, "not believed from 127.0.0.1" in told["error"]["message"]) == (401, True)


@pytest.mark.parametrize("name", ["local", "remediator", "", " ", "olga\x85"])
async def test_a_proxy_can_not_name_whom_nobody_can_be(site: Site, name: str) -> None:
    """The daemon's own names least of all."""
    site.give_access(PROXY)
    assert (await site.api("GET", "/runs", headers={**NOBODY, "X-Forwarded-User": name}))[0] == 401


async def test_a_header_that_was_smuggled_past_the_proxy_is_not_believed(site: Site) -> None:
    """Two names: one of them is not the proxy's."""
    site.give_access(PROXY, olga="operator", ada="admin")
    two = CIMultiDict([("X-Forwarded-User", "ada"), ("X-Forwarded-User", "olga")])
    response = await site.client.get("/api/v1/runs", headers=two)
    assert (response.status, "2 times" in await response.text()) == (401, True)


async def test_no_header_is_believed_without_a_proxy(site: Site) -> None:
    """Only what the configuration names."""
    site.give_access(olga="operator")
    assert (await site.api("GET", "/runs", headers={**NOBODY, "X-Forwarded-User": "olga"}))[0] == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://remediator.example.com"}, 200),
    ],
)
async def test_p12_a_page_of_another_site_can_not_make_a_browser_act(
    site: Site, headers: dict[str, str], status: int
) -> None:
    """A proxy would take what the browser sends for the person's own will; looking is left alone."""
    site.give_access({**PROXY, "role": "operator"})
    await site.stage.rules(RULE, public_url="https://remediator.example.com")
    named = {**NOBODY, "X-Forwarded-User": "olga", **headers}
    laid = json.dumps({"kind": "pause", "reason": "x"})
    assert (await site.api("POST", "/controls", headers=named, data=laid))[0] == status
    assert (await site.api("GET", "/runs", headers=named))[0] == 200


# -- in whose name --


async def test_an_author_is_only_believed_from_the_local_token(site: Site) -> None:
    """What somebody else writes there is a forgery, and not recorded."""
    site.give_access(olga="operator")
    laid = {"kind": "pause", "reason": "x", "author": "root"}
    assert (await site.api("POST", "/controls", json=laid))[1]["author"] == "root"
    assert (await site.api("POST", "/controls", json={"kind": "pause", "reason": "x"}))[1]["author"] == "local"
    control = (await site.api("POST", "/controls", by="olga", json=laid))[1]
    assert control["author"] == "olga"
    lifted = (await site.api("DELETE", f"/controls/{control['id']}?author=root&reason=done", by="olga"))[1]
    assert lifted["lifted_by"] == "olga"


async def test_p12_nobody_approves_in_another_name(site: Site) -> None:
    """Not even the holder of the local token."""
    run = await asking(site)
    assert await approve(site, run, author="ann") == (200, "awaiting_approval")
    laid = [each for each in await events(site, run) if each["kind"] == "control.laid"]
    assert [(each["data"]["kind"], each["data"]["author"]) for each in laid] == [("approve", "local")]


async def events(site: Site, run: dict[str, Any], by: str | None = None) -> list[dict[str, Any]]:
    return (await site.api("GET", f"/events?run={run['id']}&limit=1000", by=by))[1]["events"]


# -- approvals --


async def test_a_run_that_asks_says_what_and_whom(site: Site) -> None:
    """All that somebody needs who is asked."""
    run = await asking(site, RULE.replace("timeout: 15m", "timeout: 15m, approvers: [ann, bob], quorum: 2"))
    site.give_access(ann="operator")
    until = run["approval"].pop("until")
    assert run["approval"] == {
        "asked_at": run["created_at"], "quorum": 2, "approvers": ["ann", "bob"], "given": [],
    }  # fmt: skip
    assert until == run["ask_until"]
    assert run["plan"][0]["says"] == "test.write web 1"
    assert await approve(site, run, "ann") == (200, "awaiting_approval")
    assert (await site.stage.states()) == [("awaiting_approval", "approval")]
    assert (await site.api("GET", f"/runs/{run['id']}"))[1]["approval"]["given"] == ["ann"]


async def test_a_run_whose_rule_can_not_be_used_any_more_is_listed_and_approved_by_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whom it asks is not known: no list of runs fails for that, and nothing is let go on."""
    run = await asking(site)

    async def gone(*_: object) -> None:
        raise InvalidRules("an action is no longer installed")

    monkeypatch.setattr(site.stage.engine.desk, "rule_of", gone)
    listed = (await site.api("GET", "/runs"))[1]["runs"]
    assert [(each["id"], each["approval"]["approvers"]) for each in listed] == [(run["id"], None)]
    assert await approve(site, run) == (409, "impossible")


async def test_p12_an_approval_is_for_the_plan_that_was_shown(site: Site) -> None:
    """Without its hash, or with another, nothing is approved."""
    run = await asking(site)
    assert await approve(site, run, plan_hash=None) == (400, "bad_request")
    assert await approve(site, run, plan_hash="0" * 64) == (409, "impossible")
    assert site.stage.used("test.write") == 0
    assert (await approve(site, run))[0] == 200
    assert site.stage.calls[-1] == ("test.write", "web 1")
    assert await site.stage.states() == [("succeeded", None)]


async def test_p12_a_plan_that_has_changed_since_is_asked_about_again(site: Site) -> None:
    """And the old hash, sent again, approves nothing."""
    run = await asking(site)
    site.stage.outcomes["test.probe"] = [{"n": 2}]
    assert (await approve(site, run))[0] == 200
    assert await site.stage.states() == [("awaiting_approval", "approval")]
    assert await approve(site, run) == (409, "impossible")
    (again,) = (await site.api("GET", "/runs"))[1]["runs"]
    assert again["approval"]["given"] == []
    assert (await approve(site, again))[0] == 200
    assert [call for call in site.stage.calls if call[0] == "test.write"] == [("test.write", "web 2")]


async def test_p12_only_who_is_named_may_approve_or_reject(site: Site) -> None:
    """An operator who is not among the approvers is told who is; neither the local token nor an admin's stands above."""
    run = await asking(site, RULE.replace("timeout: 15m", "approvers: [ann]"))
    site.give_access(ann="operator", olga="operator", ada="admin")
    for who in ("olga", "ada", None):
        assert await approve(site, run, who) == (409, "impossible")
        status, told = await site.api("POST", f"/runs/{run['id']}/reject", by=who, json={"reason": "no"})
        assert (status, "one of ann has to answer" in told["error"]["message"]) == (409, True)
    assert (await approve(site, run, "ann"))[0] == 200
    assert await site.stage.states() == [("succeeded", None)]


async def test_p12_an_approver_who_is_a_viewer_approves_nothing(site: Site) -> None:
    """Being asked gives no role."""
    run = await asking(site, RULE.replace("timeout: 15m", "approvers: [vic]"))
    site.give_access(vic="viewer")
    assert await approve(site, run, "vic") == (403, "forbidden")
    assert await site.stage.states() == [("awaiting_approval", "approval")]


async def test_p12_two_are_two_people(site: Site) -> None:
    """The same person a second time is not a second person."""
    run = await asking(site, RULE.replace("timeout: 15m", "quorum: 2"))
    site.give_access(ann="operator", bob="operator")
    assert await approve(site, run, "ann") == (200, "awaiting_approval")
    assert await approve(site, run, "ann") == (409, "impossible")
    assert await site.stage.states() == [("awaiting_approval", "approval")]
    assert (await approve(site, run, "bob"))[0] == 200
    assert await site.stage.states() == [("succeeded", None)]


async def test_p12_an_approval_is_used_once(site: Site) -> None:
    """Sent again when the run is at work, and when it has ended, it does nothing."""
    site.stage.blocked["test.write"] = asyncio.Event()
    run = await asking(site)
    assert (await approve(site, run))[0] == 200
    assert await site.stage.states() == [("running", None)]
    assert await approve(site, run) == (409, "impossible")
    site.stage.blocked.pop("test.write").set()
    await site.stage.settle()
    assert await approve(site, run) == (409, "impossible")
    assert site.stage.used("test.write") == 1


async def test_p12_one_run_s_approval_is_not_another_s(site: Site) -> None:
    """Not even where both have the same plan."""
    same = RULE.replace("{{ labels.app }} {{ facts", "x {{ facts").replace("labels.app }}'", "labels.app }}'", 1)
    run = await asking(site, same)
    await site.stage.fires(app="db")
    db, web = (await site.api("GET", "/runs"))[1]["runs"]
    assert (db["plan_hash"], db["id"] != web["id"]) == (web["plan_hash"], True)
    assert (await approve(site, run))[0] == 200
    states = {each["target"]: each["state"] for each in await site.stage.runs()}
    assert states == {"t/web": "succeeded", "t/db": "awaiting_approval"}


async def test_p12_after_its_time_nothing_is_approved(site: Site) -> None:
    """And the run has ended."""
    run = await asking(site)
    await site.stage.passes(901)
    assert await site.stage.states() == [("cancelled", "expired")]
    assert await approve(site, run) == (409, "impossible")
    assert site.stage.used("test.write") == 0


async def test_p12_nothing_is_approved_by_get(site: Site) -> None:
    """A link in a mail that a scanner follows does nothing."""
    run = await asking(site)
    query = f"plan_hash={run['plan_hash']}"
    for path in (f"/runs/{run['id']}/approve?{query}", f"/runs/{run['id']}/reject?reason=x", "/controls/x"):
        for method in ("GET", "HEAD"):
            response = await site.client.request(
                method, f"/api/v1{path}", headers={"Authorization": "Bearer local-token"}
            )
            assert response.status == 405
    assert await approve(site, {"id": run["id"], "plan_hash": ""}) == (400, "bad_request")
    assert await site.stage.states() == [("awaiting_approval", "approval")]


async def test_a_pause_takes_nobody_s_time_to_answer(site: Site) -> None:
    """What is approved under it begins when it is lifted, and else the time goes on from where it was."""
    run = await asking(site)
    await site.stage.fires(app="db")
    await site.stage.passes(600)
    await site.api("POST", "/controls", json={"kind": "pause", "reason": "deploy"})
    await site.stage.passes(3600)
    assert (await approve(site, run))[0] == 200
    assert site.stage.used("test.write") == 0
    await site.api("POST", "/controls", json={"kind": "resume"})
    await site.stage.passes(290)
    assert await site.stage.states() == [("succeeded", None), ("awaiting_approval", "approval")]
    await site.stage.passes(20)
    assert await site.stage.states() == [("succeeded", None), ("cancelled", "expired")]


async def test_reject_ends_a_run_with_who_and_why(site: Site) -> None:
    """One no is enough, and it needs a reason."""
    run = await asking(site, RULE.replace("timeout: 15m", "quorum: 2"))
    site.give_access(ann="operator", bob="operator")
    assert (await approve(site, run, "ann"))[0] == 200
    assert (await site.api("POST", f"/runs/{run['id']}/reject", by="bob", json={}))[0] == 400
    assert (await site.api("POST", f"/runs/{run['id']}/reject", by="bob", json={"reason": "not now"}))[0] == 200
    await site.stage.settle()
    ended = await site.stage.run()
    assert (ended["state"], ended["reason"], ended["because"]) == ("cancelled", "rejected", "rejected by bob: not now")


# -- runs by hand --

HAND = RULE.replace("mode: approve", "mode: auto")


async def test_a_run_by_hand_goes_through_the_same_guards(site: Site) -> None:
    """201 with the run; by whom and why is in the history."""
    site.stage.outcomes["test.probe"] = [{"n": 1}]
    await site.stage.rules(HAND.replace("cooldown: 0s", "cooldown: 1h"))
    site.give_access(olga="operator")
    told = {"rule": "mend", "labels": {"app": "web"}, "reason": "it looks ill"}
    status, run = await site.api("POST", "/runs", by="olga", json=told)
    assert (status, run["origin"], run["drill"], run["target"]) == (201, "hand", False, "t/web")
    await site.stage.settle()
    assert (await site.api("POST", "/runs", by="olga", json=told))[0] == 201
    await site.stage.settle()
    assert await site.stage.states() == [("succeeded", None), ("blocked", "cooldown")]
    proposed = (await events(site, run))[0]["data"]
    assert (proposed["author"], proposed["given_reason"]) == ("olga", "it looks ill")


async def test_a_drill_is_marked_and_needs_no_reason(site: Site) -> None:
    """In books of its own."""
    site.stage.outcomes["test.probe"] = [{"n": 1}]
    await site.stage.rules(HAND)
    status, run = await site.api("POST", "/runs", json={"rule": "mend", "labels": {"app": "web"}, "drill": True})
    assert (status, run["drill"]) == (201, True)


@pytest.mark.parametrize(
    ("told", "status", "words"),
    [
        ({"reason": "x"}, 400, "which rule"),
        ({"rule": "mend"}, 400, "needs a reason"),
        ({"rule": "mnd", "reason": "x"}, 404, "did you mean `mend`?"),
        ({"rule": "mend", "reason": "x", "labels": []}, 400, "labels is a mapping"),
        ({"rule": "mend", "reason": "x", "labels": {"a": 1}}, 400, "labels is a mapping"),
        ({"rule": "mend", "reason": "x", "labels": {"": "b"}}, 400, "without a name"),
        ({"rule": "mend", "reason": "x", "labels": {"a": "\0"}}, 400, "NUL"),
        ({"rule": "mend", "reason": "x\0"}, 400, "NUL"),
        ({"rule": "mend", "reason": "x", "drill": "yes"}, 400, "true or false"),
        ({"rule": "mend", "reason": "x", "labels": {"app": "busy"}}, 409, "is open already"),
    ],
)
async def test_a_run_by_hand_that_can_not_be_says_why(site: Site, told: object, status: int, words: str) -> None:
    """400 for what makes no sense, 404 for a rule that is not there, 409 where nothing is proposed."""
    site.stage.outcomes["test.probe"] = [{"n": 1}]
    await site.stage.rules(HAND)
    site.stage.blocked["test.write"] = asyncio.Event()
    await site.stage.fires(app="busy")
    answered, answer = await site.api("POST", "/runs", json=told)
    assert (answered, words in answer["error"]["message"]) == (status, True), answer


async def test_a_rule_that_is_off_is_not_run_by_hand(site: Site) -> None:
    """`off` decides nothing, whoever asks."""
    await site.stage.rules(HAND.replace("mode: auto", "mode: 'off'"))
    status, told = await site.api("POST", "/runs", json={"rule": "mend", "reason": "x"})
    assert (status, told["error"]["code"]) == (409, "not_proposed")


# -- controls --


async def test_p7_a_mode_that_is_laid_holds_back_and_is_lifted_by_a_person(site: Site) -> None:
    """It only lowers; each control has an id by which it is lifted."""
    site.stage.outcomes["test.probe"] = [{"n": 1}]
    await site.stage.rules(HAND)
    laid = {"kind": "mode", "mode": "dry-run", "rule": "mend", "reason": "watch it first"}
    status, control = await site.api("POST", "/controls", json=laid)
    assert (status, control["mode"], control["until"]) == (200, "dry-run", None)
    await site.stage.fires(app="web")
    assert await site.stage.states() == [("planned", None)]
    status, lifted = await site.api("DELETE", f"/controls/{control['id']}?reason=fine")
    assert (status, lifted["lifted_by"]) == (200, "local")
    assert (await site.api("DELETE", f"/controls/{control['id']}"))[0] == 404
    await site.stage.fires(app="db")
    assert await site.stage.states() == [("planned", None), ("succeeded", None)]


@pytest.mark.parametrize(
    "told",
    [
        {"mode": "dry-run"},
        {"reason": "x"},
        {"mode": "lower", "reason": "x"},
        {"mode": ["off"], "reason": "x"},
        {"mode": "off", "reason": "x", "for": "long"},
    ],
)
async def test_a_mode_needs_a_word_and_a_reason(site: Site, told: dict[str, Any]) -> None:
    """400 else."""
    assert (await site.api("POST", "/controls", json={"kind": "mode", **told}))[0] == 400


async def test_p7_a_person_closes_a_breaker_that_the_daemon_has_opened(site: Site) -> None:
    """By its id; `resume` lifts pauses alone."""
    from remediator.actions.protocol import Outcome, Result

    rule = HAND.replace("cooldown: 0s", "cooldown: 0s, breaker: {failures: 1, per: 1h, reset: manual}")
    site.stage.outcomes["test.probe"] = [{"n": 1}]
    site.stage.outcomes["test.write"] = [Outcome(Result.ERROR, error="no"), {}]
    await site.stage.rules(rule)
    await site.stage.fires(app="web")
    (breaker,) = (await site.api("GET", "/controls"))[1]["controls"]
    assert (breaker["kind"], breaker["author"]) == ("breaker", "remediator")
    assert (await site.api("POST", "/controls", json={"kind": "resume"}))[1] == {"lifted": []}
    await site.stage.fires(app="db")
    assert (await site.api("DELETE", f"/controls/{breaker['id']}?reason=looked&author=ann"))[1]["lifted_by"] == "ann"
    await site.stage.fires(app="cache")
    assert await site.stage.states() == [("failed", "step"), ("blocked", "breaker"), ("succeeded", None)]


async def test_a_rule_s_modes_are_given_as_they_were_written(site: Site) -> None:
    """A word, or the list."""
    listed = "[{during: night, mode: auto}, {mode: approve}]"
    await site.stage.rules(HAND + HAND.replace("rules:", "").replace("mend", "by-night").replace("auto", listed))
    modes = [rule["mode"] for rule in (await site.api("GET", "/rules"))[1]["rules"]]
    assert modes == ["auto", [{"during": "night", "mode": "auto"}, {"mode": "approve"}]]


# -- confidential runs --

SECRET = (
    HAND.replace("summary:", "confidential: true\n    summary:").replace("mend", "secret-mend").replace("'t/", "'s/")
)
VISIBLE = {"id", "rule", "priority", "state", "created_at", "started_at", "ended_at", "confidential"}


async def confidential_run(site: Site, rules: str = HAND + SECRET.replace("rules:", "")) -> dict[str, Any]:
    """Give a run of a confidential rule as the holder of the local token sees it."""
    site.give_access(vic="viewer", olga="operator")
    site.stage.outcomes["test.probe"] = [{"n": 1}]
    site.stage.outcomes["test.write"] = [{"told": "quiet-place"}]
    await site.stage.rules(rules)
    await site.stage.fires(app="quiet-place")
    runs = (await site.api("GET", "/runs"))[1]["runs"]
    return next(run for run in runs if run["rule"] == "secret-mend")


async def test_viewers_see_of_a_confidential_run_that_it_was_and_no_more(site: Site) -> None:
    """Neither labels nor plan nor target; operators see all, and viewers all of other runs."""
    run = await confidential_run(site)
    status, seen = await site.api("GET", f"/runs/{run['id']}", by="vic")
    assert (status, seen.keys()) == (200, run.keys())
    assert {key for key, value in seen.items() if value not in (None, [])} == VISIBLE
    assert {key: seen[key] for key in VISIBLE - {"confidential"}} == {
        key: run[key] for key in VISIBLE - {"confidential"}
    }
    listed = (await site.api("GET", "/runs", by="vic"))[1]["runs"]
    assert [each for each in listed if each["id"] == run["id"]] == [seen]
    (other,) = (each for each in listed if each["id"] != run["id"])
    assert (other["rule"], other["target"], other["confidential"]) == ("mend", "t/quiet-place", False)
    assert (await site.api("GET", f"/runs/{run['id']}", by="olga"))[1] == run


async def test_viewers_see_nothing_of_it_in_history_either(site: Site) -> None:
    """Not by guessing and proving with the chain's hashes, too."""
    run = await confidential_run(site)
    told = await events(site, run, "vic")
    assert {each["kind"] for each in told} >= {"run.proposed", "run.moved", "step.started", "step.ended"}
    assert "quiet-place" not in json.dumps(told)
    assert run["plan_hash"] not in json.dumps(told)
    everything = (await site.api("GET", "/events?limit=1000", by="vic"))[1]["events"]
    assert {each["hash"] for each in everything} == {None}
    assert "t/quiet-place" in json.dumps([each for each in everything if each["run"] != run["id"]])
    assert "s/quiet-place" in json.dumps(await events(site, run, "olga"))
    assert all(each["hash"] for each in await events(site, run, "olga"))


@pytest.mark.parametrize(
    "later",
    [HAND, HAND + SECRET.replace("rules:", "").replace("confidential: true", "confidential: false")],
    ids=["rule gone", "not confidential any more"],
)
async def test_a_run_that_began_confidential_stays_so(site: Site, later: str) -> None:
    """Its rule is kept with it."""
    run = await confidential_run(site)
    await site.stage.rules(later)
    assert (await site.api("GET", f"/runs/{run['id']}", by="vic"))[1]["target"] is None


async def test_a_rule_that_becomes_confidential_hides_its_older_runs(site: Site) -> None:
    """Whoever writes that means the past as well."""
    open_ = HAND + SECRET.replace("rules:", "").replace("confidential: true", "confidential: false")
    run = await confidential_run(site, open_)
    assert (await site.api("GET", f"/runs/{run['id']}", by="vic"))[1] == run
    await site.stage.rules(HAND + SECRET.replace("rules:", ""))
    assert (await site.api("GET", f"/runs/{run['id']}", by="vic"))[1]["target"] is None


async def test_a_run_whose_rule_can_not_be_known_is_confidential(site: Site) -> None:
    """Fail closed."""
    run = await confidential_run(site, HAND + SECRET.replace("rules:", "").replace("confidential: true", "owner: ann"))
    await site.stage.rules(HAND)
    assert (await site.api("GET", f"/runs/{run['id']}", by="vic"))[1] == run
    site.stage.engine.desk._confidential.clear()
    await site.stage.store.transact(forget_rules)
    assert (await site.api("GET", f"/runs/{run['id']}", by="vic"))[1]["target"] is None


async def forget_rules(tx: Any) -> None:
    """Lose what the store keeps of rules."""
    tx.connection.execute("DELETE FROM rules")
