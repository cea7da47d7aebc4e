"""What is sent to the daemon and to the limits, and by what: single requests in a row, or wrk."""

from __future__ import annotations

import itertools
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_numbers = itertools.count(1 << 52)  # wrk counts on from the present microsecond, which is far below


def fresh(count: int, name: str = "HighErrorRate") -> list[dict[str, Any]]:
    """Make alerts that were never sent before."""
    return [alert(number, name) for number in itertools.islice(_numbers, count)]


def alert(number: int | str, name: str = "HighErrorRate", status: str = "firing") -> dict[str, Any]:
    """Make an alert of ordinary size, as Alertmanager writes it; its number stands in its labels and fingerprint."""
    mark = number if isinstance(number, str) else f"{number:016x}"
    return {
        "status": status,
        "labels": {
            "alertname": name, "cluster": "eu-west-1", "environment": "production", "id": mark, "job": "checkout",
            "instance": f"10.2.3.4:{mark}", "severity": "critical", "team": "payments",
        },
        "annotations": {
            "summary": "Error rate of checkout is above 5 % for 10 minutes",
            "description": "The share of requests answered with 5xx is 7.3 %; look at the dashboard of the service first.",
            "runbook_url": "https://runbooks.example.com/checkout/high-error-rate",
        },
        "startsAt": "2026-11-02T10:20:30.123Z",
        "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else "2026-11-02T10:30:30.123Z",
        "generatorURL": "http://prometheus.example.com:9090/graph?g0.expr=job%3Aerrors%3Aratio5m+%3E+0.05&g0.tab=1",
        "fingerprint": mark,
    }  # fmt: skip


def body(alerts: Iterable[dict[str, Any]]) -> bytes:
    """Make a notification of them."""
    return json.dumps(_frame(list(alerts))).encode()


def _frame(alerts: list[Any]) -> dict[str, Any]:
    return {
        "receiver": "remediator", "status": "firing", "alerts": alerts, "groupLabels": {"alertname": "HighErrorRate"},
        "commonLabels": {"cluster": "eu-west-1", "environment": "production"}, "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.com:9093", "version": "4",
        "groupKey": '{}:{alertname="HighErrorRate"}', "truncatedAlerts": 0,
    }  # fmt: skip


class Client:
    """One connection that is kept open, and as little Python around it as will do."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, content: bytes) -> None:
        """Post a notification, and don't wait for the answer."""
        head = f"POST /webhook/alertmanager HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(content)}\r\n\r\n"
        self._socket.sendall(head.encode() + content)

    def answer(self) -> bytes:
        """Give the answer's body. Raises RuntimeError when it is not 200."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, rest = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        while length is not None and len(rest) < int(length[1]):
            rest += self._more()
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(f"answered {head.decode()}\n{rest[:500]!r}")
        return rest

    def post(self, content: bytes) -> float:
        """Post a notification; gives the seconds until it was answered."""
        began = time.perf_counter()
        self.send(content)
        self.answer()
        return time.perf_counter() - began

    def get(self, path: str) -> bytes:
        """Get a path."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        return self.answer()

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 16)
        if not data:
            raise RuntimeError("the connection was closed")
        return data


@dataclass(frozen=True)
class Loaded:
    """What wrk saw."""

    rate: float  # requests a second
    p50: float  # seconds
    p99: float


class Wrk:
    """Load from wrk (Debian's), one thread of it."""

    def __init__(self, folder: Path) -> None:
        frame = json.dumps(_frame([])).split('"alerts": []')
        self._template = folder / "alert.txt"
        self._template.write_text(f'{frame[0]}"alerts": [\n{json.dumps(alert("@@"))}\n]{frame[1]}\n')

    def start(
        self, port: int, seconds: int, connections: int, *, alerts: int = 1, fresh: bool = True, pause: int = 0
    ) -> subprocess.Popen[str]:
        """Begin to post for a while; `pause` is in milliseconds, between two requests of one connection."""
        first = int(time.time() * 1e6) if fresh else 1
        command = [
            "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(HERE / "load.lua"),
            f"http://127.0.0.1:{port}/webhook/alertmanager", "--", str(self._template), str(first), str(alerts),
            str(int(fresh)), str(pause),
        ]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def finish(self, process: subprocess.Popen[str]) -> Loaded:
        """Wait for its end and read what it says. Raises RuntimeError when a request failed."""
        said = process.communicate()[0]
        if process.returncode or "Non-2xx" in said or "Socket errors" in said:
            raise RuntimeError(f"wrk: {said}")
        rate = re.search(r"Requests/sec: +([\d.]+)", said)
        percentiles = {each[0]: _seconds(each[1]) for each in re.findall(r"(50|99)% +([\d.]+[um]?s)", said)}
        if rate is None:
            raise RuntimeError(f"wrk: {said}")
        return Loaded(float(rate[1]), percentiles["50"], percentiles["99"])

    def run(self, port: int, seconds: int, connections: int, *, alerts: int = 1, fresh: bool = True) -> Loaded:
        """Post for a while."""
        return self.finish(self.start(port, seconds, connections, alerts=alerts, fresh=fresh))


def _seconds(text: str) -> float:
    for unit, factor in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)
