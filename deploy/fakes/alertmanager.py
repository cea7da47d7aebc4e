"""An Alertmanager that holds alerts and silences, and can be made to fail.

Requests and answers are shaped as in Alertmanager's own OpenAPI document (prometheus/alertmanager, `api/v2/openapi.yaml`,
version 2): `/alerts`, `/silences`, `/silence/{silenceID}`. Errors are JSON texts, as its server writes them.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from fakes.fake import Fake, Refusal

_FILTER = re.compile(r'\s*([a-zA-Z_:][\w:]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*', re.DOTALL | re.ASCII)
_REQUIRED = {"matchers", "startsAt", "endsAt", "createdBy", "comment"}


def _stamp(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _instant(text: object) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        raise Refusal(400, f"parsing time {text!r}: it is none") from None


class Alertmanager(Fake):
    """Alertmanager: what fires, and what is silenced."""

    name = "alertmanager"
    port = 9293

    def __init__(self) -> None:
        super().__init__()
        self.alerts: list[dict[str, Any]] = []
        self.silences: dict[str, dict[str, Any]] = {}
        self.reset()

    def reset(self) -> None:
        """Make everything as it was at the start: one alert fires, one silence of somebody's and one of ours stand."""
        self.alerts = [self.alert(alertname="InstanceDown", cluster="eu", instance="web-1:9100")]
        self.silences = {}
        self.add_silence("anna", "disks are changed", alertname="DiskFull", app="shop")
        self.add_silence("remediator", "hushed [remediator run 01ha for 3600 s]", alertname="HighErrorRate", app="web")

    def now(self) -> float:
        """Give the time; tests lay their own over it."""
        return time.time()

    def alert(self, **labels: str) -> dict[str, Any]:
        """Make a `gettableAlert` that fires."""
        return {
            "fingerprint": uuid.uuid5(uuid.NAMESPACE_OID, repr(sorted(labels.items()))).hex[:16],
            "labels": labels,
            "annotations": {"summary": "It is down"},
            "receivers": [{"name": "remediator"}],
            "startsAt": _stamp(self.now() - 600),
            "updatedAt": _stamp(self.now()),
            "endsAt": _stamp(self.now() + 300),
            "generatorURL": "http://prometheus.example.com/graph",
            "status": {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []},
        }

    def add_silence(self, by: str, comment: str, **labels: str) -> str:
        """Put in a silence of an hour, and give its id."""
        matchers = [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in labels.items()]
        return self._keep(
            {
                "matchers": matchers, "createdBy": by, "comment": comment,
                "startsAt": _stamp(self.now() - 60), "endsAt": _stamp(self.now() + 3600),
            }
        )  # fmt: skip

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give what it serves."""
        return [
            web.get("/api/v2/alerts", self._list_alerts),
            web.get("/api/v2/silences", self._list_silences),
            web.post("/api/v2/silences", self._post_silence),
            web.get("/api/v2/silence/{id}", self._get_silence),
            web.delete("/api/v2/silence/{id}", self._delete_silence),
        ]

    def error(self, status: int, message: str) -> web.Response:
        """Give a JSON text, as the schema of its error answers says."""
        return web.json_response(message, status=status)

    async def _list_alerts(self, request: web.Request) -> web.Response:
        wanted = _filters(request)
        return web.json_response([each for each in self.alerts if _holds(wanted, each["labels"])])

    async def _list_silences(self, request: web.Request) -> web.Response:
        wanted = _filters(request)
        return web.json_response(
            [
                self._shown(each)
                for each in self.silences.values()
                if _holds(wanted, {matcher["name"]: matcher["value"] for matcher in each["matchers"]})
            ]
        )

    async def _post_silence(self, request: web.Request) -> web.Response:
        try:
            posted = await request.json()
        except ValueError:
            raise Refusal(400, "parsing silence body failed: it is no JSON") from None
        if missing := _REQUIRED - set(posted):
            raise Refusal(422, f"{min(missing)} in body is required")
        matchers = posted["matchers"]
        if not matchers or not all({"name", "value", "isRegex"} <= set(each) for each in matchers):
            raise Refusal(422, "matchers in body should have at least 1 item, with name, value and isRegex")
        if all(_matches(_operator(each), each["value"], "") for each in matchers):
            raise Refusal(400, "invalid silence: at least one matcher must not match the empty string")
        starts, ends = _instant(posted["startsAt"]), _instant(posted["endsAt"])
        if ends <= starts:
            raise Refusal(400, "failed to create silence: start time must be before end time")
        if ends < self.now():
            raise Refusal(400, "failed to create silence: end time can't be in the past")
        if posted.get("id") and posted["id"] not in self.silences:
            raise Refusal(404, "silence not found")
        posted["startsAt"] = _stamp(max(starts, self.now()))
        return web.json_response({"silenceID": self._keep(posted)})

    async def _get_silence(self, request: web.Request) -> web.Response:
        return web.json_response(self._shown(self._found(request)))

    async def _delete_silence(self, request: web.Request) -> web.Response:
        silence = self._found(request)
        if self._state(silence) == "expired":
            raise Refusal(500, f"silence {silence['id']} already expired")
        silence["endsAt"] = _stamp(self.now())
        silence["ended"] = True
        return web.Response()

    def _found(self, request: web.Request) -> dict[str, Any]:
        number = request.match_info["id"]
        try:
            uuid.UUID(number)
        except ValueError:
            raise Refusal(422, f"silenceID in path must be of type uuid: {number!r}") from None
        if number not in self.silences:
            raise Refusal(404, f"silence {number} not found")
        return self.silences[number]

    def _keep(self, silence: dict[str, Any]) -> str:
        number = silence.get("id") or str(uuid.uuid5(uuid.NAMESPACE_OID, f"silence {len(self.silences)}"))
        self.silences[number] = {**silence, "id": number, "updatedAt": _stamp(self.now())}
        return number

    def _state(self, silence: dict[str, Any]) -> str:
        if silence.get("ended") or _instant(silence["endsAt"]) <= self.now():
            return "expired"
        return "pending" if _instant(silence["startsAt"]) > self.now() else "active"

    def _shown(self, silence: dict[str, Any]) -> dict[str, Any]:
        shown = {key: value for key, value in silence.items() if key != "ended"}
        return {"annotations": {}, **shown, "status": {"state": self._state(silence)}}


def _filters(request: web.Request) -> list[tuple[str, str, str]]:
    found = []
    for text in request.query.getall("filter", []):
        read = _FILTER.fullmatch(text)
        if read is None:
            raise Refusal(400, f"bad matcher format: {text}")
        value = re.sub(r'\\([\\"n])', lambda escape: "\n" if escape[1] == "n" else escape[1], read[3])
        found.append((read[1], read[2], value))
    return found


def _holds(wanted: list[tuple[str, str, str]], labels: dict[str, str]) -> bool:
    return all(_matches(operator, value, labels.get(name, "")) for name, operator, value in wanted)


def _operator(matcher: dict[str, Any]) -> str:
    equal = matcher.get("isEqual", True)
    return ("=~" if equal else "!~") if matcher["isRegex"] else ("=" if equal else "!=")


def _matches(operator: str, value: str, text: str) -> bool:
    try:
        found = re.fullmatch(value, text) is not None if "~" in operator else value == text
    except re.error:
        raise Refusal(400, f"invalid silence: error parsing regexp: {value!r}") from None
    return found is not operator.startswith("!")
