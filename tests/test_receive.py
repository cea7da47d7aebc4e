"""Receive: bodies to alerts, alerts to episodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.errors import MalformedBody
from remediator.model.alert import Alert, AlertStatus, Notification
from remediator.receive import Limits, Tracked, decode, fingerprint, track

NOW = 1_795_000_000.0
CAPTURED = Path(__file__).parent.parent.parent / "shared" / "payloads"


def body(*alerts: dict, **more: object) -> bytes:
    return json.dumps({"version": "4", "status": "firing", "receiver": "hook", "alerts": list(alerts), **more}).encode()


def alert(**changes: object) -> dict:
    base = {
        "status": "firing",
        "labels": {"alertname": "Down", "app": "web"},
        "annotations": {},
        "startsAt": "2026-11-23T06:11:19.068841875Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": "1f2355f95a0db245",
    }
    return {**base, **changes}


@pytest.mark.skipif(not CAPTURED.is_dir(), reason="the captured bodies are not beside this checkout")
def test_every_captured_body_is_taken_whole() -> None:
    """Bodies of real Alertmanagers, 0.25 and 0.33, lose no alert."""
    files = sorted(CAPTURED.glob("*.json"))
    assert files
    for file in files:
        raw = file.read_bytes()
        told = json.loads(raw)
        notification = decode(raw, NOW, Limits())
        assert len(notification.alerts) == len(told["alerts"]), file.name
        assert not notification.refused, file.name
        assert [each.status for each in notification.alerts] == [each["status"] for each in told["alerts"]], file.name
        assert notification.truncated == told["truncatedAlerts"], file.name
        for taken, original in zip(notification.alerts, told["alerts"], strict=True):
            assert fingerprint(taken.labels) == original["fingerprint"], file.name


def test_a_body_of_version_4_is_decoded() -> None:
    """What Alertmanager sends arrives as it was told."""
    notification = decode(body(alert(), groupKey="{}", groupLabels={"a": "b"}, truncatedAlerts=3), NOW, Limits())
    (taken,) = notification.alerts
    assert taken.status is AlertStatus.FIRING
    assert taken.labels == {"alertname": "Down", "app": "web"}
    assert taken.ends_at is None
    assert taken.starts_at == pytest.approx(1795414279.068841)
    assert (notification.group_key, notification.truncated) == ("{}", 3)


def test_grafanas_superset_without_a_name_or_labels_is_taken() -> None:
    """Grafana's own contact point says version 1, and may send an alert with no labels at all."""
    sent = alert(labels={}, fingerprint="", values={"A": 1}, silenceURL="http://x", valueString="[ ]")
    notification = decode(body(sent, version="1", orgId=1, state="alerting", title="x", message="y"), NOW, Limits())
    assert notification.alerts[0].fingerprint == fingerprint({}) == "cbf29ce484222325"


def test_the_last_of_duplicate_keys_wins() -> None:
    """Go's decoder does so, and the sender is written in Go."""
    raw = b'{"alerts": [{"status": "firing", "status": "resolved", "labels": {"a": "1", "a": "2"}}]}'
    (taken,) = decode(raw, NOW, Limits()).alerts
    assert (taken.status, taken.labels) == (AlertStatus.RESOLVED, {"a": "2"})


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "no list `alerts`"),
        (b'{"alerts": {}}', "no list `alerts`"),
        (b'{"alerts": []}', "empty"),
        (b'{"alerts": [{}]} trailing', "not JSON"),
        (b'{"alerts": [NaN]}', "NaN"),
        (b'{"alerts": [1e999], "x": Infinity}', "Infinity"),
        (b'{"truncatedAlerts": 1e999, "alerts": [{"status": "firing"}]}', "not a notification"),
        (b'{"truncatedAlerts": ' + b"9" * 5000 + b', "alerts": [{"status": "firing"}]}', "JSON"),
        (b'{"alerts": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deep"),
        (b'{"alerts": [{"status": "firing", "labels": {"a": "\xff"}}]}', "UTF-8"),
    ],
)
def test_a_malformed_body_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    """The sender's log shows what was wrong."""
    with pytest.raises(MalformedBody, match=reason):
        decode(raw, NOW, Limits())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "suppressed"}, "neither firing nor resolved"),
        ({"startsAt": "yesterday"}, "not an RFC 3339 time"),
        ({"startsAt": "2026-11-23"}, "no offset"),
        ({"endsAt": "99999-01-01T00:00:00Z"}, "not an RFC 3339 time"),
        ({"labels": {"a": "x\x00y"}}, "NUL"),
        ({"labels": {"a\x00": "y"}}, "NUL"),
        ({"annotations": {"a": "\ud800"}}, "surrogate"),
        ({"labels": {"a": 1}}, "str"),
        ({"labels": None}, "object"),
        ({"labels": {"": "x"}}, "without a name"),
        ({"labels": {f"l{n}": "x" for n in range(10_000)}}, "10000 labels"),
        ({"labels": {"a": "x" * 1024 * 1024}}, "max_value"),
        ({"labels": {"a": "ü" * 40_000}}, "max_value"),
    ],
)
def test_an_alert_that_cannot_be_taken_is_refused_alone(changes: dict, reason: str) -> None:
    """The others of the body are taken, and the refusal says why."""
    notification = decode(body(alert(**changes), alert()), NOW, Limits())
    assert len(notification.alerts) == 1
    (refused,) = notification.refused
    assert refused.position == 0
    assert reason in refused.why
    with pytest.raises(MalformedBody, match="no alert of the body can be taken"):
        decode(body(alert(**changes)), NOW, Limits())


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["alerts", "status", "labels", "x"]), inner, max_size=3)
        ),
    ).map(lambda value: json.dumps({"alerts": value}).encode())
)
def test_any_body_is_taken_or_refused(raw: bytes) -> None:
    """Nothing that a stranger can post raises anything else."""
    try:
        taken = len(decode(raw, NOW, Limits()).alerts)
    except MalformedBody:
        taken = None
    assert taken is None or taken > 0


# -- episodes --


class Told:
    """A receiver that remembers: what a sequence of notifications makes of episodes."""

    def __init__(self) -> None:
        self.known: dict = {}
        self.ids = iter(range(1, 1000))

    def hear(self, status: str, at: float, starts: float, ends: float | None = None) -> Tracked:
        alert = Alert("f" * 16, AlertStatus(status), {"alertname": "Down"}, {}, starts, ends)
        tracked = Tracked()
        track(Notification("n", at, "", "", {}, 0, (alert,), (), b""), (alert,), self.known, self.ids, tracked, at)
        return tracked

    @property
    def firing(self) -> bool:
        return any(episode.firing for episode in self.known.values())


def test_the_first_firing_opens_an_episode_and_repeats_do_not() -> None:
    """A repeat is the same episode, whatever `startsAt` has become (it moves)."""
    told = Told()
    assert len(told.hear("firing", 100, 90).opened) == 1
    assert not told.hear("firing", 110, 95).opened
    assert not told.hear("firing", 120, 80).opened


def test_a_resolve_closes_at_its_own_end_and_a_zero_end_at_its_receipt() -> None:
    """`endsAt` is the sender's word; where it is missing, ours counts."""
    told = Told()
    told.hear("firing", 100, 90)
    assert told.hear("resolved", 150, 90, 140).closed == [(1, 140)]
    told.hear("firing", 200, 190)
    assert told.hear("resolved", 250, 190).closed == [(2, 250)]


def test_a_firing_that_began_before_the_close_is_a_late_duplicate() -> None:
    """One episode can arrive as firing, resolved, firing, resolved, in any order."""
    told = Told()
    told.hear("firing", 100, 90)
    told.hear("resolved", 150, 90, 140)
    late = told.hear("firing", 151, 90)
    assert (late.opened, late.stale) == ({}, 1)
    assert not told.firing


def test_a_firing_that_began_after_the_close_is_a_new_episode() -> None:
    """The same fingerprint can come back."""
    told = Told()
    told.hear("firing", 100, 90)
    told.hear("resolved", 150, 90, 140)
    assert list(told.hear("firing", 160, 141).opened) == [2]


@pytest.mark.fault("resolved before firing")
def test_resolved_before_firing_opens_nothing_later() -> None:
    """The resolve overtook its firing: the episode is over."""
    told = Told()
    assert not told.hear("resolved", 150, 90, 140).firing
    assert told.hear("firing", 151, 90).stale == 1
    assert not told.firing


def test_the_resolve_of_an_earlier_episode_does_not_close_this_one() -> None:
    """A late duplicate of an old resolve ends before the present episode began."""
    told = Told()
    told.hear("firing", 300, 290)
    assert told.hear("resolved", 301, 90, 140).closed == []
    assert told.firing


@pytest.mark.fault("ancient `startsAt`")
def test_an_ancient_start_is_taken_and_a_future_one_clamped() -> None:
    """Clocks differ; an episode never begins after we heard of it."""
    told = Told()
    assert next(iter(told.hear("firing", 100, -1e9).opened.values())).starts_at == -1e9
    other = Told()
    tracked = other.hear("firing", 100, 5000)
    assert next(iter(tracked.opened.values())).starts_at == 100
    assert tracked.clamped == 1


def test_an_episode_may_open_close_and_open_in_one_transaction() -> None:
    """Several notifications are kept together; what is written in the end is consistent."""
    told, tracked = Told(), Tracked()
    for status, at, starts, ends in (("firing", 10, 9, None), ("resolved", 11, 9, 10.5), ("firing", 12, 11, None)):
        one = Alert("f" * 16, AlertStatus(status), {}, {}, starts, ends)
        track(Notification("n", at, "", "", {}, 0, (one,), (), b""), (one,), told.known, told.ids, tracked, at)
    assert [episode.firing for episode in tracked.opened.values()] == [False, True]
    assert tracked.closed == []


def test_last_seen_is_kept_to_the_minute() -> None:
    """A repeat within a minute costs no write."""
    told = Told()
    told.hear("firing", 100, 90)
    assert told.hear("firing", 130, 90).seen == []
    assert told.hear("firing", 161, 90).seen == [(1, 161)]


def test_a_label_with_an_empty_value_is_not_there() -> None:
    """So a template that names it fails, instead of acting on a blank."""
    told = {
        "version": "4",
        "groupKey": "g",
        "alerts": [{"status": "firing", "labels": {"alertname": "Down", "app": ""}}],
    }
    (alert,) = decode(json.dumps(told).encode(), 1_795_000_000.0, Limits()).alerts
    assert alert.labels == {"alertname": "Down"}
