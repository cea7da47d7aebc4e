"""PagerDuty: events that page people (Events API v2), and the incidents that came of them (REST API v2).

The shapes of requests and answers are those of PagerDuty's published references: developer.pagerduty.com, "Send an Event"
(`POST /v2/enqueue`) and "List incidents" (`GET /incidents`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import msgspec
from pydantic import Field

from remediator.actions.api import Platform, ask, fitting, refusal, secret_of
from remediator.actions.bounds import encoded_size, parse_json, visible
from remediator.actions.fetch import Call, fetch
from remediator.actions.protocol import (
    Action,
    Context,
    Effect,
    Gate,
    Grammar,
    JsonValue,
    Outcome,
    Parameters,
    Result,
)

_SUMMARY = 1024  # characters of a summary that PagerDuty keeps
_EVENT = 512 * 1024 - 1024  # bytes of an event that PagerDuty takes, with room for what it may count beside the body
_INCIDENTS = 25  # the newest with one key: at most one of a service's is open
_WEB_ADDRESS = r"^https?://[^\s/?#]+\S*$"

DedupKey = Annotated[
    str, Grammar("a dedup key of PagerDuty: 1 to 255 characters that can be printed", r"[^\x00-\x1f\x7f-\x9f]{1,255}")
]
Severity = Annotated[
    Literal["critical", "error", "warning", "info"],
    Grammar("a severity of PagerDuty: critical, error, warning or info", "critical|error|warning|info"),
]
_KEY = "What joins events to one incident. Default: a key of the run, `remediator/RUN`."


class EventParameters(Parameters):
    """Which incident is meant."""

    dedup_key: DedupKey | None = Field(default=None, description=_KEY, examples=["web/{{ labels.app }}"])


class TriggerParameters(EventParameters):
    """What people are told."""

    summary: Annotated[str, Gate.DISPLAY] = Field(
        min_length=1, description="What is wrong, in one sentence; beyond 1,024 characters it is cut, with a mark."
    )
    severity: Severity = Field(description="How bad it is: `critical`, `error`, `warning` or `info`.")
    source: Annotated[str, Gate.DISPLAY] = Field(
        default="remediator", min_length=1, description="What is affected, such as a host or the run's target."
    )
    component: Annotated[str, Gate.DISPLAY] | None = Field(default=None, description="The part that is at fault.")
    group: Annotated[str, Gate.DISPLAY] | None = Field(default=None, description="What the source belongs to.")
    class_: Annotated[str, Gate.DISPLAY] | None = Field(
        default=None, alias="class", description="The kind of event, such as the alert's name."
    )
    custom_details: Annotated[dict[str, Any], Gate.JSON] = Field(
        default={}, description="More for the reader: a mapping of any JSON values."
    )
    links: Annotated[dict[str, Annotated[str, Field(pattern=_WEB_ADDRESS)]], Gate.URL] = Field(
        default={}, max_length=20, description="Pages to open, by the words to click on."
    )


P = TypeVar("P", bound=EventParameters)


class Event(Action[P], Generic[P]):
    """Base of the actions that send an event."""

    effect = Effect.NOTIFY
    section = "pagerduty"
    word: ClassVar[Literal["trigger", "acknowledge", "resolve"]]

    def idempotent(self, params: P) -> bool:
        """Tell that a second event with the same dedup key joins the first."""
        return True

    @abstractmethod
    def body(self, params: P) -> dict[str, JsonValue]:
        """Give what the event says beside its word and key."""

    async def run(self, params: P, context: Context) -> Outcome:
        """Send the event, once."""
        key = _key(params, context)
        platform = _platform(context, "routing_key", "events_url")
        if isinstance(key, Outcome):
            return key
        if isinstance(platform, Outcome):
            return platform
        routing_key = next(iter(platform.secrets))
        event = {"routing_key": routing_key, "event_action": self.word, "dedup_key": key, **self.body(params)}
        return await _send(platform, event, context)


class PagerDutyTrigger(Event[TriggerParameters]):
    """Page people: trigger an incident, or join the one that is open under the same dedup key.

    Without `dedup_key` all that one run triggers joins one incident, so that a repeat pages nobody anew; one that a person
    has resolved in between is opened again. The result has `dedup_key`, to be used in later steps, and `message`. Details
    that make the event larger than PagerDuty takes (512 KiB) are left out: the event says so, and the result has
    `truncated: true`.

    Example:
        - uses: pagerduty.trigger
          with:
            summary: 'Rollback of {{ labels.app }} did not help'
            severity: critical
            source: '{{ target }}'
            custom_details: {rule: '{{ rule.name }}', run: '{{ run.id }}'}
    """

    name = "pagerduty.trigger"
    parameters = TriggerParameters
    word = "trigger"

    def plan(self, params: TriggerParameters) -> str:
        """Quote the summary."""
        return visible(f"page by PagerDuty ({params.severity}), {_meant(params)}: {params.summary}", longest=2000)

    def body(self, params: TriggerParameters) -> dict[str, JsonValue]:
        """Give the payload, the links and our name."""
        payload: dict[str, JsonValue] = {
            "summary": _cut(params.summary, _SUMMARY), "severity": params.severity, "source": params.source,
            "component": params.component, "group": params.group, "class": params.class_,
            "custom_details": params.custom_details or None,
        }  # fmt: skip
        return {
            "payload": {name: value for name, value in payload.items() if value is not None},
            "links": [{"href": address, "text": text} for text, address in params.links.items()],
            "client": "Remediator",
        }


class PagerDutyAcknowledge(Event[EventParameters]):
    """Acknowledge an incident, so that it pages nobody while somebody, or this run, is at work on it.

    PagerDuty takes the event for a key that has no open incident too, and then nothing happens. The result has `dedup_key`
    and `message`.

    Example:
        - uses: pagerduty.acknowledge
          with: {dedup_key: 'web/{{ labels.app }}'}
    """

    name = "pagerduty.acknowledge"
    parameters = EventParameters
    word = "acknowledge"

    def plan(self, params: EventParameters) -> str:
        """Name the incident."""
        return visible(f"acknowledge at PagerDuty, {_meant(params)}", longest=2000)

    def body(self, params: EventParameters) -> dict[str, JsonValue]:
        """Add nothing."""
        return {}


class PagerDutyResolve(Event[EventParameters]):
    """Resolve an incident.

    PagerDuty takes the event for a key that has no open incident too, and then nothing happens. The result has `dedup_key`
    and `message`.

    Example:
        - uses: pagerduty.resolve
          with: {dedup_key: 'web/{{ labels.app }}'}
    """

    name = "pagerduty.resolve"
    parameters = EventParameters
    word = "resolve"

    def plan(self, params: EventParameters) -> str:
        """Name the incident."""
        return visible(f"resolve at PagerDuty, {_meant(params)}", longest=2000)

    def body(self, params: EventParameters) -> dict[str, JsonValue]:
        """Add nothing."""
        return {}


class PagerDutyIncident(Action[EventParameters]):
    """Ask PagerDuty about the incident of a dedup key: is it acknowledged, by whom, since when.

    `found` tells whether there is one; of several the open one is meant, else the newest, and `open` is the number of
    those that are open. `status` is `triggered`, `acknowledged` or `resolved`, `acknowledged` whether it is so now,
    `acknowledged_by` lists names, `acknowledged_since` is the time of the earliest of these acknowledgements. Also there:
    `id`, `number`, `title`, `urgency`, `service`, `assigned_to` (names), `created_at`, `url`. Where none is found these are
    null, false and empty. An incident shows some seconds after its event was sent.

    Example:
        - id: page
          uses: pagerduty.incident
          with: {dedup_key: 'web/{{ labels.app }}'}
          expect: result.acknowledged
    """

    name = "pagerduty.incident"
    effect = Effect.READ
    parameters = EventParameters
    section = "pagerduty"

    def check(self, params: EventParameters, settings: Mapping[str, Any]) -> str | None:
        """Say that reading needs a token of its own."""
        section = settings.get("pagerduty")
        if section is not None and not section.get("token"):
            return "reading incidents needs `pagerduty.token` in the configuration, a REST API key that may read"
        return None

    def plan(self, params: EventParameters) -> str:
        """Name the incident."""
        return visible(f"ask PagerDuty about an incident, {_meant(params)}", longest=2000)

    async def run(self, params: EventParameters, context: Context) -> Outcome:
        """Ask it."""
        key = _key(params, context)
        platform = _platform(context, "token", "api_url")
        if isinstance(key, Outcome):
            return key
        if isinstance(platform, Outcome):
            return platform
        query = (
            ("incident_key", key), ("date_range", "all"), ("sort_by", "created_at:desc"), ("limit", str(_INCIDENTS)),
        )  # fmt: skip
        value = await ask(platform, "GET", "/incidents", context, query=query)
        if isinstance(value, Outcome):
            return value
        try:
            found = msgspec.convert(value, _Incidents).incidents
        except msgspec.ValidationError as error:
            words = f"PagerDuty's answer is not in its own format ({error}): is pagerduty.api_url right?"
            return Outcome(Result.ERROR, error=visible(words, longest=300))
        return fitting(_described(key, found), f"the incident {visible(key, longest=100)}")


ACTIONS: tuple[Action[Any], ...] = (
    PagerDutyTrigger(), PagerDutyAcknowledge(), PagerDutyResolve(), PagerDutyIncident(),
)  # fmt: skip


class _Named(msgspec.Struct, frozen=True):
    """A reference to something of PagerDuty's: a user, a service."""

    summary: str | None = None


class _Acknowledgement(msgspec.Struct, frozen=True):
    at: str
    acknowledger: _Named


class _Assignment(msgspec.Struct, frozen=True):
    assignee: _Named


class _Incident(msgspec.Struct, frozen=True):
    id: str
    status: str
    created_at: str
    acknowledgements: list[_Acknowledgement]
    incident_number: int | None = None
    title: str | None = None
    urgency: str | None = None
    html_url: str | None = None
    service: _Named = _Named()
    assignments: list[_Assignment] = []


class _Incidents(msgspec.Struct, frozen=True):
    incidents: list[_Incident]


def _described(key: str, found: list[_Incident]) -> dict[str, JsonValue]:
    open_ones = [incident for incident in found if incident.status != "resolved"]
    meant = next(iter(open_ones or found), None)
    known: dict[str, JsonValue] = {"found": meant is not None, "open": len(open_ones), "dedup_key": key}
    if meant is None:
        nothing = ("id", "number", "title", "status", "urgency", "service", "created_at", "acknowledged_since", "url")
        return {**known, **dict.fromkeys(nothing), "acknowledged": False, "acknowledged_by": [], "assigned_to": []}
    acknowledged = meant.status == "acknowledged"
    by = meant.acknowledgements if acknowledged else []
    return {
        **known, "id": meant.id, "number": meant.incident_number, "title": meant.title, "status": meant.status,
        "urgency": meant.urgency, "service": meant.service.summary, "created_at": meant.created_at,
        "acknowledged": acknowledged, "acknowledged_by": [each.acknowledger.summary for each in by],
        "acknowledged_since": min((each.at for each in by), default=None),
        "assigned_to": [each.assignee.summary for each in meant.assignments], "url": meant.html_url,
    }  # fmt: skip


def _meant(params: EventParameters) -> str:
    return "the incident of this run" if params.dedup_key is None else f"the incident {params.dedup_key}"


def _key(params: EventParameters, context: Context) -> str | Outcome:
    if params.dedup_key is not None:
        return params.dedup_key
    if not context.run:
        return Outcome(Result.NOT_SENT, error="there is no run to name the incident by: give `dedup_key`")
    return f"remediator/{context.run}"


def _platform(context: Context, key: str, url: str) -> Platform | Outcome:
    """Give one of PagerDuty's two APIs, each with a credential of its own."""
    secret = secret_of(context, "pagerduty", key)
    if isinstance(secret, Outcome):
        return secret
    value, name = secret
    headers = {"Content-Type": "application/json"}
    if key == "token":
        headers |= {"Accept": "application/vnd.pagerduty+json;version=2", "Authorization": f"Token token={value}"}
    return Platform("PagerDuty", context.settings["pagerduty"][url], headers, {value: f"[secret {name}]"})


async def _send(platform: Platform, event: dict[str, JsonValue], context: Context) -> Outcome:
    event, truncated = _within_bounds(event)
    body = msgspec.json.encode(event)
    call = Call("POST", f"{platform.url}/v2/enqueue", headers=platform.headers, body=body, secrets=platform.secrets)
    answer = await fetch(call, context)
    if isinstance(answer, Outcome):
        return answer
    if not 200 <= answer.status < 300:
        return refusal(platform, f"the {event['event_action']} event", answer)
    said = parse_json(answer.body)
    if not isinstance(said, dict) or said.get("status") != "success":
        words = f"PagerDuty answered the event with {answer.status}, and not that it was taken: {answer.body}"
        return Outcome(Result.ERROR, error=visible(words, longest=300))
    result = {"dedup_key": event["dedup_key"], "message": said.get("message")}
    return fitting({**result, "truncated": True} if truncated else result, "PagerDuty's answer")


def _within_bounds(event: dict[str, JsonValue]) -> tuple[dict[str, JsonValue], bool]:
    """Leave the details out of an event that PagerDuty would refuse for its size: a page without them is better than none."""
    size = encoded_size(event)
    if size <= _EVENT:
        return event, False
    note = {"remediator": f"the details are left out: with them the event has {size} bytes, more than PagerDuty takes"}
    return {**event, "payload": {**event["payload"], "custom_details": note}}, True


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
