"""What deploy/compose.yml starts works together: its own files, with real programs in the place of containers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from daemon import Program, eventually, fetch, free_port, metric
from postgres import PASSWORD, running
from world import installed

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = ("remediator-1:9095", "remediator-2:9095", "prometheus:9090", "alertmanager:9093")
pytestmark = pytest.mark.slow


class Stack:
    """The services of the compose file, on ports of the loopback."""

    def __init__(self, folder: Path, start: ExitStack) -> None:
        self.folder = folder
        self.at = {service: f"127.0.0.1:{free_port()}" for service in SERVICES}
        server = running()
        (folder / "token").write_text("known to both sides\n")
        (folder / "rules").symlink_to(DEPLOY / "prometheus")
        self._places = {
            **self.at,
            "@postgres/remediator": f"@127.0.0.1:{server.port}/{server.database()}",
            "/run/secrets/webhook-token": str(folder / "token"),
            "https://heartbeat.example.com": "http://127.0.0.1:1",
            " 15s": " 1s",
            "group_wait: 10s": "group_wait: 1s",
        }
        for name in ("prometheus.yml", "alertmanager.yml"):
            (folder / name).write_text(self._here((DEPLOY / "compose" / name).read_text()))
        for service in SERVICES[:2]:
            start.enter_context(self._replica(service))
        options = ("--config.file=alertmanager.yml", "--storage.path=told", "--cluster.listen-address=")
        start.enter_context(self._debian("alertmanager:9093", *options))
        # What is sent before it has found Alertmanager is lost, and sent again only a minute later.
        options = ("--config.file=prometheus.yml", "--storage.tsdb.path=kept", "--rules.alert.resend-delay=1s")
        start.enter_context(self._debian("prometheus:9090", *options))

    def firing(self) -> set[str]:
        """Give the alerts that Alertmanager holds."""
        found = fetch(f"http://{self.at['alertmanager:9093']}/api/v2/alerts").json()
        return {each["labels"]["alertname"] for each in found}

    def _here(self, text: str) -> str:
        for there, here in self._places.items():
            text = text.replace(there, here)
        return text

    def _replica(self, service: str) -> Program:
        name = service.partition(":")[0]
        config = self.folder / name / "remediator.yml"
        config.parent.mkdir()
        text = (DEPLOY / "compose" / "remediator.yml").read_text()
        mine = {"0.0.0.0:9095": self.at[service], "/var/lib/remediator": str(config.parent / "state")}
        for there, here in mine.items():
            assert there in text
            text = text.replace(there, here)
        config.write_text(self._here(text))
        command = [sys.executable, "-m", "remediator", "serve", "--config", str(config)]
        return Program(name, command, self.folder, f"http://{self.at[service]}/readyz")

    def _debian(self, service: str, *options: str) -> Program:
        name = service.partition(":")[0]
        program = installed(name if name == "prometheus" else f"prometheus-{name}")
        command = [program, *options, f"--web.listen-address={self.at[service]}"]
        return Program(name, command, self.folder, f"http://{self.at[service]}/-/ready")

    def scraped(self) -> Sequence[str]:
        """Give what Prometheus has found up, as far as it is ours."""
        found = fetch(
            f"http://{self.at['prometheus:9090']}/api/v1/query?query=up%7Bjob%3D%22remediator%22%7D==1"
        ).json()
        return sorted(each["metric"]["instance"] for each in found["data"]["result"])


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """All of it, started."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with ExitStack() as closing:
        yield Stack(tmp_path, closing)


def test_an_alert_of_prometheus_reaches_both_replicas_and_both_are_watched(stack: Stack) -> None:
    """By the routes, the token, the database and the names that the files give."""
    replicas = [stack.at[service] for service in SERVICES[:2]]
    for each in replicas:
        taken = "remediator_last_notification_timestamp_seconds"
        eventually(lambda: metric(f"http://{each}", taken) > 0, f"{each} has taken a notification", within=60)  # noqa: B023
        eventually(lambda: metric(f"http://{each}", "remediator_replicas") == 2, f"{each} knows of both", within=60)  # noqa: B023
    eventually(lambda: stack.scraped() == sorted(replicas), "Prometheus scrapes both")
    assert stack.firing() == {"Watchdog"}  # nothing is wrong with daemons that have just started
