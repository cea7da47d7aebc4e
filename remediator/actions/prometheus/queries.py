"""What an expression gives, now and over a span."""

from __future__ import annotations

import math
import time
from typing import Annotated, TypeAlias

import msgspec
from pydantic import AfterValidator, Field, model_validator

from remediator.actions.bounds import visible
from remediator.actions.prometheus.server import TOO_MUCH, ask, bounded, data_of
from remediator.actions.protocol import (
    Action,
    Context,
    Duration,
    Effect,
    Gate,
    Grammar,
    JsonValue,
    Outcome,
    Parameters,
    Result,
)
from remediator.model.time import Seconds, Timestamp, format_duration, format_rfc3339, parse_rfc3339

_POINTS = 11_000  # of one series: more Prometheus refuses
_INSTANT = Grammar(
    "an instant as RFC 3339 writes it",
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)",
)


class _Sample(msgspec.Struct, frozen=True):
    metric: dict[str, str] = {}
    value: tuple[float, str] | None = None  # a native histogram has none


class _Series(msgspec.Struct, frozen=True):
    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []
    histograms: list[msgspec.Raw] = []  # native ones


class _Data(msgspec.Struct, frozen=True):
    resultType: str  # noqa: N815 - the API's name
    result: msgspec.Raw


class QueryParameters(Parameters):
    """What to ask Prometheus."""

    query: Annotated[str, Gate.PROMQL] = Field(
        min_length=1, description="PromQL that gives an instant vector or a scalar.", examples=['up{job="node"} == 0']
    )


def _instant(text: str) -> str:
    parse_rfc3339(text)
    return text


Instant: TypeAlias = Annotated[str, _INSTANT, AfterValidator(_instant)]


class RangeParameters(Parameters):
    """What to ask Prometheus, and over which span."""

    query: Annotated[str, Gate.PROMQL] = Field(
        min_length=1,
        description="PromQL that gives a vector or a scalar at each step.",
        examples=['sum(rate(http_errors_total{app="web"}[5m]))'],
    )
    last: Duration | None = Field(default=None, gt=0, description="The span up to now, such as `1h`.")
    from_: Instant | None = Field(default=None, alias="from", description="Where the span begins, in RFC 3339.")
    to: Instant | None = Field(default=None, description="Where it ends, in RFC 3339; default now.")
    step: Duration | None = Field(
        default=None, ge=0.001, description="From one value to the next; default a sixtieth of the span, 1s at least."
    )

    @model_validator(mode="after")
    def _one_span(self) -> RangeParameters:
        if (self.last is None) == (self.from_ is None):
            raise ValueError("give one of `last` and `from`")
        if self.last is not None and self.to is not None:
            raise ValueError("`last` ends now: give `from` and `to`")
        return self


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
        reply = await ask(context, "POST", "/api/v1/query", {"query": params.query})
        if isinstance(reply, Outcome):
            return reply
        samples = data_of(reply, _samples)
        if isinstance(samples, Outcome):
            return samples
        result: dict[str, JsonValue] = {"samples": samples, "warnings": reply.warnings}
        if len(samples) == 1:
            result["value"] = samples[0]["value"]
        return bounded(result, TOO_MUCH)


class PrometheusQueryRange(Action[RangeParameters]):
    """Ask Prometheus how an expression went over a span.

    `series` lists `labels`, `values` (pairs of a time in seconds since 1970 and a value, oldest first), and `first`,
    `last`, `min` and `max` of them; `count` is the number of series, `from`, `to` and `step` are what was asked. NaN and
    the infinities are the texts `NaN`, `+Inf` and `-Inf`; `min` and `max` pass over them, and are null where there is no
    other value. A step at which there was no value is left out. What is more than a result may hold (64 KiB) makes the
    step fail: nothing is ever cut.

    Example:
        - id: errors
          uses: prometheus.query_range
          with:
            query: 'sum(rate(http_errors_total{app="{{ labels.app }}"}[5m]))'
            last: 1h
            step: 5m
          expect: result.count == 1 and result.series[0].max < 1
    """

    name = "prometheus.query_range"
    effect = Effect.READ
    parameters = RangeParameters
    section = "prometheus"

    def plan(self, params: RangeParameters) -> str:
        """Quote the query, and name the span."""
        span = f"from {params.from_} to {params.to or 'now'}"
        if params.last is not None:
            span = f"over the last {format_duration(params.last)}"
        return visible(f"ask Prometheus for {params.query} {span}", longest=2000)

    async def run(self, params: RangeParameters, context: Context) -> Outcome:
        """Ask it."""
        begin, end, step = _asked(params)
        if begin >= end:
            return Outcome(Result.NOT_SENT, error=f"the span ends before it begins, at {format_rfc3339(begin)}")
        if (end - begin) / step > _POINTS:
            words = f"{format_duration(end - begin)} in steps of {format_duration(step)} is more than {_POINTS} values"
            return Outcome(Result.NOT_SENT, error=f"{words}, which Prometheus refuses: take longer steps")
        form = {"query": params.query, "start": f"{begin:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        reply = await ask(context, "POST", "/api/v1/query_range", form)
        if isinstance(reply, Outcome):
            return reply
        series = data_of(reply, _matrix)
        if isinstance(series, Outcome):
            return series
        asked = {"from": format_rfc3339(begin), "to": format_rfc3339(end), "step": step}
        result = {"series": series, "count": len(series), **asked, "warnings": reply.warnings}
        return bounded(result, f"{TOO_MUCH}, or take longer steps")


def _asked(params: RangeParameters) -> tuple[Timestamp, Timestamp, Seconds]:
    """Give the span's beginning and end, and the step."""
    end = _now() if params.to is None else parse_rfc3339(params.to)
    begin = end - (params.last or 0.0) if params.from_ is None else parse_rfc3339(params.from_)
    return begin, end, params.step or max(1.0, round((end - begin) / 60.0))


def _now() -> Timestamp:
    return time.time()


def _samples(data: msgspec.Raw) -> list[dict[str, JsonValue]]:
    """Give the samples of a vector or scalar. Raises ValueError or DecodeError for anything else."""
    found = msgspec.json.decode(data, type=_Data)
    if found.resultType == "scalar":
        return [{"labels": {}, "value": _number(msgspec.json.decode(found.result, type=tuple[float, str])[1])}]
    if found.resultType != "vector":
        raise ValueError(f"it is a {found.resultType}, and only an instant vector or a scalar has one value now")
    samples = []
    for sample in msgspec.json.decode(found.result, type=list[_Sample]):
        if sample.value is None:
            raise ValueError(_HISTOGRAMS)
        samples.append({"labels": sample.metric, "value": _number(sample.value[1])})
    return samples


def _matrix(data: msgspec.Raw) -> list[dict[str, JsonValue]]:
    """Give the series of a matrix. Raises ValueError or DecodeError for anything else."""
    found = msgspec.json.decode(data, type=_Data)
    if found.resultType != "matrix":
        raise ValueError(f"it is a {found.resultType}, and a range has a matrix")
    return [_series(each) for each in msgspec.json.decode(found.result, type=list[_Series])]


def _series(series: _Series) -> dict[str, JsonValue]:
    if series.histograms or not series.values:
        raise ValueError(_HISTOGRAMS)
    values: list[list[JsonValue]] = [[at, _number(text)] for at, text in series.values]
    numbers = [value for _, value in values if isinstance(value, float)]
    return {
        "labels": series.metric,
        "values": values,
        "first": values[0][1],
        "last": values[-1][1],
        "min": min(numbers, default=None),
        "max": max(numbers, default=None),
    }


_HISTOGRAMS = "it holds native histograms: take a number out of them, as with histogram_quantile()"


def _number(text: str) -> float | str:
    """Read a sample's value; what JSON can't hold stays the text that Prometheus writes."""
    number = float(text)
    return number if math.isfinite(number) else text
