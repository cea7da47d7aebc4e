"""P1, P2 and P8 against the real daemon, killed with SIGKILL just before chosen system calls.

A first run under strace counts the calls by which the daemon writes; then it is killed before a spread of them, started
again and examined. `CRASH_KILLS` says how many (a number, or `all`), `CRASH_SEED` which, `CRASH_AT=pwrite64:57` tries one.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from daemon import Daemon, eventually, fetch
from killing import Moment, gone, killed_at, moments, needs_strace, spread, traced

from remediator.store.sqlite import audit

pytestmark = pytest.mark.slow

KILLS = os.environ.get("CRASH_KILLS", "30")
SEED = int(os.environ.get("CRASH_SEED", "1"))
ONLY = os.environ.get("CRASH_AT")

RULES = """
rules:
  - {name: once, summary: One step., match: alertname=Once, target: 'once/{{ labels.unit }}', steps: [
      {uses: exec.run, with: {argv: [ACT, once]}}]}
  - {name: pair, summary: Two steps., match: alertname=Pair, target: 'pair/{{ labels.unit }}', steps: [
      {uses: exec.run, with: {argv: [ACT, first]}}, {uses: exec.run, with: {argv: [ACT, second]}}]}
  - {name: again, summary: May be repeated., match: alertname=Again, target: 'again/{{ labels.unit }}', steps: [
      {uses: exec.run, with: {argv: [ACT, again], idempotent: true}}]}
  - {name: proved, summary: Is verified., match: alertname=Proved, target: 'proved/{{ labels.unit }}', steps: [
      {uses: exec.run, with: {argv: [ACT, proved]}}],
      verify: {within: 5s, every: 100ms, checks: [{uses: exec.probe, with: {argv: [SEEN, proved]}}]}}
  - {name: later, summary: Waits., match: alertname=Later, target: 'later/{{ labels.unit }}', for: 200ms, steps: [
      {uses: exec.run, with: {argv: [ACT, later]}}]}
"""
STEPS = {"once": ["once"], "pair": ["first", "second"], "again": ["again"], "proved": ["proved"], "later": ["later"]}
MANY = [f"Once many-{number}" for number in range(9)]  # more than one transaction begins at once
NOTIFICATIONS = [
    ["Once a"],
    ["Pair a", "Once b"],
    ["Again a", "Proved a"],
    ["Later a"],
    ["Once a", "Once c"],  # the group has grown
    ["-Once a", "Proved b"],  # one of them has resolved
    ["Pair a", "Once b"],  # sent again
    MANY,
]


def targets(notifications: Sequence[Sequence[str]]) -> set[str]:
    """Name the targets that notifications lead to runs on."""
    return {text.replace(" ", "/").lower() for alerts in notifications for text in alerts if text[0] != "-"}


def notification(alerts: Sequence[str]) -> dict[str, Any]:
    """Make a body; `-` before an alert says that it has resolved."""
    return {"version": "4", "alerts": [alert(text) for text in alerts]}


def alert(text: str) -> dict[str, Any]:
    """Make one alert of a body."""
    name, unit = text.removeprefix("-").split()
    ends_at, status = ("2026-01-01T00:10:00Z", "resolved") if text[0] == "-" else ("", "firing")
    labels = {"alertname": name, "unit": unit}
    return {"status": status, "labels": labels, "startsAt": "2026-01-01T00:00:00Z", "endsAt": ends_at}


class Trial:
    """A daemon in a folder of its own, what it was sent, and the file in which its steps leave their marks."""

    def __init__(self, folder: Path, config: dict[str, Any], wrapper: Sequence[str] = ()) -> None:
        self.folder = folder
        self.config = config
        self.daemon = Daemon(folder, config, wrapper=wrapper)
        self.waiting = [*NOTIFICATIONS]
        self.answered: list[tuple[list[str], dict[str, Any]]] = []  # with the receipts

    def after(self, earlier: Trial) -> Trial:
        """Take over what was sent and answered in an earlier trial."""
        self.waiting, self.answered = [*earlier.waiting], [*earlier.answered]
        return self

    def effects(self) -> list[tuple[str, str]]:
        """Give what the steps have done: the word of each, and its run."""
        file = self.folder / "effects"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(word, run) for word, run in map(str.split, lines)]

    def play(self) -> None:
        """Send what is left to send, until nobody answers: the rest is kept for later, as Alertmanager does."""
        while self.waiting and not gone(lambda: self.send(self.waiting[0])):
            self.waiting.pop(0)

    def send(self, alerts: list[str]) -> None:
        """Send one notification, which has to be acknowledged."""
        answer = self.daemon.post(notification(alerts))
        assert answer.status == 200, answer.body
        self.answered.append((alerts, answer.json()))

    def settle(self) -> list[dict[str, Any]]:
        """Wait till every run is over or unknown for good, and give them; none where the daemon dies meanwhile."""

        def calm() -> list[list[dict[str, Any]]]:
            if not self.daemon.running:
                return [[]]
            runs, proved = self.daemon.runs(), {run for word, run in self.effects() if word == "proved"}
            over = all(run["ended_at"] or (run["state"] == "unknown" and run["id"] not in proved) for run in runs)
            return [runs] if over else []

        return eventually(calm, "all runs are over or unknown")[0]

    def act(self) -> None:
        """Send everything, and let it be worked off."""
        self.play()
        self.settle()

    def idle(self) -> None:
        """Do nothing."""


class Ground:
    """Where trials take place: the scripts, the rules, and a store that is still empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in (
            ("act", 'echo "$1 $REMEDIATOR_RUN" >> "$EFFECTS"'),
            ("seen", 'exec grep -qx "$1 $REMEDIATOR_RUN" "$EFFECTS"'),
        ):
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        rules = RULES.replace("ACT", str(folder / "act")).replace("SEEN", str(folder / "seen"))
        (folder / "rules.yml").write_text(rules)
        self.empty = self.trial("empty")
        with self.empty.daemon as daemon:
            daemon.stop()

    def trial(self, name: str, wrapper: Sequence[str] = (), over: Trial | None = None) -> Trial:
        """Prepare a daemon, over a copy of what an earlier trial has left if one is given."""
        folder = self.folder / name
        if over is not None:
            shutil.copytree(over.folder, folder, dirs_exist_ok=True)
        folder.mkdir(exist_ok=True)
        config = {
            "mode": "auto",
            "rules": [str(self.folder / "rules.yml")],
            "guard": {"limit": "off", "max_running": "off"},
            "exec": {
                "allow": [str(self.folder / "act"), str(self.folder / "seen")],
                "env": {"EFFECTS": str(folder / "effects")},
            },
        }
        trial = Trial(folder, config, wrapper)
        return trial if over is None else trial.after(over)

    def moments(self, name: str, over: Trial | None, act: Callable[[Trial], None]) -> list[Moment]:
        """Find out when a daemon that does this, and then stops in order, can be killed."""
        log = self.folder / f"{name}.trace"
        trial = self.trial(name, traced(log), over)
        with trial.daemon as daemon:
            act(trial)
            daemon.stop()
        return moments(log)

    def killed(self, moment: Moment, name: str, over: Trial | None, act: Callable[[Trial], None]) -> Trial | None:
        """Let a daemon do this, and kill it at a moment; None when the moment never came."""
        where = f"{name}-{moment.call}-{moment.number}"
        trial = self.trial(where, killed_at(moment, self.folder / f"{where}.trace"), over)
        daemon = trial.daemon.start(wait=False)
        try:
            eventually(
                lambda: not daemon.running or fetch(daemon.ready).status == 200, "it is ready, or killed already"
            )
            act(trial)
            if daemon.running:
                daemon.stop()
            status = daemon.wait()
        finally:
            daemon.kill()
        return Trial(trial.folder, trial.config).after(trial) if status == -SIGKILL else None


def examine(trial: Trial) -> None:
    """Start a killed daemon again, and see that nothing is lost and nothing was done twice."""
    with trial.daemon as daemon:
        runs = trial.settle()
        acknowledged = {receipt["notification"] for _, receipt in trial.answered}
        kept = {event["data"]["notification"] for event in daemon.events("notification.received")}
        assert acknowledged <= kept, "an acknowledged notification is lost"
        promised = {run for _, receipt in trial.answered for run in receipt["runs"]}
        assert promised <= {run["id"] for run in runs}, "a run that a receipt names is lost"
        assert targets([alerts for alerts, _ in trial.answered]) <= {run["target"] for run in runs}, (
            "a decision is lost"
        )
        trial.play()
        assert not trial.waiting, "the daemon died again"
        runs = trial.settle()
        assert sorted(run["target"] for run in runs) == sorted(targets(NOTIFICATIONS)), "one run for each target"
        started = {(event["data"]["parameters"]["argv"][-1], event["run"]) for event in daemon.events("step.started")}
    compare(runs, trial.effects(), started)
    report = audit(daemon.store)
    assert report.ok, report.problems


def compare(runs: list[dict[str, Any]], effects: list[tuple[str, str]], started: set[tuple[str, str]]) -> None:
    """Hold what was done outside against what was recorded."""
    twice = {done: times for done, times in Counter(effects).items() if times > 1 and done[0] != "again"}
    assert not twice, "P2: a step that must not be repeated was started twice"
    assert set(effects) <= started, "P8: a step was started that is not on record"
    for run in runs:
        steps = [step["state"] for step in run["steps"] if step["phase"] == "steps"]
        assert run["state"] in ("succeeded", "unknown"), run
        if run["state"] == "unknown":
            assert "interrupted" in steps, run
            assert run["rule"] != "again", run
        elif run["reason"] is None:
            assert set(steps) == {"succeeded"}, run
            assert {(word, run["id"]) for word in STEPS[run["rule"]]} <= set(effects), f"never done: {run}"


def survive(ground: Ground, name: str, over: Trial | None, act: Callable[[Trial], None], kills: int) -> None:
    """Kill at so many moments of an act, and examine what is left; every moment that went wrong is named."""
    among = ground.moments(name, over, act)
    chosen = among if KILLS == "all" else spread(among, kills, SEED)
    if ONLY is not None:
        call, _, number = ONLY.partition(":")
        chosen = [Moment(call, int(number))]

    def attempt(moment: Moment) -> str | None:
        try:
            trial = ground.killed(moment, name, over, act)
            if trial is not None:
                examine(trial)
        except AssertionError as error:
            return f"CRASH_AT={moment} {error}"
        return None if trial is not None else ""

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(attempt, chosen))
    landed = outcomes.count(None)
    print(f"{name}: {len(among)} moments, {len(chosen)} tried, {landed} kills survived")
    faults = [outcome for outcome in outcomes if outcome]
    assert not faults, "\n".join(faults)
    assert landed >= len(chosen) * 0.8, "too many moments never came: the workload is not the same each time"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Give the ground of all trials."""
    needs_strace()
    return Ground(tmp_path_factory.mktemp("crash"))


@pytest.mark.fault("SIGKILL at every state transition", store="sqlite")
def test_p1_p2_p8_a_kill_at_any_writing_call_loses_nothing_and_repeats_nothing(ground: Ground) -> None:
    """Whenever the daemon is killed at work, what it acknowledged is there afterwards, and no step ran twice."""
    survive(ground, "work", ground.empty, Trial.act, int(KILLS) if KILLS != "all" else 0)


@pytest.mark.fault("SIGKILL at every state transition", store="sqlite")
def test_p1_a_kill_while_the_store_is_made_leaves_one_that_can_be_used(ground: Ground) -> None:
    """A first start that is killed halfway does not stand in the way of the next one."""
    survive(ground, "first-start", None, Trial.idle, 4)


@pytest.mark.fault("SIGKILL at every state transition", store="sqlite")
def test_p2_a_second_kill_during_recovery_repeats_nothing_either(ground: Ground) -> None:
    """A daemon that is killed again while it takes up what the last one left keeps the same promises."""
    crashed = ground.killed(Moment("vfork", 12), "crashed", ground.empty, Trial.act)
    assert crashed is not None, "the moment never came"
    survive(ground, "recovery", crashed, Trial.act, 8)
