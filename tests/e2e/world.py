"""What stands around the daemon in the end-to-end tests: a shop, Prometheus, Alertmanagers, and somebody who takes notes."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
from daemon import Daemon, Program, fetch, free_port

DEMO = Path(__file__).resolve().parents[2] / "deploy" / "demo"
CREDENTIAL = "known to Alertmanager alone"

_RULE = """\
rules:
  - name: restart-shop
    summary: Restart the shop when it is down.
    match: '{alertname="ServiceDown"}'
    target: 'service/{{ labels.service }}'
    guard: {cooldown: 0s} # only the daemon's own care keeps it from acting twice
    steps:
      - id: restart
        uses: exec.run
        with: {argv: ['{{ vars.restart }}', '{{ labels.service }}']}
    verify:
      within: 30s
      every: 1s
      stable_for: 1s
      resolved: true
      checks:
        - id: health
          uses: http.get
          with: {url: '{{ vars.shop }}/health'}
          expect: result.status == 200
"""


def installed(name: str) -> str:
    """Give the path of one of Debian's programs; fails, and doesn't skip, where it is missing."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed: `make test` installs it, and so does `apt-get install {name}`")
    return found


class Shop(Program):
    """The demo's shop under its supervisor."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        shop = [sys.executable, str(DEMO / "shop.py"), str(port)]
        supervised = [sys.executable, str(DEMO / "supervise.py"), str(folder), "shop", *shop]
        super().__init__("shop", supervised, folder, f"{self.url}/health")

    def fall_ill(self) -> None:
        """Make it answer 500."""
        assert fetch(f"{self.url}/break", {}).status == 200
        assert not self.well

    @property
    def well(self) -> bool:
        """Tell whether it serves its customers."""
        return fetch(self.ready).status == 200

    @property
    def restarts(self) -> int:
        """Count its starts, the first one aside."""
        return len((self.folder / "shop.starts").read_text().splitlines()) - 1


class Alertmanager(Program):
    """A real Alertmanager, alone, that tells the same alerts again at every flush."""

    def __init__(self, folder: Path, name: str, webhooks: Sequence[str], *, send_resolved: bool = True) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        receivers = [
            {
                "url": url,
                "send_resolved": send_resolved,
                "http_config": {"authorization": {"credentials": CREDENTIAL}},
            }
            for url in webhooks
        ]
        config = {
            "route": {
                "receiver": name, "group_by": ["alertname"],
                "group_wait": "1s", "group_interval": "1s", "repeat_interval": "1s",
            },
            "receivers": [{"name": name, "webhook_configs": receivers}],
        }  # fmt: skip
        (folder / f"{name}.yml").write_text(json.dumps(config))
        command = [
            installed("prometheus-alertmanager"), f"--config.file={name}.yml", f"--storage.path={name}",
            f"--web.listen-address={self.address}", "--cluster.listen-address=",
        ]  # fmt: skip
        super().__init__(name, command, folder, f"{self.url}/-/ready")

    def alerts(self) -> list[dict[str, Any]]:
        """List what fires, as its API has it."""
        found: list[dict[str, Any]] = fetch(f"{self.url}/api/v2/alerts").json()
        return found

    def tell(self, alert: dict[str, Any]) -> None:
        """Raise an alert in it, in Prometheus's place."""
        assert fetch(f"{self.url}/api/v2/alerts", [alert]).status == 200


class Prometheus(Program):
    """A real Prometheus that watches the shop and tells its Alertmanagers."""

    def __init__(self, folder: Path, shop: Shop, alertmanagers: Sequence[Alertmanager]) -> None:
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        told = [{"targets": [each.address for each in alertmanagers]}]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [{"job_name": "shop", "static_configs": [{"targets": [shop.address]}]}],
            "alerting": {"alertmanagers": [{"static_configs": told}]},
        }
        down = {
            "alert": "ServiceDown",
            "expr": "shop_healthy == 0",
            "for": "1s",
            "keep_firing_for": "3s",  # so that every Alertmanager has told of it before it resolves
            "labels": {"service": "shop", "severity": "critical"},
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        (folder / "alerts.yml").write_text(json.dumps({"groups": [{"name": "shop", "rules": [down]}]}))
        command = [
            installed("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=prometheus",
            f"--web.listen-address={address}",
        ]  # fmt: skip
        super().__init__("prometheus", command, folder, f"{self.url}/-/ready")

    def alerts(self) -> list[dict[str, Any]]:
        """List what is pending or fires."""
        found: list[dict[str, Any]] = fetch(f"{self.url}/api/v1/alerts").json()["data"]["alerts"]
        return found


class NoteTaker:
    """A receiver of notifications that keeps their bodies, and answers each with the same status."""

    def __init__(self, status: int = 200, port: int | None = None) -> None:
        self.bodies: list[bytes] = []
        noted = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                noted.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        port = free_port() if port is None else port
        self.url = f"http://127.0.0.1:{port}"
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def told(self, receiver: str, status: str) -> list[bytes]:
        """Give the bodies that one receiver was sent, of a group that fires or has resolved."""
        read = ((body, json.loads(body)) for body in list(self.bodies))
        return [body for body, document in read if (document["receiver"], document["status"]) == (receiver, status)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class World:
    """All that a test has started, in one folder; it ends with the test."""

    def __init__(self, folder: Path, closing: ExitStack) -> None:
        self.folder = folder
        self.enter = closing.enter_context
        self.shop = self.enter(Shop(folder))
        self.port = free_port()  # the daemon's, known before there is one

    def daemon(self, **config: Any) -> Daemon:
        """Make the daemon, in `auto`, with a rule that restarts the shop; it is not started yet."""
        restart = str(DEMO / "restart.sh")
        (self.folder / "restart.yml").write_text(_RULE)
        settings = {
            "mode": "auto",
            "rules": ["restart.yml"],
            "vars": {"restart": restart, "shop": self.shop.url},
            "exec": {"allow": [restart], "env": {"RUN_FOLDER": str(self.folder)}},
        }
        return Daemon(self.folder, {**settings, **config}, port=self.port, credential=CREDENTIAL)

    def alertmanager(self, name: str, *also: str, send_resolved: bool = True) -> Alertmanager:
        """Start an Alertmanager that posts to the daemon, and `also` elsewhere; its name is that of its receiver too."""
        webhooks = (f"http://127.0.0.1:{self.port}/webhook/alertmanager", *also)
        return self.enter(Alertmanager(self.folder, name, webhooks, send_resolved=send_resolved))

    def prometheus(self, *alertmanagers: Alertmanager) -> Prometheus:
        """Start Prometheus."""
        return self.enter(Prometheus(self.folder, self.shop, alertmanagers))
