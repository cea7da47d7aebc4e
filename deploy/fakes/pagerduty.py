"""A fake PagerDuty: events make incidents, incidents can be read. Both APIs are served under one URL.

The shapes are those of PagerDuty's published references (developer.pagerduty.com: "Send an Event", "List incidents", "Errors")
and OpenAPI documents (github.com/PagerDuty/api-schema).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from fakes.fake import Fake, Refusal

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "u+fakePagerDutyToken"
PERSON = "Ada Example"
_SEVERITIES = ("critical", "error", "warning", "info")
_STATUSES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Access Denied",
    404: "Not Found",
    429: "Rate Limit Exceeded",
}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Incident:
    """One incident, with what was said last of it."""

    number: int
    key: str
    title: str
    status: str = "triggered"
    created_at: str = field(default_factory=_now)
    acknowledgements: list[tuple[str, str]] = field(default_factory=list)  # when, and who
    payload: dict[str, Any] = field(default_factory=dict)
    triggers: int = 1

    def shown(self, base: str) -> dict[str, Any]:
        """Give it as the REST API does."""
        own = f"PFAKE{self.number}"
        return {
            "id": own, "type": "incident", "summary": f"[#{self.number}] {self.title}", "self": f"{base}/incidents/{own}",
            "html_url": f"{base}/incidents/{own}", "incident_number": self.number, "title": self.title,
            "created_at": self.created_at, "updated_at": _now(), "status": self.status, "incident_key": self.key,
            "service": _reference(base, "service", "PSERVICE", "Web shop"),
            "assignments": [] if self.status == "resolved" else [
                {"at": self.created_at, "assignee": _reference(base, "user", "PUSER", PERSON)}
            ],
            "acknowledgements": [
                {"at": at, "acknowledger": _reference(base, "user", "PUSER", who)} for at, who in self.acknowledgements
            ],
            "last_status_change_at": self.created_at, "urgency": "high",
            "alert_counts": {"all": 1, "triggered": int(self.status != "resolved"), "resolved": int(self.status == "resolved")},
        }  # fmt: skip


def _reference(base: str, kind: str, own: str, summary: str) -> dict[str, str]:
    place = f"{base}/{kind}s/{own}"
    return {"id": own, "type": f"{kind}_reference", "summary": summary, "self": place, "html_url": place}


class FakePagerDuty(Fake):
    """PagerDuty with one service, and an incident `web/web` that a person has acknowledged."""

    name = "pagerduty"
    port = 9403

    def __init__(self) -> None:
        super().__init__()
        self.incidents: list[Incident] = []
        self.reset()

    def reset(self) -> None:
        """Make it as it was at the start."""
        self.incidents[:] = [Incident(1, "web/web", "web is down", "acknowledged")]
        self.incidents[0].acknowledgements.append((_now(), PERSON))

    @property
    def files(self) -> Mapping[str, str]:
        """Give the secrets."""
        return {"pagerduty-key": ROUTING_KEY, "pagerduty-token": TOKEN}

    @property
    def section(self) -> Mapping[str, Any]:
        """Lead here."""
        return {
            "routing_key": {"secret": "pagerduty-key"}, "token": {"secret": "pagerduty-token"},
            "events_url": self.url, "api_url": self.url,
        }  # fmt: skip

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the events' place and the list of incidents."""
        return [web.post("/v2/enqueue", self._enqueue), web.get("/incidents", self._list)]

    def error(self, status: int, message: str) -> web.Response:
        """Give an error as the REST API does."""
        said = {"error": {"message": _STATUSES.get(status, message), "code": 2000 + status, "errors": [message]}}
        return web.json_response(said, status=status)

    def open(self, key: str) -> Incident | None:
        """Give the incident of a key that isn't resolved."""
        return next((each for each in self.incidents if each.key == key and each.status != "resolved"), None)

    async def _enqueue(self, request: web.Request) -> web.Response:
        try:
            event = json.loads(await request.text())
        except ValueError:
            return _invalid("Event object format is unrecognized", "JSON parse error")
        if complaints := list(_complaints(event)):
            return _invalid("Event object is invalid", *complaints)
        key = event.get("dedup_key") or f"made-up-{len(self.incidents)}"
        incident = self.open(key)
        if event["event_action"] == "trigger":
            if incident is None:
                incident = Incident(len(self.incidents) + 1, key, event["payload"]["summary"], triggers=0)
                self.incidents.append(incident)
            incident.triggers += 1
            incident.payload = event["payload"]
        elif incident is not None and event["event_action"] == "acknowledge":
            incident.status = "acknowledged"
            incident.acknowledgements.append((_now(), "Web shop"))
        elif incident is not None:
            incident.status = "resolved"
            incident.acknowledgements.clear()
        return web.json_response({"status": "success", "message": "Event processed", "dedup_key": key}, status=202)

    async def _list(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Token token={TOKEN}":
            raise Refusal(401, "the token is missing or wrong")
        if request.headers.get("Accept") != "application/vnd.pagerduty+json;version=2":
            raise Refusal(400, "the version is missing in the header Accept")
        asked = request.query
        limit, offset = int(asked.get("limit", "25")), int(asked.get("offset", "0"))
        if not 1 <= limit <= 100:
            raise Refusal(400, "limit goes from 1 to 100")
        statuses = asked.getall("statuses[]", ["triggered", "acknowledged", "resolved"])
        found = [
            each for each in self.incidents
            if asked.get("incident_key") in {None, each.key} and each.status in statuses
        ]  # fmt: skip
        if asked.get("sort_by", "created_at:asc").endswith(":desc"):
            found.reverse()
        shown = [each.shown(self.url) for each in found[offset : offset + limit]]
        more = len(found) > offset + limit
        return web.json_response({"incidents": shown, "limit": limit, "offset": offset, "total": None, "more": more})


def _invalid(message: str, *errors: str) -> web.Response:
    return web.json_response({"status": "invalid event", "message": message, "errors": list(errors)}, status=400)


def _complaints(event: Any) -> Sequence[str]:
    """Say what the contract finds wrong with an event."""
    if not isinstance(event, dict):
        return ["the event is no object"]
    wrong = []
    if event.get("routing_key") != ROUTING_KEY:
        long = len(str(event.get("routing_key") or ""))
        wrong.append(
            "Invalid routing key" if long == 32 else "Length of 'routing_key' is incorrect (should be 32 characters)"
        )
    if event.get("event_action") not in {"trigger", "acknowledge", "resolve"}:
        wrong.append("'event_action' is missing or invalid")
    if len(str(event.get("dedup_key") or "")) > 255:
        wrong.append("'dedup_key' is too long (maximum is 255 characters)")
    if event.get("event_action") != "trigger":
        return wrong if event.get("dedup_key") else [*wrong, "'dedup_key' is missing or blank"]
    payload = event.get("payload")
    if not isinstance(payload, dict):
        return [*wrong, "'payload' is missing"]
    blank = [name for name in ("summary", "source") if not isinstance(payload.get(name), str) or not payload[name]]
    wrong += [f"'payload.{name}' is missing or blank" for name in blank]
    if len(str(payload.get("summary") or "")) > 1024:
        wrong.append("'payload.summary' is too long (maximum is 1024 characters)")
    if payload.get("severity") not in _SEVERITIES:
        wrong.append(
            "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')"
        )
    if not isinstance(payload.get("custom_details", {}), dict):
        wrong.append("'payload.custom_details' is no object")
    if any(not isinstance(link, dict) or not link.get("href") for link in event.get("links", [])):
        wrong.append("'links' have no 'href'")
    return wrong
