"""Prometheus's query API, and what speaks it: Thanos, Mimir, VictoriaMetrics."""

from __future__ import annotations

import math
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from pydantic import Field

from remediator.actions.bounds import encoded_size, visible
from remediator.actions.http import Answer, Call, base_url, fetch
from remediator.actions.protocol import (
    MAX_RESULT_BYTES,
    Action,
    Context,
    Effect,
    Gate,
    JsonValue,
    Outcome,
    Parameters,
    Result,
)

_ANSWER_LIMIT = 8 * 1024 * 1024  # bytes of an answer that are read: far above any that fits a result


class _Sample(msgspec.Struct, frozen=True):
    metric: dict[str, str] = {}
    value: tuple[float, str] | None = None  # a native histogram has none


class _Data(msgspec.Struct, frozen=True):
    resultType: str  # noqa: N815 - the API's name
    result: msgspec.Raw


class _Reply(msgspec.Struct, frozen=True):
    """What `/api/v1/query` answers (Prometheus, "HTTP API", "Format overview")."""

    status: str
    data: _Data | None = None
    error: str = ""
    warnings: list[str] = []


class QueryParameters(Parameters):
    """What to ask Prometheus."""

    query: Annotated[str, Gate.PROMQL] = Field(
        min_length=1, description="PromQL that gives an instant vector or a scalar.", examples=['up{job="node"} == 0']
    )


class PrometheusQuery(Action[QueryParameters]):
    """Ask Prometheus for the present value of an expression.

    `samples` lists `labels` and `value`; `value` is there only when there is exactly one sample. NaN and the infinities
    are the texts `NaN`, `+Inf` and `-Inf`. `warnings` lists what Prometheus warns of, such as a partial response.

    Example:
        - id: errors
          uses: prometheus.query
          with:
            query: 'sum(rate(http_errors_total{app="{{ labels.app }}"}[5m]))'
          expect: result.value < 1
    """

    name = "prometheus.query"
    effect = Effect.READ
    parameters = QueryParameters
    section = "prometheus"

    def plan(self, params: QueryParameters) -> str:
        """Quote the query."""
        return visible(f"ask Prometheus for {params.query}", longest=2000)

    async def run(self, params: QueryParameters, context: Context) -> Outcome:
        """Ask it."""
        url = base_url(context, "prometheus")
        if isinstance(url, Outcome):
            return url
        form = urlencode({"query": params.query}).encode()
        kind = "application/x-www-form-urlencoded"
        answer = await fetch(Call("POST", f"{url}/api/v1/query", body=form, kind=kind, limit=_ANSWER_LIMIT), context)
        return answer if isinstance(answer, Outcome) else _outcome(answer)


ACTIONS: tuple[Action[Any], ...] = (PrometheusQuery(),)


def _outcome(answer: Answer) -> Outcome:
    too_much = "the query gives more than a result may hold (64 KiB): aggregate it, or select less"
    if answer.truncated:
        return _error(too_much)
    try:
        reply = msgspec.json.decode(answer.body, type=_Reply)
    except (msgspec.DecodeError, RecursionError):
        return _error(f"Prometheus answered {answer.status}, and not in its own format: is prometheus.url right?")
    if reply.status != "success" or reply.data is None:
        return _error(f"Prometheus refused the query ({answer.status}): {reply.error}")
    try:
        samples = _samples(reply.data)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        return _error(f"Prometheus's answer can't be used: {error}")
    result: dict[str, JsonValue] = {"samples": samples, "warnings": reply.warnings}
    if len(samples) == 1:
        result["value"] = samples[0]["value"]
    return Outcome(Result.OK, result) if encoded_size(result) <= MAX_RESULT_BYTES else _error(too_much)


def _error(words: str) -> Outcome:
    return Outcome(Result.ERROR, error=visible(words, longest=300))


def _samples(data: _Data) -> list[dict[str, JsonValue]]:
    """Give the samples of a vector or scalar. Raises ValueError or DecodeError for anything else."""
    if data.resultType == "scalar":
        return [{"labels": {}, "value": _number(msgspec.json.decode(data.result, type=tuple[float, str])[1])}]
    if data.resultType != "vector":
        raise ValueError(f"it is a {data.resultType}, and only an instant vector or a scalar has one value now")
    samples = []
    for sample in msgspec.json.decode(data.result, type=list[_Sample]):
        if sample.value is None:
            raise ValueError("it holds native histograms: take a number out of them, as with histogram_quantile()")
        samples.append({"labels": sample.metric, "value": _number(sample.value[1])})
    return samples


def _number(text: str) -> float | str:
    """Read a sample's value; what JSON can't hold stays the text that Prometheus writes."""
    number = float(text)
    return number if math.isfinite(number) else text
