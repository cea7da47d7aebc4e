"""What the demo runs: the shop under its supervisor, Prometheus and Alertmanager where they are installed, and the daemon.

All of it in one folder and on free ports of loopback. The configurations below are what one would write by hand.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from programs import Programs, free_ports

HERE = Path(__file__).resolve().parent
RULES = HERE.parent.parent / "rules" / "service-down.yml"
CREDENTIAL = "a-credential-for-the-demo-alone"

_PROMETHEUS = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [shop.rules.yml]
scrape_configs:
  - job_name: shop
    static_configs: [{{targets: ['127.0.0.1:{shop}']}}]
alerting:
  alertmanagers:
    - static_configs: [{{targets: [{alertmanager}]}}]
"""

_ALERTING_RULES = """\
groups:
  - name: shop
    rules:
      - alert: ServiceDown
        expr: shop_healthy{job="shop"} == 0 or up{job="shop"} == 0
        for: 2s
        labels: {service: shop, severity: critical}
        annotations: {summary: The shop can't serve its customers.}
"""

_ALERTMANAGER = """\
route: {{receiver: remediator, group_by: [alertname], group_wait: 1s, group_interval: 5s}}
receivers:
  - name: remediator
    webhook_configs:
      - url: {webhook}
        http_config: {{authorization: {{credentials: {credential}}}}}
"""


class Stack(Programs):
    """Everything that the demo runs, and where it answers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.prometheus = shutil.which("prometheus")
        # The first is Debian's name for it.
        self.alertmanager = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        shop, prometheus, alertmanager, daemon = self._ports = free_ports(4)
        self.shop_url = f"http://127.0.0.1:{shop}"
        self.prometheus_url = f"http://127.0.0.1:{prometheus}"
        self.alertmanager_url = f"http://127.0.0.1:{alertmanager}"
        self.daemon_url = f"http://127.0.0.1:{daemon}"

    @property
    def webhook(self) -> str:
        """Give the URL that notifications are posted to."""
        return f"{self.daemon_url}/webhook/alertmanager"

    @property
    def config(self) -> Path:
        """Give the daemon's configuration."""
        return self.folder / "remediator.yml"

    @property
    def restarts(self) -> int:
        """Count how often the shop was started, the first time aside."""
        return len((self.folder / "shop.starts").read_text().splitlines()) - 1

    def start(self) -> None:
        """Write the configurations, start everything, and wait till all of it answers. Raises Failure."""
        self._write()
        shop, prometheus, alertmanager, _ = map(str, self._ports)
        python = sys.executable
        self.begin(
            "shop", python, str(HERE / "supervise.py"), str(self.folder), "shop", python, str(HERE / "shop.py"), shop
        )
        self.begin("remediator", python, "-m", "remediator", "serve", "--config", str(self.config))
        ready = {"shop": f"{self.shop_url}/health", "remediator": f"{self.daemon_url}/readyz"}
        if self.alertmanager:
            self.begin(
                "alertmanager", self.alertmanager, "--config.file=alertmanager.yml", "--storage.path=alertmanager",
                f"--web.listen-address=127.0.0.1:{alertmanager}", "--cluster.listen-address=",
            )  # fmt: skip
            ready["alertmanager"] = f"{self.alertmanager_url}/-/ready"
        if self.prometheus:
            self.begin(
                "prometheus", self.prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=prometheus",
                f"--web.listen-address=127.0.0.1:{prometheus}",
            )  # fmt: skip
            ready["prometheus"] = f"{self.prometheus_url}/-/ready"
        self.await_all(ready)

    def _write(self) -> None:
        shop, _, alertmanager, daemon = self._ports
        target = f"'127.0.0.1:{alertmanager}'" if self.alertmanager else ""
        remediator = {
            "listen": f"127.0.0.1:{daemon}",
            "mode": "auto",
            "rules": [str(RULES)],
            "vars": {"service_url": self.shop_url, "restart": str(HERE / "restart.sh")},
            "exec": {"allow": [str(HERE / "restart.sh")], "env": {"RUN_FOLDER": str(self.folder)}},
            "secrets": {"WEBHOOK_TOKEN": {"file": "webhook-token"}},
            "webhook": {"token": {"secret": "WEBHOOK_TOKEN"}},
        }
        files = {
            "prometheus.yml": _PROMETHEUS.format(shop=shop, alertmanager=target),
            "shop.rules.yml": _ALERTING_RULES,
            "alertmanager.yml": _ALERTMANAGER.format(webhook=self.webhook, credential=CREDENTIAL),
            "webhook-token": CREDENTIAL,
            self.config.name: json.dumps(remediator, indent=2),  # JSON is YAML
        }
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8")
