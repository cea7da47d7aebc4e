"""POST /webhook/alertmanager: every status code of the interface, and 2xx only for what is durable."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from remediator.errors import StoreError
from remediator.web.access import WebhookCredential

if TYPE_CHECKING:
    from conftest import Site
from remediator.rules.standing import Storm

PATH = "/webhook/alertmanager"
RULE = """
rules:
  - {name: mend, summary: x, match: '{alertname="Down"}', target: 't/{{ labels.app }}', steps: [{uses: test.write}]}
"""


def body(*apps: str, **more: object) -> bytes:
    alerts = [{"status": "firing", "labels": {"alertname": "Down", "app": app}} for app in apps]
    return json.dumps({"version": "4", "alerts": alerts, **more}).encode()


async def test_a_good_body_is_answered_with_what_was_made_of_it(site: Site) -> None:
    """The receipt names the notification and its runs."""
    await site.stage.rules(RULE)
    response = await site.client.post(PATH, data=body("a", "b"))
    told = await response.json()
    runs = await site.stage.runs()
    assert response.status == 200
    assert told == {
        "notification": told["notification"],
        "alerts": 2,
        "refused": 0,
        "runs": [run["id"] for run in runs],
    }


async def test_alerts_that_cannot_be_taken_are_counted(site: Site) -> None:
    """The others are taken."""
    raw = json.dumps({"alerts": [{"status": "odd"}, {"status": "firing", "labels": {"alertname": "Down"}}]})
    response = await site.client.post(PATH, data=raw)
    assert (response.status, (await response.json())["refused"]) == (200, 1)


async def test_a_malformed_body_is_400_with_the_reason(site: Site) -> None:
    """As a JSON error."""
    response = await site.client.post(PATH, data=b"{")
    error = (await response.json())["error"]
    assert (response.status, error["code"]) == (400, "malformed")
    assert "not JSON" in error["message"]


async def test_the_log_says_why_a_body_was_refused_in_plain_words(site: Site) -> None:
    """Not as JSON inside of a line."""
    with capture_logs() as told:
        await site.client.post(PATH, data=b"[]")
    (line,) = [each for each in told if each["event"] == "notification refused"]
    assert line["why"] == "the body is not a notification of Alertmanager or Grafana: it has no list `alerts`"


async def test_a_body_over_the_limit_is_413(site: Site) -> None:
    """Announced or not."""
    assert (await site.client.post(PATH, data=b"x" * 100_001)).status == 413

    async def pieces():
        for _ in range(11):
            yield b"x" * 10_000

    assert (await site.client.post(PATH, data=pieces())).status == 413


async def test_a_compressed_body_is_refused(site: Site) -> None:
    """A small one could unpack to anything."""
    response = await site.client.post(PATH, data=body("a"), headers={"Content-Encoding": "gzip"})
    assert response.status == 415


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer", 401),
        ("Basic !!!", 401),
        ("Basic " + base64.b64encode(b"am:wrong").decode(), 401),
        ("Bearer right", 200),
        ("bearer right", 200),
        ("Basic " + base64.b64encode(b"am:secret").decode(), 200),
    ],
)
async def test_the_credential_is_asked_for(site: Site, header: str | None, status: int) -> None:
    """Bearer or basic; either will do where both are configured."""
    site.webhook.credential = WebhookCredential(token="right", basic=("am", "secret"))
    headers = {} if header is None else {"Authorization": header}
    response = await site.client.post(PATH, data=body("a"), headers=headers)
    assert response.status == status
    if status == 401:
        assert "WWW-Authenticate" in response.headers


async def test_p4_a_store_that_is_away_is_503_and_nothing_starts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alertmanager repeats 5xx only."""
    await site.stage.rules(RULE)

    async def away(script: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(site.stage.store, "transact", away)
        response = await site.client.post(PATH, data=body("a"))
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        assert "the disk is full" in (await response.json())["error"]["message"]
    assert site.stage.calls == []
    assert (await site.client.post(PATH, data=body("a"))).status == 200
    await site.stage.settle()
    assert site.stage.used("test.write") == 1


async def test_p16_more_than_fits_is_503(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is bounded."""
    monkeypatch.setattr("remediator.engine.reception.WAITING_ALERTS", 1)
    response = await site.client.post(PATH, data=body("a", "b"))
    assert (response.status, (await response.json())["error"]["code"]) == (503, "overloaded")


async def test_p16_a_large_body_that_finds_no_room_is_refused_before_it_is_decoded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding what is refused had kept everyone else waiting."""
    site.webhook.max_body = 1_000_000
    large = body(*(f"a{n}" for n in range(6_000)))
    monkeypatch.setattr("remediator.engine.reception.WAITING_ALERTS", 5_999)
    with monkeypatch.context() as undecoded:
        undecoded.delattr("remediator.web.webhook.decode")
        response = await site.client.post(PATH, data=large)
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
    monkeypatch.setattr("remediator.engine.reception.WAITING_ALERTS", 6_000)
    assert (await site.client.post(PATH, data=large)).status == 200


async def test_a_daemon_that_is_stopping_takes_nothing_new(site: Site) -> None:
    """The sender comes again to the next one."""
    site.stage.engine.desk.draining = True
    assert (await site.client.post(PATH, data=body("a"))).status == 503


async def test_a_link_to_a_run_says_what_to_type(site: Site) -> None:
    """Messages hold such links; there is no page behind them, and nothing of the run is told."""
    response = await site.client.get("/runs/01m84b1f78wscr08an6hmd35k9")
    told = (await response.json())["error"]["message"]
    assert (response.status, "`remediator show 01m84b1f78wscr08an6hmd35k9`" in told) == (404, True)
    assert (await site.client.get("/runs/nothing")).status == 404


async def test_health_readiness_and_metrics_need_no_credential(site: Site) -> None:
    """A probe has none."""
    assert (await site.client.get("/healthz")).status == 200
    assert (await site.client.get("/readyz")).status == 200
    site.trouble = "stopping"
    response = await site.client.get("/readyz")
    assert (response.status, "stopping" in await response.text()) == (503, True)
    metrics = await (await site.client.get("/metrics")).text()
    assert "remediator_store_up 0.0" in metrics


async def test_p6_a_storm_is_seen_in_the_log_the_metrics_and_the_controls(site: Site) -> None:
    """Whoever looks anywhere learns why nothing is done."""
    with capture_logs() as told:
        await site.stage.rules(RULE, storm=Storm(alerts=3, per=60.0, hold=600.0))
        await site.stage.notify(*(site.stage.alert(app=f"a{n}") for n in range(5)))
    (line,) = [each for each in told if each["event"].startswith("storm: nothing is admitted")]
    assert (line["log_level"], line["why"]) == ("warning", "a storm: more than 3 alerts began to fire within 1m")
    metrics = await (await site.client.get("/metrics")).text()
    assert 'remediator_controls{kind="storm"} 1.0' in metrics
    assert 'remediator_controls{kind="pause"} 0.0' in metrics
    (laid,) = await site.stage.store.view(lambda tx: tx.controls(site.stage.clock.now()))
    assert (laid.kind, laid.id) == ("storm", line["control"])


async def test_many_runs_that_one_body_proposes_are_one_line_of_the_log(site: Site) -> None:
    """A storm of thousands would drown in itself what matters; few are told one by one, with their ids."""
    await site.stage.rules(RULE.replace("target:", "for: 1m, target:"))
    with capture_logs() as told:
        few = await site.stage.notify(*(site.stage.alert(app=f"few{n}") for n in range(20)))
        many = await site.stage.notify(*(site.stage.alert(app=f"many{n}") for n in range(21)))
    lines = [each for each in told if each["event"] in {"alert matched", "alerts matched"}]
    assert [each["run"] for each in lines[:-1]] == few.runs
    assert (lines[-1]["rule"], lines[-1]["runs"], len(many.runs)) == ("mend", 21, 21)


async def test_no_metric_takes_a_value_that_an_alert_can_choose(site: Site) -> None:
    """A label in a metric's label would be a bomb."""
    await site.stage.rules(RULE)
    await site.client.post(PATH, data=body("chosen-by-a-stranger"))
    await site.stage.settle()
    metrics = await (await site.client.get("/metrics")).text()
    assert 'remediator_runs_total{mode="auto",rule="mend",state="succeeded"}' in metrics
    assert "chosen-by-a-stranger" not in metrics
