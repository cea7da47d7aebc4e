"""Two daemons over one PostgreSQL: any takes a webhook, any carries a run on, and nothing is done twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree, ignore_patterns
from signal import SIGCONT, SIGSTOP, SIGTERM

import pytest
import yaml
from clocks import WALL, Clock
from daemon import Daemon, eventually, fetch, free_port
from docs.blocks import blocks_of
from fleet import RULES, Fleet, begun, hold, until
from postgres import running, start

import remediator
from remediator.store.postgres.connecting import newest

pytestmark = pytest.mark.slow

HOUR = 3600


def becomes(daemon: Daemon, folder: Path, version: str, *scripts: str) -> None:
    """Let a daemon be a later version from its next start on, with more migrations of the schema than ours."""
    package = folder / version / "remediator"
    copytree(Path(remediator.__file__).parent, package, ignore=ignore_patterns("__pycache__"))
    told = (package / "__init__.py").read_text()
    (package / "__init__.py").write_text(told.replace('version("remediator")', f'"{version}"'))
    for number, script in enumerate(scripts, newest() + 1):
        (package / "store" / "migrations" / "postgres" / f"{number:03}_later.sql").write_text(script)
    command = daemon.argv[daemon.argv.index(sys.executable) :]
    daemon.argv = ["env", f"PYTHONPATH={package.parent}", *command]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Two daemons."""
    with Fleet(tmp_path, running().store()) as started:
        yield started


@pytest.mark.fault("the same notification to all replicas", store="postgres")
@pytest.mark.fault("replayed body", store="postgres")
def test_p2_the_same_notification_to_all_replicas_is_one_run(fleet: Fleet) -> None:
    """At once and many times, as clustered Alertmanagers deliver it."""
    with ThreadPoolExecutor(8) as senders:
        answers = list(senders.map(lambda n: fleet.daemons[n % 2].post(hold("a", "b")), range(16)))
    assert {each.status for each in answers} == {200}
    first, second = fleet.daemons
    eventually(lambda: sorted(fleet.effects()) == ["begun a", "begun b"], "both are at work")
    assert [run["id"] for run in first.runs()] == [run["id"] for run in second.runs()]
    assert len(first.runs()) == 2
    fleet.open_gate()
    eventually(lambda: len(first.runs(state="succeeded")) == 2, "both end")
    assert sorted(fleet.effects()) == ["begun a", "begun b", "ended a", "ended b"]


@pytest.mark.fault("SIGKILL at every state transition", store="postgres")
def test_p2_kill_9_of_a_replica_leaves_its_run_unknown_and_its_successor_takes_it_up_at_once(fleet: Fleet) -> None:
    """Who comes to its place knows whose place it was; nothing is begun a second time."""
    first, second = fleet.daemons
    run = begun(fleet, first)
    first.kill()
    assert second.run(run)["state"] == "running", "its lease holds on"
    first.start()
    until(second, run, "unknown")
    assert fleet.effects() == ["begun a"]
    second.ask(f"/runs/{run}/resolve", {"as": "failed", "reason": "looked"})
    until(first, run, "failed")


@pytest.mark.fault("SIGTERM mid-run", store="postgres")
def test_sigterm_lets_a_step_end_and_the_other_replica_goes_on(fleet: Fleet) -> None:
    """What came meanwhile is the other's."""
    first, second = fleet.daemons
    run = begun(fleet, first)
    first.signal(SIGTERM)
    eventually(lambda: fetch(first.ready).status == 503, "it says that it stops")
    begun(fleet, second, "b")
    fleet.open_gate()
    assert first.wait() == 0
    assert until(second, run, "succeeded")["steps"][0]["state"] == "succeeded"
    eventually(lambda: len(second.runs(state="succeeded")) == 2, "both end")


@pytest.mark.fault("SIGSTOP past the lease", store="postgres")
def test_p3_a_replica_that_was_frozen_past_its_lease_writes_and_starts_nothing(tmp_path: Path) -> None:
    """The other has taken its run over meanwhile, and a person is asked."""
    two = RULES + "      - uses: exec.run\n        with: {argv: [HOLD, 'second']}\n"
    with Fleet(tmp_path, running().store(), rules=two) as fleet:
        first, second = fleet.daemons
        run = begun(fleet, first)
        first.signal(SIGSTOP)
        until(second, run, "unknown", within=120)
        fleet.open_gate()
        first.signal(SIGCONT)
        eventually(lambda: "passed to another worker" in first.output(), "it finds out")
        assert second.run(run)["state"] == "unknown"
        assert "begun second" not in fleet.effects()


def test_p7_a_pause_at_one_replica_holds_new_steps_on_all(fleet: Fleet) -> None:
    """From the moment at which it was laid; and a step at work is ended by a cancellation that another one was told of."""
    first, second = fleet.daemons
    run = begun(fleet, second)
    first.ask("/controls", {"kind": "pause", "reason": "look"})
    held = second.post(hold("b")).json()["runs"][0]
    assert until(second, held, "waiting")["reason"] == "paused"
    began = time.monotonic()
    first.ask(f"/runs/{run}/cancel", {"reason": "enough"})
    eventually(lambda: second.run(run)["steps"][0]["state"] != "started", "the step is ended")
    print(f"a step at work on another replica was ended after {time.monotonic() - began:.2f} s")
    assert "ended a" not in fleet.effects()
    assert not any("b" in effect.split() for effect in fleet.effects())


@pytest.mark.fault("PostgreSQL restarted", store="postgres")
def test_p2_a_restart_of_the_database_is_sat_out_and_nothing_is_done_twice(tmp_path: Path) -> None:
    """Meanwhile nothing is acknowledged; what ended meanwhile is recorded after."""
    server = start({"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"})
    try:
        with Fleet(tmp_path, server.store()) as fleet:
            first, second = fleet.daemons
            run = begun(fleet, first)
            server.halt()
            eventually(lambda: fetch(second.webhook, hold("b")).status == 503, "nothing is taken")
            eventually(lambda: fetch(second.ready).status == 503, "it says so")
            fleet.open_gate()
            eventually(lambda: "ended a" in fleet.effects(), "the step ends")
            server.restart()
            until(first, run, "succeeded")
            eventually(lambda: second.post(hold("b")).status == 200, "notifications are taken again")
            eventually(lambda: len(first.runs(state="succeeded")) == 2, "both end")
            assert sorted(fleet.effects()) == ["begun a", "begun b", "ended a", "ended b"]
    finally:
        server.stop()


@pytest.mark.fault("clock ±1 h", store="postgres")
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_p17_a_replica_whose_wall_clock_is_wrong_opens_no_cooldown(tmp_path: Path, jump: int) -> None:
    """All go by the database's clock, from their start on."""
    rules = RULES.replace("cooldown: 0s", "cooldown: 30m")
    fleet = Fleet(tmp_path, running().store(), rules=rules)
    clock = Clock(fleet.daemons[1], WALL)
    clock.move(jump)
    with fleet:
        first, wrong = fleet.daemons
        fleet.open_gate()
        run = first.post(hold("a")).json()["runs"][0]
        until(first, run, "succeeded")
        assert first.post(hold("a", status="resolved")).status == 200
        later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
        again = wrong.post(hold("a", starts_at=later)).json()["runs"][0]
        assert until(first, again, "blocked")["reason"] == "cooldown"
        assert first.ask("/controls")["controls"] == [], "nobody has taken the time for wrong"


@pytest.mark.fault("20,000 alerts in one body", store="postgres")
def test_20_000_alerts_in_one_body_are_taken_while_the_other_replica_is_served(fleet: Fleet) -> None:
    """In bounded time."""
    first, second = fleet.daemons
    alerts = [{"status": "firing", "labels": {"alertname": "Quiet", "n": str(n)}} for n in range(20_000)]
    body = json.dumps({"alerts": alerts}).encode()
    waits: list[float] = []
    with ThreadPoolExecutor(1) as thread:
        began = time.monotonic()
        storm = thread.submit(lambda: fetch(first.webhook, body))
        while not storm.done():
            asked = time.monotonic()
            assert second.post(hold("b", status="resolved")).status == 200
            waits.append(time.monotonic() - asked)
        took = time.monotonic() - began
    print(f"20,000 alerts took {took:.1f} s; the other replica took a webhook in at most {max(waits):.2f} s")
    assert storm.result().json()["alerts"] == 20_000
    assert took < 10, "a sender waits no longer"
    assert max(waits) < 5


def test_replicas_know_of_each_other_and_say_where_their_rules_differ(fleet: Fleet) -> None:
    """By a hash over all of them; a reload tells at once, and it is said till it is over."""
    first, second = fleet.daemons
    known = first.ask("/replicas")["replicas"]
    assert len({each["worker"] for each in known}) == 2
    assert all(each["same_rules"] for each in known)
    eventually(lambda: second.metric("remediator_replicas") == 2, "both are counted")
    fleet.rules.write_text(fleet.rules.read_text().replace("cooldown: 0s", "cooldown: 1s"))
    before = {each["rules"] for each in known}
    rules = lambda: {each["rules"] for each in first.ask("/replicas")["replicas"]}  # noqa: E731
    eventually(lambda: len(rules()) == 1 and rules() != before, "both have reloaded, and say so")


@pytest.mark.fault("versions N and N+1", store="postgres")
def test_p15_a_rolling_upgrade_loses_nothing_and_a_schema_that_is_too_new_stops_the_older_daemon(fleet: Fleet) -> None:
    """Two versions of the code work side by side: either pauses the other, and each goes on with what the other left."""
    first, second = fleet.daemons
    more = f"-- needs: {newest()}\nALTER TABLE runs ADD COLUMN later text; CREATE TABLE later (x integer);"
    run = begun(fleet, first)
    assert second.stop() == 0
    becomes(second, fleet.folder, "98.0", more)
    second.start()
    replicas = lambda: first.ask("/replicas")["replicas"]  # noqa: E731
    eventually(lambda: "98.0" in {each["version"] for each in replicas()}, "the older one sees the newer one")
    assert all(each["same_rules"] for each in replicas())
    for here, there, unit in ((first, second, "b"), (second, first, "c")):
        pause = here.ask("/controls", {"kind": "pause", "reason": "look"})["id"]
        held = there.post(hold(unit)).json()["runs"][0]
        assert until(there, held, "waiting")["reason"] == "paused"
        there.ask(f"/controls/{pause}", method="DELETE")
        eventually(lambda unit=unit: f"begun {unit}" in fleet.effects(), "it goes on")
    first.kill()
    becomes(first, fleet.folder, "98.1", more)
    first.start()
    until(second, run, "unknown")
    fleet.open_gate()
    eventually(lambda: len(first.runs(state="succeeded")) == 1, "what the other has begun ends")
    assert sorted(each for each in fleet.effects() if each.startswith("begun")) == ["begun a", "begun b", "begun c"]
    assert first.stop() == 0
    becomes(first, fleet.folder, "99.0", more, f"-- needs: {newest() + 2}\nDROP TABLE later;")
    first.start()
    assert second.wait() == 1, "it can't work with that"
    assert "upgrade Remediator" in second.output()
    assert second.start(wait=False).wait() == 2
    assert first.post(hold("d")).status == 200


def test_a_state_folder_is_one_daemons(fleet: Fleet) -> None:
    """Two with one could not tell whose programs are whose."""
    first = fleet.daemons[0]
    config = json.loads(first.config.read_text())
    again = Daemon(first.folder, {**config, "listen": f"127.0.0.1:{free_port()}"})
    again.start(wait=False)
    assert again.wait() == 2
    assert "another daemon keeps its state in" in again.output()


def test_the_way_from_one_machine_to_several_as_the_readme_tells_it(tmp_path: Path) -> None:
    """Its configuration with another address, two daemons, and its last command, which finds both alike."""
    readme = Path(__file__).parents[2] / "README.md"
    (told,) = [block for block in blocks_of(readme) if block.word("file") == "shared.yml"]
    url = running().store()
    daemons = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        config = yaml.safe_load(told.text)
        assert config["store"].startswith("postgresql://")
        del config["listen"]  # they share a machine here
        daemons.append(Daemon(tmp_path / str(number), {**config, "store": url, "state": "state"}))
    with daemons[0] as first, daemons[1] as second:
        command = [sys.executable, "-m", "remediator", "replicas", "--config", str(second.config)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(listed) == 1 + 2, "a heading, and both"
        assert first.post(hold("a")).status == second.post(hold("a")).status == 200
