"""Test support: a real daemon as a process of its own, other programs beside it, and the one way to wait for something.

    with Daemon(tmp_path, {"mode": "auto", "rules": ["rules.yml"]}) as daemon:
        assert daemon.post(body).status == 200
        run = eventually(lambda: daemon.runs(state="succeeded"), "the run succeeds")[0]

A daemon may be killed and started again in the same folder: it finds what it left there.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

_EVERY = 0.05  # seconds between two looks
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))

T = TypeVar("T")


def eventually(probe: Callable[[], T], what: str, within: float = 20.0) -> T:
    """Look again and again till `probe` gives something true, and give that.

    An OSError (nobody listens yet, no such file) counts as "not yet". Fails with `what` and the last look after `within`
    seconds. The only place where these tests pause.
    """
    deadline = time.monotonic() + within
    seen: object
    while True:
        try:
            seen = found = probe()
            if found:
                return found
        except OSError as error:
            seen = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}; last seen: {seen!r}")
        time.sleep(_EVERY)


def free_port() -> int:
    """Give a port of loopback on which nobody listens, below those that the kernel hands to outgoing connections."""
    while True:
        port = random.randint(10_000, 32_000)  # noqa: S311 - only to keep parallel tests apart
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP server answered, errors included."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Decode the body."""
        return json.loads(self.body)


def fetch(url: str, body: object = None, *, token: str | None = None, method: str | None = None) -> Answer:
    """Ask once: POST with a body (bytes, or anything JSON), else GET. Raises OSError when nobody answers."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with _NO_PROXY.open(request, timeout=10) as response:
            return Answer(response.status, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read())


def metric(url: str, name: str) -> float:
    """Sum one metric of a program over its labels, 0 where it isn't there. Raises OSError when nobody answers."""
    lines = fetch(f"{url}/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


class Program:
    """A program that runs beside a test in a process group of its own; what it says goes to `folder/NAME.log`."""

    def __init__(self, name: str, argv: Sequence[str], folder: Path, ready: str) -> None:
        """`ready` is the URL that answers 200 once the program can be used."""
        self.name = name
        self.argv = list(argv)
        self.folder = folder
        self.ready = ready
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Self:
        """Start it, again too, and wait till it is ready."""
        assert self.process is None or self.process.poll() is not None, f"{self.name} runs already"
        environ = {key: value for key, value in os.environ.items() if not key.startswith("REMEDIATOR_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, cwd=self.folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        return self.wait_ready() if wait else self

    def wait_ready(self, within: float = 30.0) -> Self:
        """Wait till it answers; fails at once, with its last words, when it has ended instead."""

        def ready() -> bool:
            assert self.running, f"{self.name} ended with {self.status}:\n{self.output()[-4000:]}"
            return fetch(self.ready).status == 200

        eventually(ready, f"{self.name} is ready, see {self.log}", within)
        return self

    @property
    def running(self) -> bool:
        """Tell whether its process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def status(self) -> int | None:
        """Give its exit status, negative for a signal; None while it runs and before it was started."""
        return None if self.process is None else self.process.poll()

    @property
    def pid(self) -> int:
        """Give its process id."""
        assert self.process is not None, f"{self.name} was not started"
        return self.process.pid

    def output(self) -> str:
        """Give everything that it has said so far, over all starts."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone."""
        os.kill(self.pid, number)

    def wait(self, within: float = 40.0) -> int:
        """Wait for its end and give its exit status."""
        assert self.process is not None, f"{self.name} was not started"
        return self.process.wait(within)

    def stop(self, within: float = 40.0) -> int:
        """Ask it to end with SIGTERM, wait for that, and give its exit status; kills it when it doesn't."""
        if self.running:
            self.signal(signal.SIGTERM)
        try:
            return self.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {within:g} s of SIGTERM, see {self.log}") from None

    def kill(self) -> None:
        """Kill it with SIGKILL, and all that is in its process group."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def __enter__(self) -> Self:
        """Start it where that wasn't done yet."""
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        """End it, for good."""
        self.kill()


class Daemon(Program):
    """The real daemon, `remediator serve`, with a configuration in a folder that also holds its state."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any] | None = None,
        *,
        port: int | None = None,
        wrapper: Sequence[str] = (),
        credential: str | None = None,
    ) -> None:
        """Write `folder/remediator.yml`; nothing is started yet.

        `config` lies over `listen` on a free port (or `port`) and logs as JSON. `wrapper` goes before the command, as in
        `["strace", "-D", "-f", …]` (`-D` leaves the process id and its signals to the daemon). `credential` is the
        webhook's bearer token.
        """
        port = free_port() if port is None else port
        self.url = f"http://127.0.0.1:{port}"
        self.credential = credential
        self.config = folder / "remediator.yml"
        secured: dict[str, Any] = {}
        if credential is not None:
            (folder / "webhook-token").write_text(credential)
            secured["secrets"] = {"WEBHOOK": {"file": "webhook-token"}}
            secured["webhook"] = {"token": {"secret": "WEBHOOK"}}
        chosen = {"listen": f"127.0.0.1:{port}", "log": {"format": "json"}, **secured, **(config or {})}
        self.config.write_text(json.dumps(chosen, indent=1), encoding="utf-8")  # JSON is YAML 1.2
        command = [sys.executable, "-m", "remediator", "serve", "--config", str(self.config)]
        super().__init__("daemon", [*wrapper, *command], folder, f"{self.url}/readyz")

    @property
    def webhook(self) -> str:
        """Give the URL that Alertmanager posts to."""
        return f"{self.url}/webhook/alertmanager"

    @property
    def store(self) -> Path:
        """Give the SQLite file, where the configuration doesn't name another."""
        return self.folder / "state" / "remediator.db"

    @property
    def token(self) -> str:
        """Give the local token, which the daemon leaves in its state folder."""
        return (self.folder / "state" / "token").read_text().strip()

    def post(self, body: object) -> Answer:
        """Post a notification: bytes as they are, anything else as JSON."""
        return fetch(self.webhook, body, token=self.credential)

    def ask(self, path: str, body: object = None, *, method: str | None = None, **query: Any) -> Any:
        """Ask /api/v1 and give the document; fails on anything but 200."""
        asked = f"?{urllib.parse.urlencode(query)}" if query else ""
        answer = fetch(f"{self.url}/api/v1{path}{asked}", body, token=self.token, method=method)
        assert answer.status == 200, f"{path} answered {answer.status}: {answer.body!r}"
        return answer.json()

    def runs(self, **query: str) -> list[dict[str, Any]]:
        """List runs, newest first, at most 1000 of them: `state`, `rule` and `since` choose."""
        found: list[dict[str, Any]] = self.ask("/runs", limit=1000, **query)["runs"]
        return found

    def run(self, run: str) -> dict[str, Any]:
        """Give one run's whole story."""
        found: dict[str, Any] = self.ask(f"/runs/{run}")
        return found

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Give all of history in order, or one kind of event."""
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = self.ask("/events", after=after, limit=1000)
            found, after = found + page["events"], page["next"]
        return [event for event in found if kind in (None, event["kind"])]

    def firing(self) -> list[dict[str, Any]]:
        """List the alerts that the daemon takes to be firing."""
        found: list[dict[str, Any]] = self.ask("/alerts", limit=1000)["alerts"]
        return found

    def metric(self, name: str) -> float:
        """Sum one of its metrics over its labels."""
        return metric(self.url, name)
