"""What the demo runs: the shop under its supervisor, Prometheus and Alertmanager where they are installed, and the daemon.

All of it in one folder and on free ports of loopback. The configurations below are what one would write by hand.
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).resolve().parent
RULES = HERE.parent.parent / "rules" / "service-down.yml"
CREDENTIAL = "a-credential-for-the-demo-alone"
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))

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


class Failure(Exception):
    """The demo can't go on; the text says why."""


class Stack:
    """Everything that the demo runs, and where it answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prometheus = shutil.which("prometheus")
        # The first is Debian's name for it.
        self.alertmanager = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        shop, prometheus, alertmanager, daemon = self._ports = _free_ports(4)
        self.shop_url = f"http://127.0.0.1:{shop}"
        self.prometheus_url = f"http://127.0.0.1:{prometheus}"
        self.alertmanager_url = f"http://127.0.0.1:{alertmanager}"
        self.daemon_url = f"http://127.0.0.1:{daemon}"
        self._running: dict[str, subprocess.Popen[bytes]] = {}

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
        self._start(
            "shop", python, str(HERE / "supervise.py"), str(self.folder), "shop", python, str(HERE / "shop.py"), shop
        )
        self._start("remediator", python, "-m", "remediator", "serve", "--config", str(self.config))
        ready = {"shop": f"{self.shop_url}/health", "remediator": f"{self.daemon_url}/readyz"}
        if self.alertmanager:
            self._start(
                "alertmanager", self.alertmanager, "--config.file=alertmanager.yml", "--storage.path=alertmanager",
                f"--web.listen-address=127.0.0.1:{alertmanager}", "--cluster.listen-address=",
            )  # fmt: skip
            ready["alertmanager"] = f"{self.alertmanager_url}/-/ready"
        if self.prometheus:
            self._start(
                "prometheus", self.prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=prometheus",
                f"--web.listen-address=127.0.0.1:{prometheus}",
            )  # fmt: skip
            ready["prometheus"] = f"{self.prometheus_url}/-/ready"
        for name, url in ready.items():
            self._await(name, url)

    def __enter__(self) -> Self:
        """Lend itself; `start` starts."""
        return self

    def __exit__(self, *_: object) -> None:
        """End everything, the last started first; what doesn't end within 10 s is killed."""
        while self._running:
            process = self._running.popitem()[1]
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def watch(self) -> None:
        """Raise Failure when something has ended that should run."""
        for name, process in self._running.items():
            if process.poll() is not None:
                last = (self.folder / f"{name}.log").read_text(errors="replace").strip()[-1000:]
                raise Failure(f"{name} ended with status {process.returncode}; its last words:\n{last}")

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

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            # A session of its own: Ctrl-C on the terminal reaches the demo alone, which then ends all in order.
            self._running[name] = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _await(self, name: str, url: str) -> None:
        deadline = time.monotonic() + 30
        while ask(url)[0] != 200:
            self.watch()
            if time.monotonic() > deadline:
                raise Failure(f"{name} did not answer at {url} within 30 s")
            time.sleep(0.1)


def ask(url: str, body: object = None, token: str | None = None) -> tuple[int, Any]:
    """GET, or POST a body as JSON. Gives status and body, decoded where it is JSON; 0 and None when nobody answers."""
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with _NO_PROXY.open(request, timeout=5) as response:
            text = response.read()
            is_json = response.headers.get_content_type() == "application/json"
            return response.status, json.loads(text) if is_json else text.decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except OSError:
        return 0, None


def _free_ports(count: int) -> list[int]:
    """Give ports on which nobody listens, below those that the kernel hands to outgoing connections."""
    found: list[int] = []
    for port in random.sample(range(10_000, 32_000), 1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            return found
    raise Failure("there are no free ports on 127.0.0.1")
