"""`slack.*` against the fake, and what they send against Slack's published contract."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from fakes.fake import Fault
from fakes.slack import CHANNEL, TOKEN, TS, FakeSlack
from jsonschema import Draft4Validator
from pydantic import ValidationError

from remediator.actions.protocol import Action, Outcome, Result
from remediator.actions.slack import PostParameters, SlackPost, SlackUpdate, UpdateParameters
from remediator.rules.parameters import ParameterTemplates
from remediator.rules.pieces import UnsafeValue

SPECS = Path(__file__).resolve().parents[2] / ".." / "shared" / "specs"
SECRETS = {"token": TOKEN}


@pytest.fixture
async def fake() -> AsyncIterator[FakeSlack]:
    """Start a fake."""
    async with FakeSlack() as made:
        yield made  # type: ignore[misc]


def sections(url: str, channel: str | None = None) -> dict[str, Any]:
    """Give the configuration that leads to a URL."""
    return {"slack": {"token": {"secret": "token"}, "url": url, "channel": channel}}


@pytest.fixture
def use(context, fake):
    """Use an action against the fake."""

    async def go(
        action: Action[Any], secrets: dict[str, str] = SECRETS, default: str | None = None, **given: Any
    ) -> Outcome:
        made = context(sections(fake.url, default), secrets)
        return await action.run(action.parameters.model_validate(given), made)

    return go


def form_of(fake: FakeSlack) -> dict[str, str]:
    """Give the form that came last."""
    return {name: value for name, (value,) in parse_qs(fake.seen[-1].body, strict_parsing=True).items()}


async def test_one_message_is_kept_up_to_date(use, fake) -> None:
    """A post tells what an update needs."""
    posted = await use(SlackPost(), channel="#ops", text="Rolling back web")
    assert posted.kind is Result.OK
    assert posted.result["channel"] == CHANNEL
    count = len(fake.messages)
    updated = await use(SlackUpdate(), **posted.result, text="web is well again")
    assert (updated.kind, updated.result) == (Result.OK, posted.result)
    assert len(fake.messages) == count
    assert fake.messages[CHANNEL, posted.result["ts"]]["text"] == "web is well again"


async def test_a_reply_goes_into_its_thread(use, fake) -> None:
    """Where there is none to reply to, Slack refuses."""
    assert (await use(SlackPost(), channel=CHANNEL, text="More", thread_ts=TS)).ok
    assert form_of(fake)["thread_ts"] == TS
    lost = await use(SlackPost(), channel=CHANNEL, text="More", thread_ts="1.1")
    assert (lost.kind, lost.error) == (Result.REFUSED, f"Slack refused to post to {CHANNEL}: thread_not_found")


async def test_the_configurations_channel_is_the_default(use, fake) -> None:
    """The rule's own goes before it; one of the two has to be there."""
    await use(SlackPost(), default="#web", text="x")
    await use(SlackPost(), default="#web", channel="#ops", text="x")
    assert [parse_qs(seen.body)["channel"] for seen in fake.seen] == [["#web"], ["#ops"]]
    neither = await use(SlackPost(), text="x")
    assert neither.kind is Result.NOT_SENT
    assert "slack.channel" in neither.error
    assert len(fake.seen) == 2
    check = SlackPost().check
    assert "slack.channel" in (check(PostParameters(text="x"), sections("x")) or "")
    assert check(PostParameters(text="x"), sections("x", "#web")) is None
    assert check(PostParameters(text="x", channel="#ops"), sections("x")) is None


@pytest.mark.parametrize("action", [SlackPost(), SlackUpdate()])
async def test_p10_a_text_is_only_read(use, fake, action: Action[Any]) -> None:
    """Nothing in it mentions, links, or is markup: escaped, and in a block of plain text."""
    hostile = "<!channel> <@U012> @here <https://evil.example|x> &lt;!here&gt; *b* _i_ `c` #general :fire:"
    given = {"channel": CHANNEL, "text": hostile, **({"ts": TS} if action.name == "slack.update" else {})}
    assert (await use(action, **given)).ok
    form = form_of(fake)
    escaped = hostile.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    (block,) = json.loads(form["blocks"])
    assert block == {"type": "section", "text": {"type": "plain_text", "text": escaped, "emoji": False}}
    assert (form["text"], form["parse"], form["link_names"]) == (escaped, "none", "false")
    if action.name == "slack.post":
        assert (form["mrkdwn"], form["unfurl_links"], form["unfurl_media"]) == ("false", "false", "false")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x" * 3000, "x" * 3000),
        ("x" * 3001, "x" * 2999 + "…"),
        ("&" * 600, "&amp;" * 600),
        ("&" * 601, "&amp;" * 599 + "…"),
        ("x" + "<" * 750, "x" + "&lt;" * 749 + "…"),
        ("x;" * 2000, "x;" * 1499 + "x…"),
    ],
)
async def test_a_long_text_is_cut_with_a_mark(use, fake, text: str, shown: str) -> None:
    """To what a block may have, and never inside of what stands for one character."""
    assert (await use(SlackPost(), channel="#ops", text=text)).ok
    assert form_of(fake)["text"] == shown
    assert len(shown) <= 3000


@pytest.mark.parametrize(
    ("word", "kind", "words"),
    [
        ("invalid_auth", Result.REFUSED, "slack.token"),
        ("token_revoked", Result.REFUSED, "slack.token"),
        ("missing_scope", Result.REFUSED, "chat:write"),
        ("channel_not_found", Result.REFUSED, "is the name right"),
        ("not_in_channel", Result.REFUSED, "invite the app"),
        ("something_new", Result.REFUSED, "something_new"),
        ("ratelimited", Result.NOT_SENT, "less often"),
        ("rate_limited", Result.NOT_SENT, "less often"),
        ("internal_error", Result.ERROR, "look at the channel"),
        ("fatal_error", Result.ERROR, "look at the channel"),
        ("service_unavailable", Result.ERROR, "look at the channel"),
    ],
)
async def test_an_error_of_slacks_is_sorted_by_what_it_leaves_to_do(use, fake, word, kind, words) -> None:
    """All of them have status 200."""
    fake.saying = word
    outcome = await use(SlackPost(), channel="#ops", text="x")
    assert outcome.kind is kind
    assert word in outcome.error
    assert words in outcome.error
    assert len(fake.seen) == 1


async def test_too_often_waits_as_long_as_slack_says(use, fake) -> None:
    """The one refusal that has a status of its own."""
    fake.faults.append(Fault("status", 429))
    outcome = await use(SlackPost(), channel="#ops", text="x")
    assert (outcome.kind, outcome.retry_after) == (Result.NOT_SENT, 7.0)
    assert "ratelimited" in outcome.error


async def test_refusals_of_the_fakes_own(use, fake) -> None:
    """A wrong token, a channel that is none, one that the app is not in, a message that is gone."""
    wrong = await use(SlackPost(), {"token": "xoxb-other"}, channel="#ops", text="x")
    nowhere = await use(SlackPost(), channel="#nowhere", text="x")
    outside = await use(SlackPost(), channel="#private", text="x")
    gone = await use(SlackUpdate(), channel=CHANNEL, ts="1.2", text="x")
    assert {each.kind for each in (wrong, nowhere, outside, gone)} == {Result.REFUSED}
    assert "invalid_auth" in wrong.error
    assert "channel_not_found" in nowhere.error
    assert "not_in_channel" in outside.error
    assert "has somebody deleted the message?" in gone.error


@pytest.mark.parametrize(
    "body",
    ["", "OK", "null", "[]", "{}", '{"ok": "true"}', '{"ok": true}', '{"ok": true, "channel": "C1", "ts": ""}',
     '{"ok": true, "channel": null, "ts": "1.1"}'],
)  # fmt: skip
async def test_an_answer_that_names_no_message_is_no_success(context, serve, body: str) -> None:
    """Whether it was posted nobody knows."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    made = context(sections(await serve(handler)), SECRETS)
    outcome = await SlackPost().run(PostParameters(channel="#ops", text="x"), made)
    assert outcome.kind is Result.ERROR


async def test_p9_the_token_is_told_to_nobody(context, serve) -> None:
    """Not even where a server repeats the request's header."""

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"ok": False, "error": request.headers["Authorization"]})

    made = context(sections(await serve(handler)), SECRETS)
    outcome = await SlackPost().run(PostParameters(channel="#ops", text="x"), made)
    assert "[secret token]" in outcome.error
    assert TOKEN not in f"{outcome}"


@pytest.mark.parametrize(
    "given",
    [
        {"channel": "ops"}, {"channel": "#"}, {"channel": "#Ops"}, {"channel": "#a b"}, {"channel": "@user"},
        {"channel": "C012/../x"}, {"channel": "<!channel>"}, {"thread_ts": "now"}, {"thread_ts": "1503435956"},
        {"text": ""}, {"blocks": "[]"}, {"username": "root"},
    ],
)  # fmt: skip
def test_what_slack_would_refuse_is_found_in_the_rule(given: dict[str, Any]) -> None:
    """By the grammar of channels and of times."""
    with pytest.raises(ValidationError):
        PostParameters.model_validate({"text": "x", **given})


@pytest.mark.parametrize("channel", ["#ops", "#übung-1", "#日本", "C0123456789", "G0123456789", "D0123456789"])
def test_channels_have_names_and_ids(channel: str) -> None:
    """Both are taken for a post."""
    assert PostParameters(channel=channel, text="x").channel == channel


def test_an_update_wants_the_id_of_a_channel() -> None:
    """Slack takes no name there."""
    with pytest.raises(ValidationError, match="the id of a channel"):
        UpdateParameters(channel="#ops", ts=TS, text="x")


def test_p10_a_label_names_a_channel_only_if_it_fits() -> None:
    """Else the decision fails."""
    templates = ParameterTemplates({"channel": "#{{ labels.x }}", "text": "x"}, PostParameters)
    assert templates.render({"labels": {"x": "team-a"}}).model_dump()["channel"] == "#team-a"
    with pytest.raises(UnsafeValue):
        templates.render({"labels": {"x": "ops,#general"}})


def test_only_an_update_may_be_repeated() -> None:
    """A second post is a second message."""
    assert not SlackPost().idempotent(PostParameters(text="x"))
    assert SlackUpdate().idempotent(UpdateParameters(channel=CHANNEL, ts=TS, text="x"))


def test_plans_are_one_line() -> None:
    """They quote what would be read."""
    assert SlackPost().plan(PostParameters(text="a\nb")) == "post to the default channel on Slack: a\\nb"
    reply = PostParameters(channel="#ops", text="x", thread_ts=TS)
    assert SlackPost().plan(reply) == f"post to #ops on Slack, in the thread of {TS}: x"
    update = UpdateParameters(channel=CHANNEL, ts=TS, text="x")
    assert SlackUpdate().plan(update) == f"change the message {TS} in {CHANNEL} on Slack to: x"


async def test_requests_and_answers_keep_to_the_published_contract(use, fake) -> None:
    """Every field is one that the method knows, of its type; the fake answers as Slack does."""
    file = SPECS / "slack_web.json"
    if not file.exists():
        pytest.skip("Slack's published contract slack_web.json is not beside the checkout")
    published = json.loads(file.read_text())
    posted = await use(SlackPost(), channel=CHANNEL, text="x", thread_ts=TS)
    await use(SlackUpdate(), **posted.result, text="y")
    for seen, answer in zip(fake.seen, fake.answers, strict=True):
        method = published["paths"][seen.path]["post"]
        assert seen.headers["content-type"].partition(";")[0] in method["consumes"]
        known = {each["name"]: each for each in method["parameters"] if each["in"] == "formData"}
        form = {name: value for name, (value,) in parse_qs(seen.body, strict_parsing=True).items()}
        assert set(form) <= set(known)
        assert {name for name, each in known.items() if each.get("required")} <= set(form)
        for name, value in form.items():
            assert known[name]["type"] == "string" or value in {"true", "false"}
        schema = method["responses"]["200"]["schema"]
        Draft4Validator({**schema, "definitions": published["definitions"]}).validate(answer)
