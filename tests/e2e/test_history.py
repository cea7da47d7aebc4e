"""The head of the history, as a daemon tells it: what was cut off afterwards is found against what others remember of it."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon import Daemon, fetch
from killing import Gated

from remediator.store.chain import Head
from remediator.store.export import audit_export
from remediator.store.sqlite import audit, export

pytestmark = pytest.mark.slow


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Lend a daemon without rules of its own."""
    with Daemon(tmp_path) as running:
        yield running


def logged(daemon: Daemon) -> list[Head]:
    """Give the heads that its log remembers."""
    lines = [json.loads(line) for line in daemon.output().splitlines() if line.startswith("{")]
    return [Head(line["chain"], line["number"], line["hash"]) for line in lines if "hash" in line]


def exposed(daemon: Daemon) -> Head:
    """Give the head that its metrics show."""
    text = fetch(f"{daemon.url}/metrics").body.decode()
    shown = re.findall(r'^remediator_audit_head_info\{chain="local",hash="(\w+)"\} 1\.0$', text, re.MULTILINE)
    (number,) = re.findall(r'^remediator_audit_events\{chain="local"\} (\d+)\.0$', text, re.MULTILINE)
    (hash_,) = shown
    return Head("local", int(number), hash_)


def test_p8_a_tail_cut_off_while_the_daemon_was_down_is_found_against_its_log(daemon: Daemon) -> None:
    """The last line about it, at shutdown, covers the whole history."""
    assert logged(daemon) == [exposed(daemon)]
    daemon.post({"alerts": [{"status": "firing", "labels": {"alertname": "Any"}}]})
    assert daemon.stop() == 0
    last = logged(daemon)[-1]
    report = audit(daemon.store, last.hash)
    assert (report.ok, report.heads) == (True, (last,))
    with sqlite3.connect(daemon.store) as store:
        store.execute("DELETE FROM events WHERE seq = ?", (last.number,))
    assert audit(daemon.store).ok
    (problem,) = audit(daemon.store, last.hash).problems
    assert f"which event {last.number} of chain local had when it was published: the history was cut off" in problem


def test_p8_every_head_that_was_told_is_found_in_the_history_and_in_an_export_of_it(daemon: Daemon) -> None:
    """Over restarts, beside the daemon that goes on writing."""
    for _ in range(2):
        assert daemon.stop() == 0
        daemon.start()
    told = [*logged(daemon), exposed(daemon)]
    assert len({head.number for head in told}) == 5  # at three starts and two ends
    (daemon.folder / "kept").write_bytes(b"\n".join(export(daemon.store)))
    for head in told:
        assert audit(daemon.store, head.hash).ok
        assert audit_export(daemon.folder / "kept", head.hash).ok


@pytest.mark.fault("an old backup restored", store="sqlite")
def test_p8_a_store_restored_from_an_older_backup_begins_paused(tmp_path: Path) -> None:
    """What was done since is forgotten: nothing starts till a person has looked. The state folder knew better."""
    with Gated(tmp_path) as daemon:
        daemon.open_gate()
        daemon.stop()
        backup = daemon.store.read_bytes()
        daemon.start()
        daemon.until(str(daemon.fire().json()["runs"][0]), "succeeded")
        daemon.stop()
        daemon.store.write_bytes(backup)
        daemon.start()
        (control,) = daemon.ask("/controls")["controls"]
        assert (control["kind"], control["author"]) == ("pause", "remediator")
        assert "older backup" in control["reason"]
        run = str(daemon.fire().json()["runs"][0])
        assert daemon.until(run, "waiting")["reason"] == "paused"
        assert daemon.effects() == ["begun a", "ended a"]
        daemon.ask(f"/controls/{control['id']}?reason=looked", method="DELETE")
        daemon.until(run, "succeeded")
        daemon.stop()
        daemon.start()
        assert daemon.ask("/controls")["controls"] == [], "it is told once"
