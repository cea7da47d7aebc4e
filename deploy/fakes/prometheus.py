"""A Prometheus that knows a handful of numbers, and can be made to fail.

Requests and answers are shaped as in Prometheus's manual, "HTTP API" (prometheus/prometheus, `docs/querying/api.md`):
`/api/v1/query`, `/api/v1/query_range`, `/api/v1/targets`. It understands no PromQL: every query that is not empty gives
`value`, or what `answers` holds for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from fakes.fake import Fake, Refusal

_POINTS = 11_000
_TYPES = {400: "bad_data", 422: "execution", 503: "timeout", 404: "not_found"}


class Prometheus(Fake):
    """Prometheus: numbers and targets."""

    name = "prometheus"
    port = 9290

    def __init__(self) -> None:
        super().__init__()
        self.value = "0.25"
        self.answers: dict[str, list[dict[str, Any]]] = {}  # a query → the entries of its vector
        self.targets: list[dict[str, Any]] = []
        self.reset()

    def reset(self) -> None:
        """Make everything as it was at the start: two targets of the job `web` are up."""
        self.value, self.answers = "0.25", {}
        self.targets = [self.target("web", "web-1:9100"), self.target("web", "web-2:9100")]

    def target(self, job: str, instance: str, error: str = "", health: str | None = None) -> dict[str, Any]:
        """Make an entry of `activeTargets`; one with an error is down."""
        url = f"http://{instance}/metrics"
        return {
            "discoveredLabels": {"__address__": instance, "job": job}, "labels": {"instance": instance, "job": job},
            "scrapePool": job, "scrapeUrl": url, "globalUrl": url, "lastError": error,
            "lastScrape": "2026-01-15T10:00:00.123456789Z", "lastScrapeDuration": 0.01,
            "health": health or ("down" if error else "up"), "scrapeInterval": "15s", "scrapeTimeout": "10s",
        }  # fmt: skip

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give what it serves."""
        return [
            web.get("/api/v1/query", self._query), web.post("/api/v1/query", self._query),
            web.get("/api/v1/query_range", self._range), web.post("/api/v1/query_range", self._range),
            web.get("/api/v1/targets", self._targets),
        ]  # fmt: skip

    def error(self, status: int, message: str) -> web.Response:
        """Give the frame that every answer has."""
        kind = _TYPES.get(status, "internal")
        return web.json_response({"status": "error", "errorType": kind, "error": message}, status=status)

    async def _query(self, request: web.Request) -> web.Response:
        asked = await _asked(request)
        at = float(asked.get("time", 1_768_471_200))
        found = self._vector(asked)
        result = [{"metric": each["metric"], "value": [at, each["value"]]} for each in found]
        return _success({"resultType": "vector", "result": result})

    async def _range(self, request: web.Request) -> web.Response:
        asked = await _asked(request)
        try:
            start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
        except (KeyError, ValueError):
            raise Refusal(400, 'invalid parameter "start", "end" or "step": cannot parse it') from None
        if end < start:
            raise Refusal(400, 'invalid parameter "end": end timestamp must not be before start time')
        if step <= 0:
            raise Refusal(
                400, 'invalid parameter "step": zero or negative query resolution step widths are not accepted'
            )
        if (end - start) / step > _POINTS:
            raise Refusal(400, "exceeded maximum resolution of 11,000 points per timeseries")
        times = [start + number * step for number in range(int((end - start) / step) + 1)]
        result = [
            {"metric": each["metric"], "values": [[at, each["value"]] for at in times]} for each in self._vector(asked)
        ]
        return _success({"resultType": "matrix", "result": result})

    async def _targets(self, request: web.Request) -> web.Response:
        if request.query.get("state", "any") not in {"active", "dropped", "any"}:
            raise Refusal(400, "invalid state")
        return _success({"activeTargets": self.targets, "droppedTargets": [], "droppedTargetCounts": {}})

    def _vector(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        query = asked.get("query", "")
        if not query:
            raise Refusal(400, 'invalid parameter "query": unknown position: parse error: no expression found in input')
        return self.answers.get(query, [{"metric": {}, "value": self.value}])


async def _asked(request: web.Request) -> dict[str, str]:
    """Give the parameters, which may stand in the query and in a form."""
    form = await request.post() if request.method == "POST" else {}
    return {**request.query, **{name: str(value) for name, value in form.items()}}


def _success(data: object) -> web.Response:
    return web.json_response({"status": "success", "data": data})
