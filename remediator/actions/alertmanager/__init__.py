"""Alertmanager's API, version 2: which alerts fire, and silences.

One file has the alerts, one the silences, one the matchers by which both are named. The requests are those of
Alertmanager's own OpenAPI document (prometheus/alertmanager, `api/v2/openapi.yaml`).
"""

from __future__ import annotations

from typing import Any

from remediator.actions.alertmanager.alerts import AlertmanagerAlerts, AlertsParameters
from remediator.actions.alertmanager.matchers import split_matchers
from remediator.actions.alertmanager.silences import (
    AlertmanagerExpireSilence,
    AlertmanagerSilence,
    AlertmanagerSilences,
)
from remediator.actions.protocol import Action

ACTIONS: tuple[Action[Any], ...] = (
    AlertmanagerAlerts(),
    AlertmanagerSilences(),
    AlertmanagerSilence(),
    AlertmanagerExpireSilence(),
)

__all__ = ["ACTIONS", "AlertmanagerAlerts", "AlertsParameters", "split_matchers"]
