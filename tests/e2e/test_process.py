"""The daemon as a process: signals, reloading, starting where it must not, and a store that fails under it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from signal import SIGHUP, SIGKILL, SIGTERM

import pytest
from daemon import Daemon, eventually, fetch
from killing import Gated, injected, small_disk

pytestmark = pytest.mark.slow


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Gated]:
    """Lend a daemon that runs; whatever is left of it and its programs ends with the test."""
    with Gated(tmp_path) as gated:
        yield gated


def refuses(daemon: Daemon) -> str:
    """Start a daemon that must not start, and give what it says."""
    assert daemon.start(wait=False).wait(20) != 0
    return daemon.output()


# -- stopping --


@pytest.mark.fault("SIGTERM mid-run", store="sqlite")
def test_sigterm_lets_a_step_at_work_end_records_it_and_exits_with_0(daemon: Gated) -> None:
    """What is at work ends and is on record before the daemon goes; the next one carries the run on."""
    run = daemon.begin()
    daemon.begin_to_stop()
    daemon.open_gate()
    assert daemon.wait() == 0
    daemon.start()
    daemon.until(run, "succeeded")
    kinds = [event["kind"] for event in daemon.events()]
    assert kinds.index("step.ended") < kinds.index("daemon.stopped")
    assert daemon.effects() == ["begun a", "ended a"]


@pytest.mark.fault("SIGTERM mid-run", store="sqlite")
def test_p2_a_step_that_does_not_end_holds_sigterm_up_for_a_bound_and_is_unknown(tmp_path: Path) -> None:
    """Half a minute it is waited for; then it is ended, and the next daemon says that nobody knows how far it came."""
    daemon = Gated(tmp_path)
    (daemon.rules / "hold.yml").write_text(f"{daemon.rule}        timeout: 1h\n")
    with daemon:
        run = daemon.begin()
        began = time.monotonic()
        daemon.signal(SIGTERM)
        daemon.wait(60)
        assert 25 < time.monotonic() - began < 45
        assert daemon.programs() == []
        daemon.start()
        assert daemon.until(run, "unknown")["reason"] == "interrupted"
        assert daemon.effects() == ["begun a"]


def test_sigterm_of_an_idle_daemon_is_no_defect(daemon: Gated) -> None:
    """An orderly stop exits with 0 and logs no error."""
    assert daemon.stop() == 0
    assert '"level": "error"' not in daemon.output()


def test_a_daemon_that_stops_is_not_ready_and_takes_nothing_more(daemon: Gated) -> None:
    """While it drains, `/readyz` and the webhook answer 503 and `/healthz` 200: Alertmanager will send again."""
    daemon.begin()
    daemon.begin_to_stop()
    assert fetch(daemon.ready).json()["error"]["message"] == "stopping"
    assert daemon.fire("b").status == 503
    assert fetch(f"{daemon.url}/healthz").status == 200
    daemon.open_gate()
    daemon.wait()
    assert daemon.effects() == ["begun a", "ended a"]


@pytest.mark.fault("SIGTERM mid-run", store="sqlite")
def test_p2_a_second_sigterm_stops_at_once_and_leaves_the_step_unknown(daemon: Gated) -> None:
    """Who asks twice gets it at once, with a status that isn't 0; what was at work is unknown, and not repeated."""
    run = daemon.begin()
    daemon.begin_to_stop()
    daemon.signal(SIGTERM)
    assert daemon.wait(5) != 0
    daemon.start()
    assert daemon.until(run, "unknown")["reason"] == "interrupted"
    assert daemon.effects().count("begun a") == 1


@pytest.mark.fault("SIGTERM mid-run", store="sqlite")
def test_sigterm_in_the_midst_of_notifications_cuts_nothing_off(daemon: Gated) -> None:
    """Whatever was acknowledged when the signal came is drained or carried on by the next daemon; nothing is unknown."""
    daemon.open_gate()
    acknowledged: list[str] = []

    def post(sender: int) -> None:
        for number in range(10_000):
            with suppress(OSError):
                answer = daemon.fire(f"{sender}-{number}")
                if answer.status == 200:
                    acknowledged.append(f"unit/{sender}-{number}")
                    continue
                assert answer.status == 503, answer.body
            return

    with ThreadPoolExecutor(4) as senders:
        posting = [senders.submit(post, sender) for sender in range(4)]
        eventually(lambda: len(acknowledged) > 20, "notifications are under way")
        daemon.signal(SIGTERM)
        assert [each.result() for each in posting] == [None] * 4
    daemon.wait()
    daemon.start()
    eventually(lambda: all(run["ended_at"] or run["state"] == "unknown" for run in daemon.runs()), "all runs are over")
    assert {run["state"] for run in daemon.runs()} == {"succeeded"}
    assert set(acknowledged) <= {run["target"] for run in daemon.runs()}
    assert len(daemon.effects()) == len(set(daemon.effects())), "something was done twice"


def test_sigterm_while_a_notification_is_being_kept_waits_for_what_it_begins(daemon: Gated) -> None:
    """A run that is begun by the very transaction during which the signal comes is drained like any other."""
    journal = daemon.store.with_name(f"{daemon.store.name}-wal")
    before = journal.stat().st_size
    with injected(daemon, "fdatasync,fsync:delay_enter=500ms"), ThreadPoolExecutor(1) as sender:
        sent = sender.submit(daemon.fire)
        eventually(lambda: journal.stat().st_size > before, "the transaction is being written")
        daemon.signal(SIGTERM)
        assert sent.result().status in (200, 503)
        eventually(lambda: daemon.effects() or not daemon.running, "the step has begun, or nothing will")
        if daemon.effects():
            with pytest.raises(AssertionError):
                eventually(lambda: not daemon.running, "it goes while the step is at work", within=2)
        daemon.open_gate()
        assert daemon.wait() == 0
    daemon.start()
    eventually(lambda: all(run["ended_at"] or run["state"] == "unknown" for run in daemon.runs()), "all runs are over")
    assert {run["state"] for run in daemon.runs()} <= {"succeeded"}
    assert daemon.effects() == (["begun a", "ended a"] if daemon.runs() else [])


@pytest.mark.fault("SIGKILL at every state transition", store="sqlite")
def test_p2_kill_9_with_a_child_at_work_leaves_the_run_unknown(daemon: Gated) -> None:
    """The next daemon finds a step that was begun and has no end: it says so, and doesn't begin it again."""
    run = daemon.begin()
    daemon.signal(SIGKILL)
    assert daemon.wait() == -SIGKILL
    daemon.start()
    found = daemon.until(run, "unknown")
    assert [step["state"] for step in found["steps"]] == ["interrupted"]
    assert daemon.fire().status == 200  # Alertmanager repeats it
    assert daemon.effects() == ["begun a"]


def test_p14_a_child_of_a_killed_daemon_is_ended_by_the_next_start(daemon: Gated) -> None:
    """A program that lost its daemon doesn't go on acting beside the next one."""
    daemon.begin()
    daemon.signal(SIGKILL)
    daemon.wait()
    daemon.start()
    eventually(lambda: not daemon.programs(), "the program has ended", within=5)


# -- reloading --


def in_force(daemon: Daemon, *rules: str) -> None:
    """Wait till just these rules are in force."""
    eventually(lambda: {rule["name"] for rule in daemon.ask("/rules")["rules"]} == {*rules}, f"{rules} are in force")


def test_sighup_reloads_the_configuration(tmp_path: Path) -> None:
    """A new webhook token counts from SIGHUP on, and the old one no longer."""
    body = {"alerts": [{"status": "firing", "labels": {"alertname": "Any"}}]}
    with Daemon(tmp_path, {"rules": []}, credential="old") as daemon:
        assert daemon.post(body).status == 200
        (tmp_path / "webhook-token").write_text("new")
        daemon.signal(SIGHUP)
        eventually(lambda: daemon.post(body).status == 401, "the old token is refused")
        daemon.credential = "new"
        assert daemon.post(body).status == 200


def test_a_changed_rule_file_is_loaded_by_itself(daemon: Gated) -> None:
    """A new file, one replaced as editors do, and a removed one each take effect without a signal."""
    more, temporary = daemon.rules / "more.yml", daemon.rules / ".more.yml.new"
    more.write_text(daemon.rule.replace("name: hold", "name: more"))
    in_force(daemon, "hold", "more")
    temporary.write_text(daemon.rule.replace("name: hold", "name: other"))
    temporary.replace(more)
    in_force(daemon, "hold", "other")
    more.unlink()
    in_force(daemon, "hold")


def test_rules_in_a_config_map_are_loaded_when_kubernetes_swaps_them(tmp_path: Path) -> None:
    """Kubernetes changes a mounted ConfigMap by renaming the link `..data`, again and again."""
    daemon = Gated(tmp_path)
    file = daemon.rules / "hold.yml"
    file.unlink()
    file.symlink_to("..data/hold.yml")

    def swap(version: str) -> None:
        (daemon.rules / f"..{version}").mkdir()
        (daemon.rules / f"..{version}" / "hold.yml").write_text(daemon.rule.replace("name: hold", f"name: {version}"))
        (daemon.rules / "..data_tmp").symlink_to(f"..{version}")
        (daemon.rules / "..data_tmp").rename(daemon.rules / "..data")

    swap("first")
    with daemon:
        in_force(daemon, "first")
        for version in ("second", "third"):
            swap(version)
            in_force(daemon, version)


@pytest.mark.fault("half-written file")
def test_p11_a_broken_rule_file_leaves_the_last_good_set_in_force(daemon: Gated) -> None:
    """Metric, log, report and `replicas` say so; alerts go on being served; the mended file is adopted."""
    file = daemon.rules / "hold.yml"
    file.write_text(daemon.rule.replace("summary:", "sumary:"))
    eventually(lambda: daemon.metric("remediator_rules_reload_success") == 0, "the metric says so")
    assert daemon.metric("remediator_rules_loaded") == 1
    assert "the last good set stays in force" in daemon.output()
    assert "hold.yml:4:" in daemon.output()
    eventually(lambda: daemon.ask("/replicas")["replicas"][0]["refused"], "the other replicas would know")
    (here,) = daemon.ask("/replicas")["replicas"]
    assert here["refused"].startswith("errors in the rules, 2 in all")
    (need,) = daemon.ask("/report")["pressing"]["entries"]
    assert (need["need"], need["target"], need["because"]) == ("rules", here["host"], here["refused"])
    listed = subprocess.run(
        [sys.executable, "-m", "remediator", "replicas", "--config", str(daemon.config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (listed.returncode, f"{here['host']} goes on by the last good set" in listed.stdout) == (1, True)
    daemon.open_gate()
    daemon.until(daemon.fire().json()["runs"][0], "succeeded")
    file.write_text(daemon.rule.replace("name: hold", "name: mended"))
    in_force(daemon, "mended")
    eventually(lambda: daemon.metric("remediator_rules_reload_success") == 1, "the metric is mended too")
    eventually(lambda: not daemon.ask("/replicas")["replicas"][0]["refused"], "and what the others know")


@pytest.mark.fault("no rules after reload")
def test_when_no_rule_is_left_after_a_reload_log_metric_and_a_notice_say_so(tmp_path: Path) -> None:
    """An emptied folder is obeyed, and is more likely a mistake: it must not pass unseen."""
    told = {"to": [{"uses": "log", "with": {"message": "told: {{ notice.kind }}: {{ notice.text }}"}}]}
    with Gated(tmp_path, notices=told) as daemon:
        (daemon.rules / "hold.yml").unlink()
        in_force(daemon)
        eventually(lambda: "told: rules: no rule is left" in daemon.output(), "a notice was given")
        assert daemon.metric("remediator_rules_loaded") == 0
        assert '"level": "error"' in daemon.output()


# -- starting where it must not --


@pytest.mark.fault("two daemons on one SQLite file", store="sqlite")
def test_a_second_daemon_on_the_same_store_refuses_and_says_why(daemon: Gated, tmp_path: Path) -> None:
    """Two daemons would decide twice: the second one goes, and the first is none the worse."""
    (tmp_path / "second").mkdir()
    second = Daemon(tmp_path / "second", {"store": f"sqlite:///{daemon.store}", "rules": []})
    assert "another daemon holds" in refuses(second)
    assert daemon.fire().status == 200


def test_a_port_in_use_is_named(daemon: Gated, tmp_path: Path) -> None:
    """The message says which address can't be had."""
    (tmp_path / "second").mkdir()
    second = Daemon(tmp_path / "second", {"rules": [], "listen": daemon.url.removeprefix("http://")})
    address = daemon.url.removeprefix("http://")
    assert f"can't listen on {address}: the port is in use: is another daemon running?" in refuses(second)


def test_an_address_that_is_not_this_machines_is_named(tmp_path: Path) -> None:
    """With the system's reason, and no guess at another daemon."""
    (tmp_path / "token").write_text("0123456789")
    secret = {"secrets": {"T": {"file": "token"}}, "webhook": {"token": {"secret": "T"}}}
    said = refuses(Daemon(tmp_path, {"rules": [], "listen": "192.0.2.1:1", **secret}))
    assert "can't listen on 192.0.2.1:1: cannot assign requested address" in said
    assert "another daemon" not in said


@pytest.mark.fault("unknown key, duplicate key")
def test_invalid_rules_at_the_start_are_all_named_and_nothing_is_made(tmp_path: Path) -> None:
    """There is no last good set yet: the daemon names file and line, and doesn't start."""
    daemon = Gated(tmp_path)
    (daemon.rules / "hold.yml").write_text(daemon.rule.replace("summary:", "sumary:").replace("target:", "targget:"))
    said = refuses(daemon)
    assert "hold.yml:4:" in said
    assert "hold.yml:6:" in said
    assert not daemon.store.exists()


def test_listening_for_everyone_without_a_credential_is_refused(tmp_path: Path) -> None:
    """Anyone on the network could post alerts."""
    said = refuses(Daemon(tmp_path, {"rules": [], "listen": "0.0.0.0:0"}))
    assert "webhook.token" in said


def no_database(file: Path) -> None:
    """Write something else there."""
    file.write_text("a letter to my aunt " * 500)


def another_programs_database(file: Path) -> None:
    """Make an SQLite file that is none of ours."""
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")


def database_of_a_newer_version(file: Path) -> None:
    """Make a store as a later release might leave it (P15)."""
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA application_id = 0x524D4454")
        connection.execute("PRAGMA user_version = 999")


def damaged_database(file: Path) -> None:
    """Make a store whose first page is lost but for its header."""
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA application_id = 0x524D4454")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("CREATE TABLE runs (id TEXT)")
    file.write_bytes(file.read_bytes()[:100].ljust(file.stat().st_size, b"\xff"))


@pytest.mark.parametrize(
    "make", [no_database, another_programs_database, database_of_a_newer_version, damaged_database]
)
@pytest.mark.fault("corrupt or foreign file", store="sqlite")
@pytest.mark.fault("versions N and N+1", store="sqlite")
def test_p15_a_store_that_is_not_ours_is_refused_and_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """The daemon names the file, and neither mends nor recreates it."""
    daemon = Gated(tmp_path)
    daemon.store.parent.mkdir()
    make(daemon.store)
    before = daemon.store.read_bytes()
    assert str(daemon.store) in refuses(daemon)
    assert daemon.store.read_bytes() == before


# -- a store that fails while it runs --


@pytest.mark.fault("disk full", store="sqlite")
def test_p4_a_full_disk_starts_nothing_and_recovers_by_itself(tmp_path: Path) -> None:
    """503 while it is full; what was at work is recorded when there is room again, and what is sent again is done."""
    with small_disk(tmp_path / "state", "2m") as disk, Gated(tmp_path) as daemon:
        run = daemon.begin()
        ballast = disk / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1024))
        assert daemon.fire("b").status == 503
        eventually(lambda: daemon.metric("remediator_store_up") == 0, "the metric says so")
        assert fetch(daemon.ready).status == 503
        daemon.open_gate()
        eventually(lambda: not daemon.programs(), "the program at work has ended")
        assert daemon.effects() == ["begun a", "ended a"]
        ballast.unlink()
        daemon.until(run, "succeeded")
        eventually(lambda: fetch(daemon.ready).status == 200, "it is ready again")
        daemon.until(daemon.fire("b").json()["runs"][0], "succeeded")
        assert daemon.metric("remediator_store_up") == 1
        assert daemon.effects() == ["begun a", "ended a", "begun b", "ended b"]


@pytest.mark.parametrize("fault", ["fdatasync,fsync:error=EIO", "pwrite64:error=EROFS"])
@pytest.mark.fault("error from fsync", store="sqlite")
@pytest.mark.fault("file deleted or read-only while running", store="sqlite")
def test_p4_a_broken_disk_stops_the_daemon(daemon: Gated, fault: str) -> None:
    """After a failed write nothing can be promised: nothing is acknowledged or retried, and a supervisor is called."""
    with injected(daemon, fault):
        with suppress(OSError):
            assert daemon.fire().status == 503
        assert daemon.wait(15) not in (0, -SIGKILL)
    assert "nothing more is written" in daemon.output()
    assert daemon.effects() == [], "a step was started whose start could not be kept"
    daemon.start()
    daemon.open_gate()
    assert daemon.fire().status == 200
    eventually(lambda: daemon.runs() and not daemon.programs(), "the notification is taken")
    assert daemon.effects().count("begun a") <= 1


@pytest.mark.fault("error from fsync", store="sqlite")
def test_p4_a_failed_fsync_is_never_tried_again(daemon: Gated, tmp_path: Path) -> None:
    """The kernel may have dropped what it could not write: a later success would be a lie about it."""
    with injected(daemon, "fdatasync,fsync:error=EIO", trace=tmp_path / "trace"):
        assert daemon.fire().status == 503
        assert daemon.wait(15) != 0
    calls = [line for line in (tmp_path / "trace").read_text().splitlines() if "sync(" in line]
    assert len(calls) == 1, calls


@pytest.mark.fault("error from fsync", store="sqlite")
def test_p4_an_fsync_that_fails_as_the_log_is_copied_into_the_file_stops_the_daemon(
    daemon: Gated, tmp_path: Path
) -> None:
    """SQLite by itself would say nothing of it, and try again with each commit; what was acknowledged is in the log."""
    only = ("-P", str(daemon.store))
    labels = {"alertname": "Quiet", "filler": "x" * 300}
    alerts = [{"status": "firing", "labels": {**labels, "unit": str(number)}} for number in range(2_000)]
    assert daemon.post({"alerts": alerts[:300]}).status == 200
    with injected(daemon, "fdatasync,fsync:error=EIO", *only, trace=tmp_path / "trace"):
        with suppress(OSError):
            assert daemon.post({"alerts": alerts}).status == 503
        assert daemon.wait(15) != 0
    assert "nothing more is written" in daemon.output()
    calls = [line for line in (tmp_path / "trace").read_text().splitlines() if "sync(" in line]
    assert len(calls) == 1, calls
    daemon.start()
    assert len(daemon.firing()) >= 300


@pytest.mark.fault("error from fsync", store="sqlite")
def test_p4_a_broken_disk_does_not_keep_a_daemon_whose_step_ended_from_stopping(daemon: Gated) -> None:
    """What ended can't be recorded any more; the next daemon finds it unknown."""
    run = daemon.begin()
    with injected(daemon, "fdatasync,fsync:error=EIO"):
        assert daemon.fire("b").status == 503
        daemon.open_gate()
        began = time.monotonic()
        assert daemon.wait() != 0
        assert time.monotonic() - began < 15
    daemon.start()
    daemon.until(run, "unknown")


@pytest.mark.fault("file deleted or read-only while running", store="sqlite")
def test_p4_a_deleted_store_stops_the_daemon(daemon: Gated) -> None:
    """What would be written is lost already: nothing is acknowledged, and no new store is made in its place."""
    daemon.store.unlink()
    assert daemon.fire().status == 503
    assert daemon.wait(15) != 0
    assert "was removed or replaced" in daemon.output()
    assert not daemon.store.exists()
    assert daemon.effects() == []


@pytest.mark.fault("database locked", store="sqlite")
def test_p4_a_locked_store_answers_503_within_a_bound_and_recovers(daemon: Gated) -> None:
    """Somebody who holds the file, a backup say, makes senders come again; it doesn't end the daemon."""
    daemon.open_gate()
    with sqlite3.connect(daemon.store, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert daemon.fire().status == 503  # `fetch` gives up after 10 s
        assert daemon.effects() == []
        other.execute("ROLLBACK")
    daemon.until(daemon.fire().json()["runs"][0], "succeeded")
    other.close()
