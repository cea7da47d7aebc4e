"""Which alerts fire, as Alertmanager knows it."""

from __future__ import annotations

import msgspec
from pydantic import Field

from remediator.actions.alertmanager.matchers import Match, filters_of, texts_of
from remediator.actions.alertmanager.server import listed, read, server
from remediator.actions.bounds import visible
from remediator.actions.protocol import Action, Context, Effect, JsonValue, Outcome, Parameters

_STATES = ("active", "silenced", "inhibited", "unprocessed")


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


class AlertsParameters(Parameters):
    """Which alerts to ask for."""

    match: Match = Field(
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
        return visible(f"ask Alertmanager for the alerts that match {', '.join(texts_of(params.match))}", longest=2000)

    async def run(self, params: AlertsParameters, context: Context) -> Outcome:
        """Ask it."""
        platform = server(context)
        if isinstance(platform, Outcome):
            return platform
        query = [*filters_of(params.match), *((state, "true") for state in _STATES)]
        alerts = await read(platform, "/api/v2/alerts", context, list[_Alert], query)
        return alerts if isinstance(alerts, Outcome) else listed("alerts", alerts, _whole, _short)


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
