"""Alerts as Alertmanager tells of them, and the episodes that we make of them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from remediator.model.time import Timestamp


class AlertStatus(StrEnum):
    """What the sender says of one alert. The group's status is never asked (alertmanager-facts 9)."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Alert(msgspec.Struct, frozen=True):
    """One label set, as one notification told of it."""

    fingerprint: str  # 16 hex digits over the labels alone: the same for every episode
    status: AlertStatus
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: Timestamp
    ends_at: Timestamp | None  # None where the sender wrote the year 1
    generator_url: str = ""


class RefusedAlert(msgspec.Struct, frozen=True):
    """One alert of a body that could not be taken, and why."""

    position: int  # in the body's list, from 0
    why: str


class Notification(msgspec.Struct, frozen=True):
    """One webhook body, decoded."""

    id: str
    received_at: Timestamp
    receiver: str
    group_key: str
    group_labels: Mapping[str, str]
    truncated: int  # alerts that `max_alerts` cut off: more than 0 means that the population is unknown
    alerts: tuple[Alert, ...]
    refused: tuple[RefusedAlert, ...]
    body: bytes  # as received, for replay


class Episode(msgspec.Struct, frozen=True):
    """One stretch of an alert from firing to resolved."""

    id: int
    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    generator_url: str
    starts_at: Timestamp  # as the sender said when it opened, clamped to `first_seen`
    first_seen: Timestamp  # by our clock: `for` counts from here
    last_seen: Timestamp
    ended_at: Timestamp | None
    group_key: str = ""
    group_labels: Mapping[str, str] = {}
    truncated: int = 0  # of the notification that opened it
    over: bool = False  # it had resolved before it was first heard of: it never began here
    lost: bool = False  # closed because nothing was heard of it for too long: nobody said that it resolved

    @property
    def firing(self) -> bool:
        """Tell whether it is still open."""
        return self.ended_at is None
