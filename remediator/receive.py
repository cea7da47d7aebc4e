"""Receive: from the bytes of a webhook to alerts, and from alerts to their episodes.

How Alertmanager and Grafana really behave is noted where it matters; both functions are pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from remediator.errors import MalformedBody, TooManyAlerts
from remediator.model.alert import Alert, AlertStatus, Episode, Notification, RefusedAlert
from remediator.model.identity import new_id
from remediator.model.time import Timestamp, parse_rfc3339

_NEVER = "0001-01-01T00:00:00Z"  # how Go writes a time that isn't set
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_UNFIT = re.compile("[\x00\ud800-\udfff]")  # neither PostgreSQL's text nor UTF-8 can hold these
_HEARD_AGAIN = 60.0  # how exactly `last_seen` is kept: noting every repeat would cost a write for each alert


class Limits(msgspec.Struct, frozen=True):
    """How large a body and its alerts may be."""

    max_alerts: int = 50_000
    max_labels: int = 64  # of one alert
    max_value: int = 64 * 1024  # bytes of one label or annotation value


class _WireAlert(msgspec.Struct):
    status: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    startsAt: str = ""  # noqa: N815 - the sender's names
    endsAt: str = ""  # noqa: N815
    generatorURL: str = ""  # noqa: N815
    fingerprint: str = ""


class _WireBody(msgspec.Struct):
    alerts: list[_WireAlert]
    receiver: str = ""
    groupKey: str = ""  # noqa: N815
    groupLabels: dict[str, str] | None = None  # noqa: N815 - Go writes an empty map that was never made as null
    truncatedAlerts: Annotated[int, msgspec.Meta(le=2**63 - 1)] = 0  # noqa: N815


class _RawBody(_WireBody):
    alerts: list[msgspec.Raw]  # type: ignore[assignment]


_OBJECTS = 8  # to an alert: itself, its labels and annotations, what Grafana adds, and braces in texts
_LARGE = 256 * 1024  # bytes: decoded in one go, a larger body would hold the interpreter for too long
_decoder = msgspec.json.Decoder(_WireBody)
_raw_decoder = msgspec.json.Decoder(_RawBody)
_alert_decoder = msgspec.json.Decoder(_WireAlert)
_STATUSES = {str(status): status for status in AlertStatus}


def decode(body: bytes, now: Timestamp, limits: Limits) -> Notification:
    """Decode one webhook body: Alertmanager's version 4, or Grafana's superset of it (version 1).

    Unknown fields are ignored; for duplicate keys the last wins, as in Go. An alert that can't be taken is refused by
    itself. Raises MalformedBody when the body is no such thing, or no alert of it can be taken.
    """
    if body.count(b"{") > _OBJECTS * limits.max_alerts:
        raise TooManyAlerts("the body holds far more objects than webhook.max_alerts allows alerts")
    wire, refused = _parse(body)
    group = wire.groupLabels or {}
    if len(group) > limits.max_labels or any(
        len(text) > limits.max_value for text in (wire.receiver, wire.groupKey, *group, *group.values())
    ):
        raise MalformedBody("the receiver or the group is larger than webhook.max_labels and webhook.max_value allow")
    if b"\\u" in body and any(_UNFIT.search(text) for text in (wire.receiver, wire.groupKey, *group, *group.values())):
        raise MalformedBody("the receiver or the group of the body holds a NUL or half a surrogate pair")
    if len(wire.alerts) > limits.max_alerts:
        raise TooManyAlerts(
            f"{len(wire.alerts)} alerts in one body, and webhook.max_alerts is {limits.max_alerts}: "
            "set max_alerts in Alertmanager's webhook_config, or raise the limit here"
        )
    alerts: list[Alert] = []
    # A NUL or half a surrogate pair can only come from an escape, and no value is longer than its body.
    plain = b"\\u" not in body and len(body) <= limits.max_value
    for position, each in enumerate(wire.alerts):
        if position in refused:
            continue
        taken = _alert(each, now, limits, plain=plain)
        if isinstance(taken, Alert):
            alerts.append(taken)
        else:
            refused[position] = taken
    if not alerts:
        first = f": alert {min(refused)}: {refused[min(refused)]}" if refused else ": its list of alerts is empty"
        raise MalformedBody(f"no alert of the body can be taken{first}")
    return Notification(
        id=new_id(now),
        received_at=now,
        receiver=wire.receiver,
        group_key=wire.groupKey,
        group_labels=group,
        truncated=max(0, wire.truncatedAlerts),
        alerts=tuple(alerts),
        refused=tuple(RefusedAlert(position=position, why=why) for position, why in sorted(refused.items())),
        body=body,
    )


def _parse(body: bytes) -> tuple[_WireBody, dict[int, str]]:
    """Parse fast; only where that fails, parse again with care, to tell a bad alert from a bad body."""
    try:
        body.decode("utf-8")
        if len(body) <= _LARGE:
            return _decoder.decode(body), {}
        raw = _raw_decoder.decode(body)
        alerts = [_alert_decoder.decode(each) for each in raw.alerts]
        return _WireBody(alerts, raw.receiver, raw.groupKey, raw.groupLabels, raw.truncatedAlerts), {}
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8: byte {error.start} is {body[error.start]:#04x}") from None
    except (msgspec.DecodeError, RecursionError):
        return _parse_carefully(body)


def _parse_carefully(body: bytes) -> tuple[_WireBody, dict[int, str]]:
    def no_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        document = json.loads(body, parse_constant=no_constant)
    except RecursionError:
        raise MalformedBody("the body is nested too deep to be a notification") from None
    except ValueError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    alerts = document.get("alerts") if isinstance(document, dict) else None
    if not isinstance(alerts, list):
        raise MalformedBody("the body is not a notification of Alertmanager or Grafana: it has no list `alerts`")
    refused: dict[int, str] = {}
    wire: list[_WireAlert] = []
    for position, each in enumerate(alerts):
        try:
            wire.append(msgspec.convert(each, _WireAlert))
        except (msgspec.ValidationError, UnicodeError) as error:
            refused[position] = str(error)
            wire.append(_WireAlert())
    try:
        return msgspec.structs.replace(msgspec.convert({**document, "alerts": []}, _WireBody), alerts=wire), refused
    except (msgspec.ValidationError, UnicodeError) as error:
        raise MalformedBody(f"the body is not a notification: {error}") from None


def _alert(wire: _WireAlert, now: Timestamp, limits: Limits, *, plain: bool) -> Alert | str:
    """Give the alert, or the reason why it can't be taken; `plain` says that none of its texts can be at fault."""
    status = _STATUSES.get(wire.status)
    if status is None:
        return f"its status is {wire.status[:64]!r}, neither firing nor resolved"
    if max(len(wire.labels), len(wire.annotations)) > limits.max_labels:
        counts = f"{len(wire.labels)} labels and {len(wire.annotations)} annotations"
        return f"{counts}, and webhook.max_labels is {limits.max_labels}"
    if "" in wire.labels or "" in wire.annotations:
        return "a label or an annotation without a name"
    fault = None if plain else _unfit(wire, limits)
    if fault is not None:
        return fault
    try:
        starts_at = now if wire.startsAt in ("", _NEVER) else parse_rfc3339(wire.startsAt)
        ends_at = None if wire.endsAt in ("", _NEVER) else parse_rfc3339(wire.endsAt)
    except ValueError as error:
        return str(error)
    # A label with an empty value is one that is not there (Prometheus's data model): what names it has to fail.
    labels = (
        {name: value for name, value in wire.labels.items() if value} if "" in wire.labels.values() else wire.labels
    )
    return Alert(
        fingerprint=wire.fingerprint if _FINGERPRINT.fullmatch(wire.fingerprint) else fingerprint(wire.labels),
        status=status,
        labels=labels,
        annotations=wire.annotations,
        starts_at=starts_at,
        ends_at=ends_at,
        generator_url=wire.generatorURL,
    )


def _unfit(wire: _WireAlert, limits: Limits) -> str | None:
    """Find a text that is too large, or that neither UTF-8 nor PostgreSQL could hold."""
    for kind, pairs in (("label", wire.labels), ("annotation", wire.annotations)):
        for name, value in pairs.items():
            if any(
                len(text) * 4 > limits.max_value and len(text.encode("utf-8", "replace")) > limits.max_value
                for text in (name, value)
            ):
                return f"{kind} {name[:64]!r} is larger than webhook.max_value ({limits.max_value} bytes)"
            if _UNFIT.search(value) or _UNFIT.search(name):
                return f"{kind} {name[:64]!r} holds a NUL or half a surrogate pair"
    if _UNFIT.search(wire.generatorURL):
        return "generatorURL holds a NUL or half a surrogate pair"
    return None


def fingerprint(labels: Mapping[str, str]) -> str:
    """Compute Alertmanager's fingerprint: FNV-1a over the sorted pairs, each part ended by 0xff.

    Source: prometheus/common, `model.LabelSet.Fingerprint`.
    """
    sum_ = 0xCBF29CE484222325
    for name in sorted(labels, key=lambda name: name.encode()):
        for part in (name, labels[name]):
            for byte in (*part.encode(), 0xFF):
                sum_ = ((sum_ ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{sum_:016x}"


class Tracked(msgspec.Struct):
    """What a notification changes among the episodes."""

    opened: dict[int, Episode] = msgspec.field(default_factory=dict)  # some closed at once: resolved before firing
    seen: list[tuple[int, Timestamp]] = msgspec.field(default_factory=list)
    closed: list[tuple[int, Timestamp]] = msgspec.field(default_factory=list)
    firing: list[Episode] = msgspec.field(default_factory=list)  # the episodes that this notification says are firing
    stale: int = 0  # told of an episode that is over, or over again
    clamped: int = 0  # began in the future, by the sender's clock


def track(
    notification: Notification,
    alerts: Sequence[Alert],
    known: dict[str, Episode],
    ids: Iterator[int],
    tracked: Tracked,
    now: Timestamp,
) -> None:
    """Apply one notification's alerts, or a chunk of them, to the newest episodes known by fingerprint.

    `now` is the transaction's, by which episodes are first seen in the order of their ids: a notification may have waited.
    `known` and `tracked` are the working set of one transaction and are changed. An episode opens with the first firing of a
    fingerprint that has none open and is closed by its resolve; a firing that began before the last close is a late
    duplicate and opens nothing (alertmanager-facts 1, 6).
    """
    received_at = notification.received_at
    for alert in alerts:
        episode = known.get(alert.fingerprint)
        if alert.status is AlertStatus.FIRING:
            over = episode is not None and episode.ended_at is not None
            if episode is None or (over and (episode.lost or alert.starts_at > (episode.ended_at or received_at))):
                tracked.clamped += alert.starts_at > received_at
                episode = _open(alert, notification, next(ids), None, now)
                tracked.opened[episode.id] = episode
                tracked.firing.append(episode)
            elif episode.ended_at is None:
                tracked.firing.append(episode)
                if now - episode.last_seen >= _HEARD_AGAIN:
                    tracked.seen.append((episode.id, now))
            else:
                tracked.stale += 1
            known[alert.fingerprint] = episode
            continue
        ended_at = min(received_at, alert.ends_at if alert.ends_at is not None else received_at)
        if episode is None:
            # Resolved before firing: remembered, so that the firing that comes late opens nothing.
            episode = _open(alert, notification, next(ids), ended_at, now)
            tracked.opened[episode.id] = episode
        elif episode.ended_at is None and ended_at < episode.starts_at:
            tracked.stale += 1  # the resolve of an earlier episode
        elif episode.ended_at is None or episode.lost or ended_at > episode.ended_at:
            episode = msgspec.structs.replace(episode, ended_at=ended_at, lost=False)
            if episode.id in tracked.opened:
                tracked.opened[episode.id] = episode
            else:
                tracked.closed.append((episode.id, ended_at))
        else:
            tracked.stale += 1
        known[alert.fingerprint] = episode


def _open(alert: Alert, notification: Notification, number: int, ended_at: Timestamp | None, now: Timestamp) -> Episode:
    return Episode(
        id=number,
        fingerprint=alert.fingerprint,
        labels=alert.labels,
        annotations=alert.annotations,
        generator_url=alert.generator_url,
        starts_at=min(alert.starts_at, notification.received_at),
        first_seen=now,
        last_seen=now,
        ended_at=ended_at,
        over=ended_at is not None,
        group_key=notification.group_key,
        group_labels=notification.group_labels,
        truncated=notification.truncated,
    )
