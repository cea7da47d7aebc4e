"""P3 and P17 with the real daemon: clocks that jump, and a daemon that stood still."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pytest
from clocks import ALL, WALL, Clock
from daemon import Daemon, eventually
from killing import Gated

pytestmark = pytest.mark.slow

HOUR = 3600
NOTICES = {"to": [{"uses": "log", "with": {"message": "told: {{ notice.kind }}: {{ notice.text }}"}}]}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Gated]:
    """Lend a daemon that a test will start; whatever is left of it and its programs ends with the test."""
    gated = Gated(tmp_path, notices=NOTICES)
    try:
        yield gated
    finally:
        gated.__exit__()


def send(daemon: Daemon, unit: str, status: str, minute: int) -> str | None:
    """Post one alert as it is after so many minutes; gives the run that it leads to."""
    at = f"2026-01-01T00:{minute:02}:00Z"
    times = {"startsAt": at} if status == "firing" else {"startsAt": "2026-01-01T00:00:00Z", "endsAt": at}
    answer = daemon.post({"alerts": [{"status": status, "labels": {"alertname": "Hold", "unit": unit}, **times}]})
    assert answer.status == 200, answer.body
    return next(iter(answer.json()["runs"]), None)


def again(daemon: Daemon, unit: str, minute: int) -> str:
    """Let an alert resolve and fire anew; gives the new run."""
    send(daemon, unit, "resolved", minute)
    run = send(daemon, unit, "firing", minute + 1)
    assert run is not None
    return run


def freeze(daemon: Daemon, clock: Clock, seconds: float) -> None:
    """Stop a daemon for so long: it is frozen, and the time goes on without it."""
    daemon.signal(SIGSTOP)
    state = Path(f"/proc/{daemon.pid}/status")
    eventually(lambda: "\nState:\tT" in state.read_text(), "it stands still")
    clock.move(seconds)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.fault("clock ±1 h", store="sqlite")
def test_p17_a_wall_clock_that_jumps_opens_no_cooldown_limit_pause_or_lease(daemon: Gated, jump: int) -> None:
    """An hour forth or back, a run at work stays ours, and every guard refuses as it would have without."""
    file = daemon.rules / "hold.yml"
    file.write_text(daemon.rule.replace("cooldown: 0s", "cooldown: 10m, limit: 1 per 30m"))
    clock = Clock(daemon, WALL)
    daemon.start()
    run = daemon.begin()
    clock.move(jump)
    assert daemon.ask("/controls", {"kind": "pause", "reason": "look", "target": "unit/c", "for": "30m"})
    daemon.open_gate()
    daemon.until(run, "succeeded")
    assert daemon.effects() == ["begun a", "ended a"]
    clock.move(-jump)
    refused = {again(daemon, "a", 10): "cooldown", send(daemon, "b", "firing", 10): "limit"}
    for each, reason in refused.items():
        assert daemon.until(str(each), "blocked")["reason"] == reason
    held = send(daemon, "c", "firing", 10)
    assert daemon.until(str(held), "waiting")["reason"] == "paused"
    assert daemon.effects() == ["begun a", "ended a"]


@pytest.mark.fault("clock ±1 h", store="sqlite")
def test_p17_a_clock_found_to_have_gone_back_at_the_start_begins_paused(daemon: Gated) -> None:
    """Nothing is started till a person resumes; a notice, the log and the list of controls say why."""
    clock = Clock(daemon, WALL)
    daemon.open_gate()
    daemon.start()
    daemon.until(str(daemon.fire().json()["runs"][0]), "succeeded")
    daemon.stop()
    clock.move(-HOUR)
    daemon.start()
    (control,) = daemon.ask("/controls")["controls"]
    assert (control["kind"], control["author"], control["until"]) == ("pause", "remediator", None)
    assert "the clock is behind" in control["reason"]
    eventually(lambda: "told: pause: everything is paused" in daemon.output(), "a notice was given")
    run = str(daemon.fire("b").json()["runs"][0])
    assert daemon.until(run, "waiting")["reason"] == "paused"
    assert daemon.effects() == ["begun a", "ended a"]
    daemon.ask(f"/controls/{control['id']}?reason=mended", method="DELETE")
    daemon.until(run, "succeeded")


@pytest.mark.fault("clock ±1 h", store="sqlite")
def test_p17_a_clock_a_little_behind_at_the_start_is_no_reason_to_pause(daemon: Gated) -> None:
    """NTP steps by seconds."""
    clock = Clock(daemon, WALL)
    daemon.start()
    daemon.stop()
    clock.move(-20)
    daemon.start()
    assert daemon.ask("/controls")["controls"] == []


@pytest.mark.fault("clock ±1 h", store="sqlite")
def test_p17_a_clock_that_went_back_while_nothing_happened_is_found_too(daemon: Gated) -> None:
    """The daemon keeps the present instant every minute: its history may be hours old."""
    clock = Clock(daemon, ALL)
    daemon.start()
    kept = _kept(daemon)
    clock.move(HOUR)
    eventually(lambda: _kept(daemon) > kept + HOUR / 2, "the present instant is kept")
    daemon.signal(SIGKILL)
    daemon.wait()
    clock.move(0)
    daemon.start()
    assert [control["kind"] for control in daemon.ask("/controls")["controls"]] == ["pause"]


def _kept(daemon: Daemon) -> float:
    """Give the instant that was kept last."""
    with closing(sqlite3.connect(f"file:{daemon.store}?mode=ro", uri=True)) as store:
        (found,) = store.execute("SELECT value FROM meta WHERE key = 'touched_at'").fetchone()
    return float(found)


@pytest.mark.fault("SIGSTOP past the lease", store="sqlite")
def test_p3_a_daemon_that_was_stopped_past_its_lease_does_nothing_twice_when_it_wakes(daemon: Gated) -> None:
    """A step that ended meanwhile is recorded once, and what was sent meanwhile is taken once."""
    file = daemon.rules / "hold.yml"
    file.write_text(f"{daemon.rule}        timeout: 1h\n")
    clock = Clock(daemon, ALL)
    daemon.start()
    run = daemon.begin()
    freeze(daemon, clock, 90)  # the lease is a minute
    daemon.open_gate()
    eventually(lambda: daemon.effects() == ["begun a", "ended a"], "the step has ended by itself")
    with ThreadPoolExecutor(3) as senders:
        sent = [senders.submit(daemon.fire, "b") for _ in range(3)]
        daemon.signal(SIGCONT)
        assert {each.result().status for each in sent} <= {200, 503}
    daemon.fire("b")
    daemon.until(run, "succeeded")
    eventually(lambda: [each["state"] for each in daemon.runs()] == ["succeeded"] * 2, "both runs have succeeded")
    assert daemon.effects() == ["begun a", "ended a", "begun b", "ended b"]
    assert [event["run"] for event in daemon.events("step.started")].count(run) == 1


_SLEEPY = """
rules:
  - name: tick
    summary: Acts every minute.
    schedule: '* * * * *'
    target: clock
    guard: {cooldown: 0s}
    steps: [{uses: exec.run, with: {argv: [HOLD, tick]}}]
  - name: patient
    summary: Acts on what has fired for half an hour.
    match: alertname=Hold, unit=patient
    target: 'unit/{{ labels.unit }}'
    for: 30m
    steps: [{uses: exec.run, with: {argv: [HOLD, patient]}}]
  - name: asking
    summary: Asks a person, for ten minutes.
    match: alertname=Hold, unit=asking
    target: 'unit/{{ labels.unit }}'
    mode: approve
    approval: {timeout: 10m}
    steps: [{uses: exec.run, with: {argv: [HOLD, asking]}}]
"""


@pytest.mark.fault("suspend and resume")
def test_after_a_suspended_hour_missed_timers_run_once_and_stale_work_has_expired(daemon: Gated) -> None:
    """Of sixty times of a schedule at most the newest is begun, the rest are recorded; nobody's old consent is waited for."""
    (daemon.rules / "hold.yml").write_text(_SLEEPY.replace("HOLD", str(daemon.program)))
    clock = Clock(daemon, ALL)
    daemon.open_gate()
    daemon.start()
    patient, asking = (str(send(daemon, unit, "firing", 0)) for unit in ("patient", "asking"))
    daemon.until(asking, "awaiting_approval")
    ticks = len(daemon.runs(rule="tick"))
    freeze(daemon, clock, HOUR)
    daemon.signal(SIGCONT)
    daemon.until(patient, "succeeded")
    assert daemon.until(asking, "cancelled")["reason"] == "expired"
    missed: list[dict[str, Any]] = eventually(lambda: daemon.events("schedule.missed"), "what was missed is recorded")
    assert 57 <= sum(event["data"]["times"] for event in missed) <= 61
    assert len(daemon.runs(rule="tick")) - ticks <= 2
    assert daemon.effects().count("begun patient") == 1
    assert "begun asking" not in daemon.effects()
