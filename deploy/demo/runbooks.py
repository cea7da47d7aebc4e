"""What the runbooks' scenarios run in: the application on its platform, PostgreSQL, Prometheus, Alertmanager, and the daemon.

All rules of `rules/` are in force, as shipped but for the time that they wait (`quicken`); so are the alerts of
`deploy/prometheus`. The clouds are the fakes; everything else is real.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from programs import Failure, Programs, ask, free_ports
from quicken import quicken
from server import Missing, Server

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
APP = "web"  # as the fake Fly.io has it
CREDENTIAL = "a-credential-for-the-demo-alone"
_NAMES = {"ai-affiliate-empire": APP}

_PROMETHEUS = """\
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: [prometheus/recording.rules.yml, prometheus/runbooks.rules.yml]
scrape_configs:
  - job_name: outside
    honor_labels: true
    metrics_path: /_demo/metrics
    static_configs: [{{targets: ['127.0.0.1:{edge}'], labels: {{app: {app}}}}}]
  - job_name: application
    http_sd_configs: [{{url: 'http://127.0.0.1:{edge}/_demo/targets', refresh_interval: 1s}}]
    relabel_configs: [{{target_label: app, replacement: {app}}}]
alerting:
  alertmanagers:
    - static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]
"""

_ALERTMANAGER = """\
route: {{receiver: remediator, group_by: [alertname, app], group_wait: 200ms, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: remediator
    webhook_configs:
      - url: {webhook}
        http_config: {{authorization: {{credentials: {credential}}}}}
"""


class Runbooks(Programs):
    """Everything that runs, and where it answers."""

    def __init__(self, folder: Path) -> None:
        """Raises Failure where something that it needs is not installed."""
        super().__init__(folder)
        found = [shutil.which(name) for name in ("prometheus", "prometheus-alertmanager")]
        if None in found:
            raise Failure("these scenarios need the real ones: apt-get install prometheus prometheus-alertmanager")
        self.prometheus, self.alertmanager = map(str, found)
        self._ports = free_ports(5)
        self.edge, self.prometheus_url, self.alertmanager_url, self.daemon_url, _ = (
            f"http://127.0.0.1:{port}" for port in self._ports
        )
        self.server: Server | None = None

    @property
    def config(self) -> Path:
        """Give the daemon's configuration."""
        return self.folder / "remediator.yml"

    @property
    def token(self) -> str:
        """Give what the daemon's API asks for."""
        return (self.folder / "state" / "token").read_text().strip()

    def start(self) -> None:
        """Start everything, and wait till all of it answers. Raises Failure."""
        edge, prometheus, alertmanager, _, database = map(str, self._ports)
        try:
            self.server = Server(int(database))
        except Missing as missing:
            raise Failure(str(missing)) from None
        (self.folder / "backups").mkdir()
        self.begin(
            "hosting", sys.executable, str(HERE / "hosting.py"), str(self.folder), edge,
            self.server.url("app"), self.server.url("postgres"),
        )  # fmt: skip
        self.await_all({"hosting": f"{self.edge}/health"})
        self._write(self.server)
        self.begin("remediator", sys.executable, "-m", "remediator", "serve", "--config", str(self.config))
        self.begin(
            "alertmanager", self.alertmanager, "--config.file=alertmanager.yml", "--storage.path=alertmanager",
            f"--web.listen-address=127.0.0.1:{alertmanager}", "--cluster.listen-address=",
        )  # fmt: skip
        self.begin(
            "prometheus", self.prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=series",
            f"--web.listen-address=127.0.0.1:{prometheus}",
        )  # fmt: skip
        self.await_all({
            "remediator": f"{self.daemon_url}/readyz", "alertmanager": f"{self.alertmanager_url}/-/ready",
            "prometheus": f"{self.prometheus_url}/-/ready",
        })  # fmt: skip

    def __exit__(self, *error: object) -> None:
        """End everything, the database at last."""
        super().__exit__(*error)
        if self.server is not None:
            self.server.stop()
            shutil.rmtree(self.server.folder, ignore_errors=True)

    def do(self, what: str, **more: Any) -> None:
        """Have something happen in the world."""
        status, said = ask(f"{self.edge}/_demo/do", {"what": what, **more})
        if status != 200:
            raise Failure(f"{what} did not happen: {status} {said}")

    def world(self) -> dict[str, Any]:
        """Give the machines, and what the attacker has met."""
        status, answer = ask(f"{self.edge}/_demo/machines")
        if status != 200:
            raise Failure(f"the platform does not answer: {status}")
        return dict(answer)

    def measured(self, query: str) -> float | None:
        """Ask Prometheus for one number; None where there is none."""
        status, answer = ask(f"{self.prometheus_url}/api/v1/query?query={quote(query)}")
        found = answer["data"]["result"] if status == 200 else []
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """Give the names of the alerts that fire."""
        status, answer = ask(f"{self.prometheus_url}/api/v1/alerts")
        alerts = answer["data"]["alerts"] if status == 200 else []
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def api(self, path: str, body: object = None) -> Any:
        """Ask the daemon's API. Raises Failure."""
        status, answer = ask(f"{self.daemon_url}/api/v1/{path}", body, self.token)
        if status not in {200, 201, 202}:
            raise Failure(f"the daemon answered {path} with {status}: {answer}")
        return answer

    def _write(self, server: Server) -> None:
        edge, _, alertmanager, daemon, _ = self._ports
        rules, alerts = self.folder / "rules", self.folder / "prometheus"
        rules.mkdir()
        alerts.mkdir()
        for file in sorted((ROOT / "rules").glob("*.yml")):
            if not file.name.endswith(".test.yml"):
                quicken(file, rules, _NAMES)
        for name in ("recording.rules.yml", "runbooks.rules.yml"):
            quicken(ROOT / "deploy" / "prometheus" / name, alerts, _NAMES)
        (self.folder / "webhook-token").write_text(CREDENTIAL)
        self.config.write_text(json.dumps(self._configuration(server, f"127.0.0.1:{daemon}"), indent=2))
        (self.folder / "prometheus.yml").write_text(_PROMETHEUS.format(edge=edge, alertmanager=alertmanager, app=APP))
        webhook = f"{self.daemon_url}/webhook/alertmanager"
        (self.folder / "alertmanager.yml").write_text(_ALERTMANAGER.format(webhook=webhook, credential=CREDENTIAL))

    def _configuration(self, server: Server, listen: str) -> dict[str, Any]:
        """Make deploy/runbooks.yml the demo's: other addresses, and no night."""
        shipped = yaml.safe_load((ROOT / "deploy" / "runbooks.yml").read_text())
        platforms = yaml.safe_load((self.folder / "platforms" / "remediator.yml").read_text())
        secrets = {
            name: {"file": str(self.folder / "platforms" / each["file"])} for name, each in platforms["secrets"].items()
        }
        inbox = {"secret": "inbox-url"}
        block = str(HERE / "block-address.sh")
        return {
            "listen": listen,
            "rules": ["rules"],
            "mode": "auto",
            "vars": {
                **shipped["vars"], "app": APP, "url": self.edge, "api": self.edge, "host": "127.0.0.1", "never_block": [],
                "emergency_stop": f"{self.edge}/api/workflows/emergency-stop", "database_app": APP,
                "media_app": APP, "incidents": "#ops", "business": "#ops", "security": "#ops", "block": block,
                "idle_in_transaction": "2s", "idle": "10s", "hourly": 2500,
            },
            "secrets": {**secrets, "WEBHOOK_TOKEN": {"file": "webhook-token"}},
            "webhook": {"token": {"secret": "WEBHOOK_TOKEN"}},
            "fly": platforms["fly"], "pagerduty": platforms["pagerduty"], "slack": platforms["slack"],
            "notify": {"channels": dict.fromkeys(shipped["notify"]["channels"], inbox)},
            "postgres": {"databases": {
                "main": {"url": server.url("remediator"), "backups": str(self.folder / "backups")},
                "staging": {"url": server.url("remediator", "staging"), "backups": str(self.folder / "backups")},
            }},
            "prometheus": {"url": self.prometheus_url},
            "alertmanager": {"url": self.alertmanager_url},
            "exec": {"allow": [*shipped["exec"]["allow"], block], "env": {"RUN_FOLDER": str(self.folder)}},
        }  # fmt: skip
