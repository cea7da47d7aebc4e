"""`prometheus.*` against servers that speak Prometheus's HTTP API, a real one too."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from daemon import Program, eventually, fetch, free_port
from fakes.prometheus import Prometheus
from pydantic import ValidationError
from world import installed

from remediator.actions.bounds import encoded_size
from remediator.actions.prometheus import (
    PrometheusQuery,
    PrometheusQueryRange,
    PrometheusTargets,
    QueryParameters,
    RangeParameters,
    TargetsParameters,
)
from remediator.actions.protocol import MAX_RESULT_BYTES, Outcome, Result


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
    assert outcome.kind is Result.REFUSED
    assert outcome.error == (
        "Prometheus answered POST /api/v1/query with 400: 1:4: parse error: \\x1b unexpected <eof>"
    )


@pytest.mark.parametrize(("status", "kind"), [(401, Result.REFUSED), (429, Result.NOT_SENT), (503, Result.ERROR)])
async def test_a_status_that_is_no_success_is_sorted_by_what_may_be_done_next(query, status: int, kind: Result) -> None:
    """A proxy in front of it answers so."""
    outcome = await query("<html>Sign in</html>", status=status)
    assert (outcome.kind, f"with {status}: <html>Sign in</html>" in outcome.error) == (kind, True)


@pytest.mark.parametrize(
    "answer",
    [
        "<html>",
        "[]",
        "[" * 100_000,
        {"status": "success"},
        {"status": "error", "error": "odd"},
        success("vector", [{"metric": {}, "value": [1, 2]}]),
        success("vector", [sample("many")]),
        success("scalar", "x"),
    ],
)
async def test_an_answer_in_another_format_is_an_error(query, answer: object) -> None:
    """Something else than Prometheus at that address is no data, and no data is not success."""
    outcome = await query(answer)
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


# --- over a span ---

SPAN = {"from": "2026-01-15T09:00:00Z", "to": "2026-01-15T12:00:00+02:00"}


@pytest.fixture
def over(context, serve):
    """Ask a server that gives one answer always; also gives the forms that it was posted."""

    async def go(answer: object, **given: object) -> tuple[Outcome, list[dict[str, str]]]:
        asked = []

        async def handler(request: web.Request) -> web.Response:
            asked.append({"path": request.path, **await request.post()})
            return web.json_response(answer)

        params = RangeParameters.model_validate({"query": "up", **(given or SPAN)})
        return await PrometheusQueryRange().run(params, context({"prometheus": {"url": await serve(handler)}})), asked

    return go


def line(*values: str, **labels: str) -> dict[str, Any]:
    """Give one entry of a matrix."""
    return {"metric": labels, "values": [[1768467600 + 60 * number, value] for number, value in enumerate(values)]}


async def test_a_span_is_asked_for_in_steps(over) -> None:
    """By default sixty of them."""
    _, asked = await over(success("matrix", []))
    assert asked == [
        {
            "path": "/api/v1/query_range",
            "query": "up",
            "start": "1768467600.000",
            "end": "1768471200.000",
            "step": "60.000",
        }
    ]


async def test_the_last_hour_ends_now(over) -> None:
    """A short span is asked for second by second at the finest."""
    _, (asked,) = await over(success("matrix", []), last="30s")
    assert (float(asked["end"]) - float(asked["start"]), asked["step"]) == (pytest.approx(30.0), "1.000")
    assert abs(float(asked["end"]) - time.time()) < 30
    _, (asked,) = await over(success("matrix", []), last="10m", step="250ms")
    assert asked["step"] == "0.250"


async def test_a_series_has_its_values_and_their_bounds(over) -> None:
    """What JSON can't hold stays text, and no bound."""
    outcome, _ = await over(success("matrix", [line("2", "NaN", "0.5", app="web"), line("NaN")], warnings=["partial"]))
    assert outcome.kind is Result.OK
    first, second = outcome.result.pop("series")
    assert first == {
        "labels": {"app": "web"},
        "values": [[1768467600, 2.0], [1768467660, "NaN"], [1768467720, 0.5]],
        "first": 2.0,
        "last": 0.5,
        "min": 0.5,
        "max": 2.0,
    }
    assert (second["first"], second["min"], second["max"]) == ("NaN", None, None)
    assert outcome.result == {
        "count": 2,
        "from": "2026-01-15T09:00:00.000Z",
        "to": "2026-01-15T10:00:00.000Z",
        "step": 60.0,
        "warnings": ["partial"],
    }


@pytest.mark.parametrize(
    "answer",
    [
        success("vector", []),
        success("matrix", [{"metric": {}, "histograms": [[1, {"count": "1"}]]}]),
        success("matrix", [{**line("1"), "histograms": [[1, {"count": "1"}]]}]),
        success("matrix", [{"metric": {}}]),
        success("matrix", [{"metric": {}, "values": [[1, "x"]]}]),
        success("matrix", [line(*["1"] * 10_000)]),
        {"status": "success"},
    ],
)
async def test_p5_what_is_no_whole_matrix_is_an_error(over, answer: object) -> None:
    """Nothing is left out, and nothing cut."""
    outcome, _ = await over(answer)
    assert (outcome.kind, outcome.result) == (Result.ERROR, None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"from": "2026-01-15T09:00:00Z", "to": "2026-01-15T09:00:00Z"}, "ends before it begins"),
        ({"last": "1d", "step": "1s"}, "more than 11000 values"),
    ],
)
async def test_a_span_that_prometheus_would_refuse_is_not_asked_for(over, given, words: str) -> None:
    """The operator is told before."""
    outcome, asked = await over({}, **given)
    assert (outcome.kind, asked) == (Result.NOT_SENT, [])
    assert words in outcome.error


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"last": "0"},
        {"last": "1h", "from": "2026-01-15T09:00:00Z"},
        {"last": "1h", "to": "2026-01-15T09:00:00Z"},
        {"to": "2026-01-15T09:00:00Z"},
        {"from": "yesterday"},
        {"from": "2026-13-15T09:00:00Z"},
        {"from": "2026-01-15T09:00:00"},
        {"last": "1h", "step": "0"},
        {"last": 3600.0, "step": -1.0},
    ],
)
def test_a_span_that_is_none_is_refused(given: dict[str, object]) -> None:
    """It is said in one way."""
    with pytest.raises(ValidationError):
        RangeParameters.model_validate({"query": "up", **given})


def test_the_plan_of_a_span_names_it() -> None:
    """In one line."""
    plan = PrometheusQueryRange().plan
    assert plan(RangeParameters(query="up", last=5400.0)) == "ask Prometheus for up over the last 1h30m"
    began = RangeParameters.model_validate({"query": "up", "from": "2026-01-15T09:00:00Z"})
    assert plan(began) == "ask Prometheus for up from 2026-01-15T09:00:00Z to now"


# --- targets ---


@pytest.fixture
async def fake() -> AsyncIterator[Prometheus]:
    """Serve the fake."""
    async with Prometheus() as served:
        assert isinstance(served, Prometheus)
        yield served


@pytest.fixture
def targets(context, fake):
    """Ask the fake for its targets."""

    async def go(job: str | None = None) -> Outcome:
        settings = {"prometheus": {"url": fake.url}}
        return await PrometheusTargets().run(TargetsParameters(job=job), context(settings))

    return go


async def test_targets_are_counted_by_job_and_health(targets, fake) -> None:
    """With the error of those that are down."""
    fake.targets += [
        fake.target("node", "n1:9100", "connection refused"),
        fake.target("node", "n2:9100", health="unknown"),
    ]
    outcome = await targets()
    assert outcome.kind is Result.OK
    listed = outcome.result.pop("targets")
    assert outcome.result == {
        "count": 4,
        "up": 2,
        "down": 1,
        "unknown": 1,
        "jobs": {
            "node": {"count": 2, "up": 0, "down": 1, "unknown": 1},
            "web": {"count": 2, "up": 2, "down": 0, "unknown": 0},
        },
    }
    assert listed[2] == {
        "job": "node",
        "instance": "n1:9100",
        "health": "down",
        "error": "connection refused",
        "last_scrape": "2026-01-15T10:00:00.123456789Z",
        "url": "http://n1:9100/metrics",
        "labels": {"instance": "n1:9100", "job": "node"},
    }


async def test_one_jobs_targets_are_those_whose_job_is_just_that(targets, fake) -> None:
    """It is a name and no pattern; a job that has none has none."""
    fake.targets.append(fake.target("web-2", "x:1"))
    assert (await targets("web")).result["count"] == 2
    assert (await targets(".*")).result == {"targets": [], "count": 0, "up": 0, "down": 0, "unknown": 0, "jobs": {}}


async def test_p5_many_targets_are_given_short_or_not_at_all_but_never_cut(targets, fake) -> None:
    """All are there by job, instance and health."""
    fake.targets = [fake.target("web", f"web-{number}:9100", "refused " * 20) for number in range(400)]
    outcome = await targets()
    assert (outcome.kind, outcome.result["down"], len(outcome.result["targets"])) == (Result.OK, 400, 400)
    assert set(outcome.result["targets"][0]) == {"job", "instance", "health"}
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES
    fake.targets *= 5
    outcome = await targets()
    assert (outcome.kind, outcome.result) == (Result.ERROR, None)


@pytest.mark.parametrize("change", [{"health": "well"}, {"health": None}, {"labels": None}])
async def test_p5_a_target_that_can_not_be_read_is_an_error(targets, fake, change: dict[str, object]) -> None:
    """It is not counted as up, and not passed over."""
    fake.targets.append({**fake.target("web", "x:1"), **change})
    assert (await targets()).kind is Result.ERROR


def test_the_plan_names_the_job() -> None:
    """In one line."""
    assert PrometheusTargets().plan(TargetsParameters()) == "ask Prometheus for its targets"
    assert PrometheusTargets().plan(TargetsParameters(job="a b")) == "ask Prometheus for its targets of job a b"


# --- a real one ---


@pytest.mark.slow
async def test_a_real_prometheus_is_read(tmp_path: Path, context) -> None:
    """Itself it scrapes; at the other target nobody listens."""
    url, nobody = f"http://127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    jobs = [
        {"job_name": "self", "static_configs": [{"targets": [url.removeprefix("http://")]}]},
        {"job_name": "gone", "static_configs": [{"targets": [nobody]}]},
    ]
    (tmp_path / "p.yml").write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    command = [
        installed("prometheus"), "--config.file=p.yml", "--storage.tsdb.path=data",
        f"--web.listen-address={url.removeprefix('http://')}",
    ]  # fmt: skip
    with Program("prometheus", command, tmp_path, f"{url}/-/ready"):
        eventually(lambda: fetch(f"{url}/api/v1/query?query=count(up)==2").json()["data"]["result"], "both were tried")
        settings = {"prometheus": {"url": url}}
        found = (await PrometheusTargets().run(TargetsParameters(), context(settings))).result
        assert (found["count"], found["up"], found["down"]) == (2, 1, 1)
        assert found["jobs"]["gone"]["down"] == 1
        assert "connection refused" in next(each["error"] for each in found["targets"] if each["job"] == "gone")
        params = RangeParameters.model_validate({"query": "up", "last": "10s", "step": "1s"})
        found = (await PrometheusQueryRange().run(params, context(settings))).result
        assert {each["labels"]["job"]: each["last"] for each in found["series"]} == {"self": 1.0, "gone": 0.0}
        wrong = await PrometheusQueryRange().run(RangeParameters(query="up{", last=60.0), context(settings))
        assert (wrong.kind, "parse error" in (wrong.error or "")) == (Result.REFUSED, True)
