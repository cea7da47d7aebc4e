"""P16 with the real daemon and more than it can take: it answers 503, stays small and quick, and urgent work goes on."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from daemon import Daemon, eventually, fetch

pytestmark = pytest.mark.slow

SECONDS = 20
SENDERS, ALERTS = 16, 10_000  # 160,000 alerts at once: more than may wait

RULES = """
rules:
  - name: slow
    summary: Asks a server that never answers.
    match: alertname=Slow
    target: 'slow/{{ labels.unit }}'
    priority: P3
    steps: [{uses: http.get, with: {url: 'URL'}, timeout: 5m}]
  - name: urgent
    summary: Is looked at, and acted on.
    match: alertname=Urgent
    target: 'urgent/{{ labels.unit }}'
    priority: P0
    facts: [{id: looked, uses: exec.probe, with: {argv: [/bin/true]}}]
    steps: [{uses: exec.run, with: {argv: [/bin/true]}}]
"""


def body(name: str, units: list[str]) -> bytes:
    """Write a notification of so many alerts."""
    alerts = [
        {"status": "firing", "labels": {"alertname": name, "unit": unit}, "startsAt": "2026-01-01T00:00:00Z"}
        for unit in units
    ]
    return json.dumps({"alerts": alerts}).encode()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Lend a daemon over rules of both kinds, without any limit of its own."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as silent:  # takes connections, and says nothing
        (tmp_path / "rules.yml").write_text(RULES.replace("URL", f"http://127.0.0.1:{silent.getsockname()[1]}/"))
        config = {
            "mode": "auto",
            "rules": ["rules.yml"],
            "guard": {"limit": "off", "storm": "off", "max_running": "off"},
            "exec": {"allow": ["/bin/true"]},
        }
        with Daemon(tmp_path, config) as lent:
            yield lent


class Senders:
    """Those who send more than can be taken, again and again as Alertmanager does, till they are told to stop."""

    def __init__(self, daemon: Daemon) -> None:
        self.address = daemon.url.removeprefix("http://")
        self.answers: Counter[tuple[int, bool]] = Counter()  # by status, and whether it says when to come again
        self.stop = threading.Event()

    def send(self, number: int) -> None:
        """Be one of them."""
        sent = body("Flood", [f"{number}-{unit}" for unit in range(ALERTS)])
        while not self.stop.is_set():
            with closing(http.client.HTTPConnection(self.address, timeout=60)) as connection:
                connection.request("POST", "/webhook/alertmanager", sent)
                response = connection.getresponse()
                response.read()
                self.answers[response.status, response.getheader("Retry-After") is not None] += 1


def resident(daemon: Daemon) -> int:
    """Give the daemon's memory in MiB."""
    lines = Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS:"))


def later_than(daemon: Daemon, seconds: float) -> tuple[float, float]:
    """Give how often the loop was looked at, and how often it was later than that."""
    told = fetch(f"{daemon.url}/metrics").body.decode()
    found = dict(re.findall(r'^remediator_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', told, re.MULTILINE))
    return float(found["+Inf"]), float(found["+Inf"]) - float(found[str(seconds)])


def urgent(daemon: Daemon, unit: str) -> float:
    """Raise an urgent alert till it is taken, wait till it was acted on, and give how long that took."""
    began = time.monotonic()

    def taken() -> str | None:
        with suppress(OSError):
            answer = daemon.post(body("Urgent", [unit]))
            return str(answer.json()["runs"][0]) if answer.status == 200 else None
        return None

    run = eventually(taken, "an urgent alert is taken", 30)
    eventually(lambda: daemon.run(run)["state"] == "succeeded", "urgent work is done", 30)
    return time.monotonic() - began


@pytest.mark.fault("10⁶")
def test_p16_overload_is_bounded_and_urgent_work_is_not_starved(daemon: Daemon) -> None:
    """Memory and the loop's lag stay flat, the answer is 503, and P0 goes before hundreds of P3 that hang."""
    for number in range(40):
        assert daemon.post(body("Slow", [f"{number}-{unit}" for unit in range(8)])).status == 200
    senders, sizes, took = Senders(daemon), [], []
    with ThreadPoolExecutor(SENDERS) as pool:
        sending = [pool.submit(senders.send, number) for number in range(SENDERS)]
        try:
            began = time.monotonic()
            while time.monotonic() - began < SECONDS:
                took.append(urgent(daemon, f"{len(took)}"))
                sizes.append(resident(daemon))
        finally:
            senders.stop.set()
        assert [each.result() for each in sending] == [None] * SENDERS
    looks, late = later_than(daemon, 1.0)
    print(
        f"{dict(senders.answers)}; urgent at most {max(took):.1f} s of {len(took)}; {sizes} MiB; late {late} of {looks}"
    )
    assert {*senders.answers} == {(200, False), (503, True)}
    assert max(took) < 10
    half = len(sizes) // 2
    assert max(sizes[half:]) < max(sizes[:half]) + 60
    assert max(sizes) < 400
    assert looks > SECONDS
    assert late <= looks / 50
    assert "defect" not in daemon.output()
