"""`kubernetes.logs` and `kubernetes.events`: what there is to see when something goes wrong."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from remediator.actions.bounds import encoded_size, visible
from remediator.actions.fetch import Answer
from remediator.actions.kubernetes.credentials import server_of
from remediator.actions.kubernetes.kinds import KINDS, POD
from remediator.actions.kubernetes.listing import list_of
from remediator.actions.kubernetes.names import Container, Name, Namespace
from remediator.actions.kubernetes.objects import Object
from remediator.actions.kubernetes.server import ANSWER_LIMIT, Query, Server, refused, send, unread
from remediator.actions.protocol import (
    MAX_RESULT_BYTES,
    Action,
    Context,
    Duration,
    Effect,
    JsonValue,
    Outcome,
    Parameters,
    Result,
)

_ROOM = MAX_RESULT_BYTES - 4096  # bytes of the result that may be lines


class LogsParameters(Parameters):
    """Whose log."""

    namespace: Namespace = Field(description="The pod's namespace.")
    pod: Name = Field(description="The pod.")
    container: Container | None = Field(default=None, description="The container; needed where the pod has several.")
    lines: int = Field(default=200, ge=1, le=5000, description="So many of the last lines.")
    since: Duration | None = Field(default=None, ge=1, description="Only lines younger than that.")
    previous: bool = Field(default=False, description="The log of the container's life before its last restart.")


class Logs(Action[LogsParameters]):
    """Read the last lines of a container's log.

    `log` is the text, `lines` the number of its lines; where they are more than a result may hold (64 KiB) the last
    ones are given, and `truncated` is true.

    Example:
        - id: crash
          uses: kubernetes.logs
          with: {namespace: '{{ labels.namespace }}', pod: '{{ labels.pod }}', lines: 100, previous: true}
    """

    name = "kubernetes.logs"
    effect = Effect.READ
    parameters = LogsParameters
    section = "kubernetes"

    def plan(self, params: LogsParameters) -> str:
        """Name the container."""
        of = f"{params.namespace}/{params.pod}" + (f" ({params.container})" if params.container else "")
        which = "previous log" if params.previous else "log"
        return visible(f"read the last {params.lines} lines of the {which} of {of}", longest=2000)

    async def run(self, params: LogsParameters, context: Context) -> Outcome:
        """Read them."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        query: Query = ()
        if params.container is not None:
            query += (("container", params.container),)
        if params.since is not None:
            query += (("sinceSeconds", str(int(params.since))),)
        if params.previous:
            query += (("previous", "true"),)
        log = await log_of(server, params.namespace, params.pod, params.lines, query)
        return log if isinstance(log, Outcome) else Outcome(Result.OK, log)


async def log_of(
    server: Server, namespace: str, pod: str, lines: int, query: Query = ()
) -> dict[str, JsonValue] | Outcome:
    """Give the end of a log: `log`, `lines`, `truncated`.

    Source: `readCoreV1NamespacedPodLog` in the API reference. Its `limitBytes` would cut off the end, not the beginning.
    """
    where = POD.where(namespace, pod, "log")
    answer = await send(server, "GET", where, query=(*query, ("tailLines", str(lines))))
    if isinstance(answer, Outcome):
        return answer
    if answer.status != 200:
        return refused(server, f"GET {where}", answer)
    if not answer.headers.get("content-type", "text/plain").startswith("text/plain"):
        return unread(f"what answered GET {where} gave no log: is the kubeconfig's server right?")
    if answer.truncated:
        return unread(f"the last {lines} lines of {pod} are more than {ANSWER_LIMIT // 1024**2} MiB: ask for fewer")
    return _end(answer)


def _end(answer: Answer) -> dict[str, JsonValue]:
    text = answer.body
    while encoded_size(text) > _ROOM:
        text = text[-_ROOM:] if len(text) > _ROOM else text[len(text) // 8 + 1 :]
    if truncated := len(text) < len(answer.body):
        text = text.partition("\n")[2] or text  # a whole line first
    return {"log": text, "lines": len(text.splitlines()), "truncated": truncated}


class EventsParameters(Parameters):
    """Of what."""

    namespace: Namespace | None = Field(default=None, description="The namespace; `default` for kinds in none.")
    kind: str | None = Field(default=None, pattern="^[A-Z][A-Za-z0-9]{0,62}$", description="The kind of the object.")
    name: Name | None = Field(default=None, description="The name of the object.")
    type: Literal["Normal", "Warning"] | None = Field(default=None, description="Only those; default: both.")

    @model_validator(mode="after")
    def _sensible(self) -> EventsParameters:
        if self.name is not None and self.kind is None:
            raise ValueError("with `name` give `kind`, too: a Deployment and a Pod may have the same name")
        of = KINDS.get(self.kind or "")
        if self.namespace is None and (of is None or of.namespaced):
            raise ValueError("give `namespace`")
        return self


class _Involved(Object, frozen=True):
    kind: str = ""
    name: str = ""


class _Series(Object, frozen=True):
    count: int = 0
    last_observed_time: str | None = None


class _Event(Object, frozen=True):
    """The core API's `Event`."""

    involved_object: _Involved
    reason: str | None = None
    message: str | None = None
    type: str | None = None
    count: int | None = None
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None
    series: _Series | None = None

    @property
    def last(self) -> str:
        """Give when it was last seen."""
        return (self.series and self.series.last_observed_time) or self.last_timestamp or self.event_time or ""


class Events(Action[EventsParameters]):
    """List what the cluster has said about an object or a namespace, the newest first.

    `events` lists `type`, `reason`, `message`, `object` (`Pod/web-0`), `count`, `first` and `last`; `count` is the number
    of all that there are. Where they are more than a result may hold (64 KiB) the newest are given, and `truncated` is true.

    Example:
        - id: events
          uses: kubernetes.events
          with: {namespace: '{{ labels.namespace }}', kind: Pod, name: '{{ labels.pod }}', type: Warning}
    """

    name = "kubernetes.events"
    effect = Effect.READ
    parameters = EventsParameters
    section = "kubernetes"

    def plan(self, params: EventsParameters) -> str:
        """Name the object."""
        of = " ".join(filter(None, [params.kind, params.name])) or "everything"
        return visible(f"list the events of {of} in {params.namespace or 'the cluster'}", longest=2000)

    async def run(self, params: EventsParameters, context: Context) -> Outcome:
        """List them."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        narrowed = {"involvedObject.kind": params.kind, "involvedObject.name": params.name, "type": params.type}
        fields = ",".join(f"{key}={text}" for key, text in narrowed.items() if text)
        events = await list_of(server, KINDS["Event"], params.namespace or "default", _Event, fields=fields)
        if isinstance(events, Outcome):
            return events
        listed: list[JsonValue] = []
        room = _ROOM
        for event in sorted(events, key=lambda event: event.last, reverse=True):
            short = _short(event)
            room -= encoded_size(short) + 1
            if room < 0:
                break
            listed.append(short)
        return Outcome(Result.OK, {"events": listed, "count": len(events), "truncated": len(listed) < len(events)})


def _short(event: _Event) -> dict[str, JsonValue]:
    return {
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
        "object": f"{event.involved_object.kind}/{event.involved_object.name}",
        "count": (event.series.count if event.series else event.count) or 1,
        "first": event.first_timestamp or event.event_time,
        "last": event.last or None,
    }
