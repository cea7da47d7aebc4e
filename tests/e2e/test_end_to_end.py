"""The whole loop with Debian's Prometheus and Alertmanager, a real daemon, a real child process and a real patient."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from daemon import eventually, fetch, metric
from demonstration import Demo
from world import Alertmanager, NoteTaker, World, installed

pytestmark = pytest.mark.slow


def _now() -> str:
    return datetime.now(UTC).isoformat()


def test_a_shop_that_falls_ill_is_healed_once_whoever_tells_of_it_and_how_often(world: World) -> None:
    """Prometheus fires, two Alertmanagers post again and again, one restart heals, the alert resolves, the run succeeds."""
    notes = world.enter(NoteTaker())
    daemon = world.enter(world.daemon())
    one = world.alertmanager("one", notes.url)
    two = world.alertmanager("two", notes.url)
    prometheus = world.prometheus(one, two)
    eventually(lambda: fetch(f"{prometheus.url}/api/v1/query?query=shop_healthy").json()["data"]["result"], "a scrape")

    world.shop.fall_ill()
    run = eventually(lambda: daemon.runs(state="succeeded"), "the run succeeds", within=30)[0]

    assert (run["rule"], run["target"], run["mode"]) == ("restart-shop", "service/shop", "auto")
    restart, health = run["steps"]
    assert (restart["uses"], restart["state"], restart["phase"]) == ("exec.run", "succeeded", "steps")
    assert restart["result"]["stdout"].startswith("shop: process ")
    assert (health["id"], health["state"], health["phase"]) == ("health", "succeeded", "verify")
    assert world.shop.well

    eventually(lambda: not prometheus.alerts(), "Prometheus's alert resolves")
    eventually(lambda: not one.alerts() and not two.alerts(), "both Alertmanagers let it go")
    eventually(lambda: notes.told("one", "resolved") and notes.told("two", "resolved"), "both tell of the end")
    eventually(lambda: not daemon.firing(), "the daemon knows that it is over")
    assert notes.told("one", "firing")
    assert notes.told("two", "firing")

    for body in list(notes.bodies):  # once more, byte by byte
        answer = daemon.post(body)
        assert (answer.status, answer.json()["runs"]) == (200, [])
    assert [each["id"] for each in daemon.runs()] == [run["id"]]
    assert len([each for each in daemon.events("step.started") if each["data"]["uses"] == "exec.run"]) == 1
    assert world.shop.restarts == 1
    assert daemon.stop() == 0, daemon.output()


def test_alertmanagers_api_tells_of_the_end_where_its_webhook_never_does(world: World) -> None:
    """With `alertmanager.url`, `resolved: true` holds although no notification of the end is ever sent."""
    alertmanager = world.alertmanager("quiet", send_resolved=False)
    daemon = world.enter(world.daemon(alertmanager={"url": alertmanager.url}))
    alert = {"labels": {"alertname": "ServiceDown", "service": "shop"}, "startsAt": _now()}

    world.shop.fall_ill()
    alertmanager.tell(alert)
    verifying = eventually(lambda: daemon.runs(state="verifying"), "the run is verifying")[0]
    doubtful = {"health": "succeeded", "resolved": "failed"}
    eventually(lambda: _checks(daemon.run(verifying["id"])) == doubtful, "the shop is well and the alert still fires")
    alertmanager.tell({**alert, "endsAt": _now()})

    run = eventually(lambda: daemon.runs(state="succeeded"), "the run succeeds")[0]
    assert run["id"] == verifying["id"]
    assert _checks(run) == {"health": "succeeded", "resolved": "succeeded"}
    assert [each["status"] for each in run["alerts"]] == ["firing"]  # as far as the webhook has told
    assert world.shop.restarts == 1


def _checks(run: dict[str, Any]) -> dict[str, str]:
    return {step["id"]: step["state"] for step in run["steps"] if step["phase"] == "verify"}


def test_a_notification_that_found_no_daemon_arrives_once_there_is_one(world: World) -> None:
    """Alertmanager repeats after a 503 and after a refused connection, so a daemon that starts late misses nothing."""
    alert = {"labels": {"alertname": "ServiceDown", "service": "shop"}, "startsAt": _now()}
    alertmanager = world.alertmanager("patient")
    with NoteTaker(503, world.port) as nobody:
        world.shop.fall_ill()
        alertmanager.tell(alert)
        eventually(lambda: nobody.bodies, "Alertmanager is answered 503")
    eventually(lambda: _failed_requests(alertmanager) > len(nobody.bodies), "Alertmanager is refused a connection")

    daemon = world.enter(world.daemon())
    eventually(lambda: world.shop.restarts == 1 and world.shop.well, "the shop is restarted", within=30)
    alertmanager.tell({**alert, "endsAt": _now()})
    run = eventually(lambda: daemon.runs(state="succeeded"), "the run succeeds")[0]
    assert [each["id"] for each in daemon.runs()] == [run["id"]]


def _failed_requests(alertmanager: Alertmanager) -> float:
    return metric(alertmanager.url, "alertmanager_notification_requests_failed_total")


def test_the_demo_heals_its_shop_with_the_real_prometheus_and_alertmanager(tmp_path: Path) -> None:
    """`make demo` ends by itself, healed, tells the story in its order, and leaves nothing behind."""
    for tool in ("prometheus", "prometheus-alertmanager"):
        installed(tool)
    demo = Demo(tmp_path)
    said = demo.finish()
    assert demo.status == 0, said
    _told_in_order(
        said,
        "Prometheus: real",
        "Alertmanager: real",
        "the shop falls ill",
        "/health answers 500",
        "Prometheus fires ServiceDown",
        "Alertmanager has the alert",
        "1 began to fire",
        "rule restart-service-down matches",
        "guards allow it: service/shop",
        "step begins: exec.run restart.sh shop",
        "the run is verifying",
        "the run is succeeded",
        "verdict: healed in",
    )
    assert demo.left_behind() == []


@pytest.mark.parametrize(("asked", "status"), [("list", 0), ("shopp", 2)])
def test_the_demo_lists_what_it_can_play(tmp_path: Path, asked: str, status: int) -> None:
    """That is what was asked for, or the name was wrong."""
    demo = Demo(tmp_path, asked)
    said = demo.finish()
    assert "deployment-rollback" in said
    assert demo.status == status


def test_the_demo_plays_the_part_of_what_is_not_installed_and_says_so(tmp_path: Path) -> None:
    """Without Prometheus and Alertmanager sample notifications are posted; the daemon and the healing are as real."""
    demo = Demo(tmp_path, PATH="/nowhere")
    said = demo.finish()
    assert demo.status == 0, said
    _told_in_order(
        said,
        "Prometheus: replaced",
        "Alertmanager: replaced",
        "the demo, in Alertmanager's place, posts a notification: firing",
        "rule restart-service-down matches",
        "the demo, in Alertmanager's place, posts a notification: resolved",
        "verdict: healed in",
    )
    assert demo.left_behind() == []


def test_a_demo_that_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C ends all that the demo has started, and its folder goes too."""
    demo = Demo(tmp_path)
    eventually(lambda: "all of it runs" in demo.said(), "everything has been started", within=30)
    assert demo.left_behind() != []
    demo.process.send_signal(signal.SIGINT)
    said = demo.finish()
    assert demo.status == 128 + signal.SIGINT
    assert "verdict" not in said
    assert demo.left_behind() == []


def _told_in_order(said: str, *sentences: str) -> None:
    """Fail with the sentence that was not told after those before it."""
    at = 0
    for sentence in sentences:
        found = said.find(sentence, at)
        assert found >= 0, f"{sentence!r} was not told, or not in its place:\n{said}"
        at = found
