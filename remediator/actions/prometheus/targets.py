"""Which targets Prometheus scrapes, and how that goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from pydantic import Field

from remediator.actions.bounds import encoded_size, visible
from remediator.actions.prometheus.server import ask, bounded, data_of
from remediator.actions.protocol import (
    MAX_RESULT_BYTES,
    Action,
    Context,
    Effect,
    Grammar,
    JsonValue,
    Outcome,
    Parameters,
    Result,
)

_JOB = Grammar("the name of a job of Prometheus", r"[^\x00-\x1f\x7f]{1,500}")
_HEALTH = ("up", "down", "unknown")


class _Target(msgspec.Struct, frozen=True):
    """One of `activeTargets`."""

    labels: dict[str, str]
    scrapeUrl: str  # noqa: N815
    health: Literal["up", "down", "unknown"]
    lastError: str = ""  # noqa: N815
    lastScrape: str = ""  # noqa: N815


class _Targets(msgspec.Struct, frozen=True):
    activeTargets: list[_Target]  # noqa: N815


class TargetsParameters(Parameters):
    """Which targets to look at."""

    job: Annotated[str, _JOB] | None = Field(default=None, description="Only those of this job.", examples=["node"])


class PrometheusTargets(Action[TargetsParameters]):
    """Ask Prometheus which of its targets it can scrape.

    `targets` lists `job`, `instance`, `health` (`up`, `down`, or `unknown` before the first scrape), `error` (of the last
    scrape, else an empty text), `last_scrape`, `url` and `labels`; `count`, `up`, `down` and `unknown` are numbers of
    targets, and `jobs` has the same for each job. Where that is more than a result may hold (64 KiB) a target has its
    `job`, `instance` and `health` only; where that is still too much the step fails: the list is never cut.

    Example:
        - id: targets
          uses: prometheus.targets
          with: {job: '{{ labels.service }}'}
          expect: result.up > 0 and result.down == 0
    """

    name = "prometheus.targets"
    effect = Effect.READ
    parameters = TargetsParameters
    section = "prometheus"

    def plan(self, params: TargetsParameters) -> str:
        """Say of which job."""
        return visible(f"ask Prometheus for its targets{f' of job {params.job}' if params.job else ''}", longest=2000)

    async def run(self, params: TargetsParameters, context: Context) -> Outcome:
        """Ask it."""
        reply = await ask(context, "GET", "/api/v1/targets?state=active")
        if isinstance(reply, Outcome):
            return reply
        found = data_of(reply, lambda data: msgspec.json.decode(data, type=_Targets).activeTargets)
        if isinstance(found, Outcome):
            return found
        targets = [target for target in found if params.job in {None, target.labels.get("job")}]
        jobs = sorted({target.labels.get("job", "") for target in targets})
        counts = {
            **_tally(targets),
            "jobs": {job: _tally([each for each in targets if each.labels.get("job", "") == job]) for job in jobs},
        }
        whole: dict[str, JsonValue] = {"targets": [{**_short(each), **_more(each)} for each in targets], **counts}
        if encoded_size(whole) <= MAX_RESULT_BYTES:
            return Outcome(Result.OK, whole)
        short = {**whole, "targets": list(map(_short, targets))}
        return bounded(short, "there are more targets than a result may hold (64 KiB): ask for one job's")


def _tally(targets: Sequence[_Target]) -> dict[str, JsonValue]:
    return {
        "count": len(targets),
        **{health: sum(target.health == health for target in targets) for health in _HEALTH},
    }


def _short(target: _Target) -> dict[str, JsonValue]:
    return {
        "job": target.labels.get("job", ""),
        "instance": target.labels.get("instance", ""),
        "health": target.health,
    }


def _more(target: _Target) -> dict[str, JsonValue]:
    return {
        "error": target.lastError,
        "last_scrape": target.lastScrape,
        "url": target.scrapeUrl,
        "labels": target.labels,
    }
