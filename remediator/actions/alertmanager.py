"""Alertmanager's API, version 2."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, Field

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
_STATES = ("active", "silenced", "inhibited", "unprocessed")
_BETWEEN_COMMAS = re.compile(r'(?:"(?:\\.|[^"\\])*"?|\\[\\"]|[^,"])+', re.DOTALL)


class _Status(msgspec.Struct, frozen=True):
    state: str
    silencedBy: list[str] = []  # noqa: N815 - the API's name
    inhibitedBy: list[str] = []  # noqa: N815


class _Alert(msgspec.Struct, frozen=True):
    """The API's `gettableAlert`."""

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    startsAt: str  # noqa: N815
    endsAt: str  # noqa: N815
    status: _Status


def split_matchers(text: str) -> list[str]:
    """Split `{a="b", c=~"d"}`, with braces or without, at the commas outside quotes: the API takes one at a time."""
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    return [matcher.strip() for matcher in _BETWEEN_COMMAS.findall(text) if matcher.strip()]


def _names_something(match: str | list[str]) -> str | list[str]:
    if not all(split_matchers(text) for text in _texts(match)) or not match:
        raise ValueError("there is no matcher in it: that would be every alert there is")
    return match


def _texts(match: str | list[str]) -> list[str]:
    return [match] if isinstance(match, str) else match


class AlertsParameters(Parameters):
    """Which alerts to ask for."""

    match: Annotated[
        Annotated[str, Gate.MATCHERS] | list[Annotated[str, Gate.MATCHERS]], AfterValidator(_names_something)
    ] = Field(
        description="Matchers, one text or a list of texts that must all hold.",
        examples=['{alertname="HighErrorRate", app="web"}'],
    )


class AlertmanagerAlerts(Action[AlertsParameters]):
    """Ask Alertmanager which alerts are firing, silenced and inhibited ones included.

    `alerts` lists `fingerprint`, `labels`, `annotations`, `starts_at`, `ends_at`, `state` (`active`, `suppressed`,
    `unprocessed`), `silenced_by` and `inhibited_by`; `count` is their number. Where that is more than a result may
    hold (64 KiB) only `fingerprint`, `labels` and `state` are given; where that is still too much the step fails: the
    list is never cut.

    Example:
        - id: siblings
          uses: alertmanager.alerts
          with:
            match: '{alertname="InstanceDown", cluster="{{ labels.cluster }}"}'
          expect: result.count < 3
    """

    name = "alertmanager.alerts"
    effect = Effect.READ
    parameters = AlertsParameters
    section = "alertmanager"

    def plan(self, params: AlertsParameters) -> str:
        """Quote the matchers."""
        return visible(f"ask Alertmanager for the alerts that match {', '.join(_texts(params.match))}", longest=2000)

    async def run(self, params: AlertsParameters, context: Context) -> Outcome:
        """Ask it."""
        url = base_url(context, "alertmanager")
        if isinstance(url, Outcome):
            return url
        filters = [("filter", matcher) for text in _texts(params.match) for matcher in split_matchers(text)]
        states = [(state, "true") for state in _STATES]
        answer = await fetch(
            Call("GET", f"{url}/api/v2/alerts", query=(*filters, *states), limit=_ANSWER_LIMIT), context
        )
        return answer if isinstance(answer, Outcome) else _outcome(answer)


ACTIONS: tuple[Action[Any], ...] = (AlertmanagerAlerts(),)


def _outcome(answer: Answer) -> Outcome:
    too_many = "more alerts match than a result may hold (64 KiB), and a list is never cut: match fewer"
    if answer.truncated:
        return _error(too_many)
    if answer.status != 200:
        return _error(f"Alertmanager answered {answer.status}: {answer.body}")
    try:
        alerts = msgspec.json.decode(answer.body, type=list[_Alert])
    except (msgspec.DecodeError, RecursionError) as error:
        return _error(f"Alertmanager's answer is not in its own format ({error}): is alertmanager.url right?")
    for entries in (map(_whole, alerts), map(_short, alerts)):
        result: dict[str, JsonValue] = {"alerts": list(entries), "count": len(alerts)}
        if encoded_size(result) <= MAX_RESULT_BYTES:
            return Outcome(Result.OK, result)
    return _error(too_many)


def _error(words: str) -> Outcome:
    return Outcome(Result.ERROR, error=visible(words, longest=300))


def _short(alert: _Alert) -> dict[str, JsonValue]:
    return {"fingerprint": alert.fingerprint, "labels": alert.labels, "state": alert.status.state}


def _whole(alert: _Alert) -> dict[str, JsonValue]:
    return {
        **_short(alert),
        "annotations": alert.annotations,
        "starts_at": alert.startsAt,
        "ends_at": alert.endsAt,
        "silenced_by": alert.status.silencedBy,
        "inhibited_by": alert.status.inhibitedBy,
    }
