"""`prometheus.query` against a server that speaks Prometheus's HTTP API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from remediator.actions.prometheus import PrometheusQuery, QueryParameters
from remediator.actions.protocol import Outcome, Result


@pytest.fixture
def query(context, serve):
    """Ask a server that gives one answer always."""

    async def go(answer: object, status: int = 200) -> Outcome:
        async def handler(request: web.Request) -> web.Response:
            text = answer if isinstance(answer, str) else json.dumps(answer)
            return web.Response(status=status, text=text, content_type="application/json")

        settings = {"prometheus": {"url": await serve(handler)}}
        return await PrometheusQuery().run(QueryParameters(query="up"), context(settings))

    return go


def success(kind: str, result: object, **more: object) -> dict[str, Any]:
    """Give an answer as Prometheus words it."""
    return {"status": "success", "data": {"resultType": kind, "result": result}, **more}


def sample(value: str, **labels: str) -> dict[str, Any]:
    """Give one entry of a vector."""
    return {"metric": labels, "value": [1768500000.123, value]}


async def test_the_query_is_posted_as_a_form(context, serve) -> None:
    """However long and odd, it arrives as it is; a slash at the end of the configured URL does no harm."""
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, dict(await request.post())))
        return web.json_response(success("scalar", [1, "1"]))

    settings = {"prometheus": {"url": await serve(handler) + "/prefix/"}}
    hostile = 'up{job="a&b=c é"} == 0'
    await PrometheusQuery().run(QueryParameters(query=hostile), context(settings))
    assert seen == [("POST", "/prefix/api/v1/query", {"query": hostile})]


async def test_one_sample_has_a_value_of_its_own(query) -> None:
    """`result.value` is there when there is exactly one."""
    outcome = await query(success("vector", [sample("0.25", app="web")]))
    assert outcome.kind is Result.OK
    assert outcome.result == {"samples": [{"labels": {"app": "web"}, "value": 0.25}], "value": 0.25, "warnings": []}


@pytest.mark.parametrize("samples", [[], [sample("1", app="a"), sample("2", app="b")]])
async def test_none_or_many_have_no_single_value(query, samples: list[Any]) -> None:
    """A rule that asks for the value of an empty or ambiguous answer gets an error, never a guess."""
    outcome = await query(success("vector", samples))
    assert outcome.kind is Result.OK
    assert len(outcome.result["samples"]) == len(samples)
    assert "value" not in outcome.result


async def test_a_scalar_is_one_sample(query) -> None:
    """Without labels."""
    outcome = await query(success("scalar", [1768500000, "42"]))
    assert outcome.result == {"samples": [{"labels": {}, "value": 42.0}], "value": 42.0, "warnings": []}


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf"])
async def test_what_json_can_not_hold_stays_text(query, text: str) -> None:
    """A comparison with it fails, which is no success."""
    assert (await query(success("vector", [sample(text)]))).result["value"] == text


async def test_warnings_are_passed_on(query) -> None:
    """A partial answer can be told from a whole one."""
    outcome = await query(success("vector", [], warnings=["partial response: store 3 is away"]))
    assert outcome.result["warnings"] == ["partial response: store 3 is away"]


@pytest.mark.parametrize(("kind", "result"), [("matrix", [{"metric": {}, "values": [[1, "1"]]}]), ("string", [1, "x"])])
async def test_what_has_no_value_now_is_an_error(query, kind: str, result: object) -> None:
    """Ranges and texts are named as what they are."""
    outcome = await query(success(kind, result))
    assert outcome.kind is Result.ERROR
    assert f"it is a {kind}" in outcome.error


async def test_native_histograms_are_an_error(query) -> None:
    """They are no number."""
    outcome = await query(success("vector", [{"metric": {}, "histogram": [1, {"count": "1", "sum": "1"}]}]))
    assert outcome.kind is Result.ERROR
    assert "histogram_quantile" in outcome.error


async def test_a_refused_query_gives_prometheus_own_words(query) -> None:
    """With no escape sequence in them."""
    answer = {"status": "error", "errorType": "bad_data", "error": "1:4: parse error: \x1b unexpected <eof>"}
    outcome = await query(answer, status=400)
    assert outcome.kind is Result.ERROR
    assert outcome.error == "Prometheus refused the query (400): 1:4: parse error: \\x1b unexpected <eof>"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("<html>Sign in</html>", 401),
        ("[]", 200),
        ("[" * 100_000, 200),
        (success("vector", [{"metric": {}, "value": [1, 2]}]), 200),
        (success("vector", [sample("many")]), 200),
        (success("scalar", "x"), 200),
    ],
)
async def test_an_answer_in_another_format_is_an_error(query, answer: object, status: int) -> None:
    """Something else than Prometheus at that address is no data, and no data is not success."""
    outcome = await query(answer, status=status)
    assert outcome.kind is Result.ERROR
    assert outcome.result is None


@pytest.mark.parametrize("count", [2_000, 200_000])
async def test_p5_too_many_samples_are_an_error_never_cut(query, count: int) -> None:
    """A population that doesn't fit is unknown."""
    outcome = await query(success("vector", [sample("1", instance=f"host-{n}:9100") for n in range(count)]))
    assert (outcome.kind, outcome.result) == (Result.ERROR, None)
    assert "aggregate" in outcome.error


async def test_without_an_address_nothing_is_sent(context) -> None:
    """The reason names the key."""
    outcome = await PrometheusQuery().run(QueryParameters(query="up"), context())
    assert outcome.kind is Result.NOT_SENT
    assert "prometheus.url is not set" in outcome.error


async def test_credentials_in_the_address_are_not_shown(context) -> None:
    """An error names the place, not who asks."""
    settings = {"prometheus": {"url": "http://user:hunter2@127.0.0.1:9"}}
    outcome = await PrometheusQuery().run(QueryParameters(query="up"), context(settings))
    assert outcome.kind is Result.NOT_SENT
    assert "hunter2" not in outcome.error


@pytest.mark.parametrize("url", ["http://[bad", "http://127.0.0.1:99999", "http://\u2100.example"])
async def test_an_address_that_is_none_sends_nothing(context, url: str) -> None:
    """An action says so, and raises nothing."""
    outcome = await PrometheusQuery().run(QueryParameters(query="up"), context({"prometheus": {"url": url}}))
    assert outcome.kind is Result.NOT_SENT


def test_an_empty_query_is_refused() -> None:
    """It would ask for nothing."""
    with pytest.raises(ValidationError):
        QueryParameters(query="")


def test_the_plan_quotes_the_query() -> None:
    """In one line."""
    plan: Callable[[QueryParameters], str] = PrometheusQuery().plan
    assert plan(QueryParameters(query="up ==\n0")) == "ask Prometheus for up ==\\n0"
