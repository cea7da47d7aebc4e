"""`alertmanager.alerts` against a server that speaks Alertmanager's API v2."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from remediator.actions.alertmanager import AlertmanagerAlerts, AlertsParameters, split_matchers
from remediator.actions.bounds import encoded_size
from remediator.actions.protocol import MAX_RESULT_BYTES, Outcome, Result


def alert(number: int, annotation: str = "x") -> dict[str, Any]:
    """Give one alert as the API words it, with all that it requires."""
    return {
        "fingerprint": f"{number:016x}",
        "labels": {"alertname": "Down", "n": str(number)},
        "annotations": {"summary": annotation},
        "receivers": [{"name": "web.hook"}],
        "startsAt": "2026-01-15T10:00:00.123Z",
        "updatedAt": "2026-01-15T10:01:00.000Z",
        "endsAt": "2026-01-15T10:05:00.000Z",
        "generatorURL": "http://prometheus/graph",
        "status": {"state": "suppressed", "silencedBy": ["s1"], "inhibitedBy": ["i1"], "mutedBy": []},
    }


@pytest.fixture
def alerts(context, serve):
    """Ask a server that gives one answer always; also gives what it was asked."""

    async def go(answer: object, match: object = '{a="b"}', status: int = 200) -> tuple[Outcome, list[Any]]:
        asked = []

        async def handler(request: web.Request) -> web.Response:
            asked.append((request.method, request.path, sorted(request.query.items())))
            text = answer if isinstance(answer, str) else json.dumps(answer)
            return web.Response(status=status, text=text, content_type="application/json")

        settings = {"alertmanager": {"url": await serve(handler) + "/am"}}
        params = AlertsParameters.model_validate({"match": match})
        return await AlertmanagerAlerts().run(params, context(settings)), asked

    return go


async def test_every_matcher_is_a_filter_of_its_own(alerts) -> None:
    """Silenced and inhibited alerts are asked for too: they fire."""
    _, asked = await alerts([], match=['{alertname="A, B", x=~"a&b|é"}', 'c!="d"'])
    states = [(state, "true") for state in ("active", "inhibited", "silenced", "unprocessed")]
    filters = [("filter", 'alertname="A, B"'), ("filter", 'c!="d"'), ("filter", 'x=~"a&b|é"')]
    assert asked == [("GET", "/am/api/v2/alerts", sorted(filters + states))]


async def test_an_alert_is_given_in_our_words(alerts) -> None:
    """With its state, and what silences or inhibits it."""
    outcome, _ = await alerts([alert(1)])
    assert outcome.kind is Result.OK
    assert outcome.result == {
        "alerts": [
            {
                "fingerprint": "0000000000000001",
                "labels": {"alertname": "Down", "n": "1"},
                "state": "suppressed",
                "annotations": {"summary": "x"},
                "starts_at": "2026-01-15T10:00:00.123Z",
                "ends_at": "2026-01-15T10:05:00.000Z",
                "silenced_by": ["s1"],
                "inhibited_by": ["i1"],
            }
        ],
        "count": 1,
    }


async def test_no_alert_is_an_answer(alerts) -> None:
    """None fires."""
    outcome, _ = await alerts([])
    assert (outcome.kind, outcome.result) == (Result.OK, {"alerts": [], "count": 0})


async def test_p5_many_alerts_keep_their_number_and_lose_their_words(alerts) -> None:
    """All are there, by fingerprint, labels and state."""
    outcome, _ = await alerts([alert(n, "long words " * 50) for n in range(300)])
    assert (outcome.kind, outcome.result["count"], len(outcome.result["alerts"])) == (Result.OK, 300, 300)
    assert set(outcome.result["alerts"][0]) == {"fingerprint", "labels", "state"}
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES


@pytest.mark.parametrize(("count", "words"), [(3_000, "never cut"), (30_000, "more than 8 MiB")])
async def test_p5_too_many_alerts_are_an_error_never_cut(alerts, count: int, words: str) -> None:
    """A population that doesn't fit is unknown."""
    outcome, _ = await alerts([alert(n) for n in range(count)])
    assert (outcome.kind, outcome.result) == (Result.ERROR, None)
    assert words in outcome.error


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("<html>", "what is no JSON"),
        ("[" * 100_000, "what is no JSON"),
        ("", "not in its own format"),
        ([{"labels": {}}], "not in its own format"),
        ({"status": "success"}, "not in its own format"),
    ],
)
async def test_anything_else_is_an_error(alerts, answer: object, words: str) -> None:
    """No data is not an empty list."""
    outcome, _ = await alerts(answer)
    assert (outcome.kind, outcome.result) == (Result.ERROR, None)
    assert words in outcome.error


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Result.REFUSED), (403, Result.REFUSED), (429, Result.NOT_SENT), (500, Result.ERROR), (302, Result.REFUSED)],
)
async def test_a_status_that_is_no_success_is_told_with_what_was_said(alerts, status: int, kind: Result) -> None:
    """With no escape sequence in it."""
    outcome, _ = await alerts('"bad matcher format: \x1b"', status=status)
    assert outcome.kind is kind
    assert f"Alertmanager answered GET /api/v2/alerts with {status}" in outcome.error
    assert "\\x1b" in outcome.error


async def test_without_an_address_nothing_is_sent(context) -> None:
    """The reason names the key."""
    outcome = await AlertmanagerAlerts().run(AlertsParameters(match='a="b"'), context())
    assert outcome.kind is Result.NOT_SENT
    assert "alertmanager.url is not set" in outcome.error


@pytest.mark.parametrize(
    ("text", "matchers"),
    [
        ('{a="b"}', ['a="b"']),
        (' { a = "b" , c =~ "d,e" , } ', ['a = "b"', 'c =~ "d,e"']),
        ('a="}",b="{"', ['a="}"', 'b="{"']),
        ('a="x\\",y",b=c', ['a="x\\",y"', "b=c"]),
        ('a="x\\\\",b=c', ['a="x\\\\"', "b=c"]),
        ('"host.name"="a,b"', ['"host.name"="a,b"']),
        ('a="line\nbreak, one",b=c', ['a="line\nbreak, one"', "b=c"]),
        ('a="never closed, b=c', ['a="never closed, b=c']),
        ("{}", []),
        (" , ", []),
    ],
)
def test_matchers_are_split_outside_quotes(text: str, matchers: list[str]) -> None:
    """As Alertmanager's own parser does, for its API takes one at a time."""
    assert split_matchers(text) == matchers


def test_splitting_takes_linear_time() -> None:
    """A text made to confuse a regular expression does not stop the daemon."""
    hostile = '{a="' + '\\"' * 200_000 + "," * 200_000
    assert len(split_matchers(hostile)) == 1


@pytest.mark.parametrize("match", ["", "{}", " , ", [], ['a="b"', "{}"], 5])
def test_p5_no_matcher_is_not_every_alert(match: object) -> None:
    """An empty selection is a mistake, and is refused."""
    with pytest.raises(ValidationError):
        AlertsParameters.model_validate({"match": match})


def test_the_plan_quotes_the_matchers() -> None:
    """In one line."""
    plan = AlertmanagerAlerts().plan(AlertsParameters(match=['a="b"', 'c="d\n"']))
    assert plan == 'ask Alertmanager for the alerts that match a="b", c="d\\n"'
