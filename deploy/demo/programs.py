"""Programs that a demo starts, in one folder and on free ports of the loopback, and how they are spoken to."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failure(Exception):
    """The demo can't go on; the text says why."""


class Programs:
    """What runs beside the demo; leaving it ends everything, the last started first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Lend itself; nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End everything; what doesn't end within 10 s is killed."""
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

    def begin(self, name: str, *command: str) -> None:
        """Start a program; what it says goes to NAME.log."""
        with (self.folder / f"{name}.log").open("wb") as log:
            # A session of its own: Ctrl-C on the terminal reaches the demo alone, which then ends all in order.
            self._running[name] = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def await_all(self, ready: Mapping[str, str]) -> None:
        """Wait till each answers 200 at its URL. Raises Failure."""
        for name, url in ready.items():
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


def free_ports(count: int) -> list[int]:
    """Give ports on which nobody listens, below those that the kernel hands to outgoing connections."""
    found: list[int] = []
    for port in random.sample(range(10_000, 32_000), 1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            return found
    raise Failure("there are no free ports on 127.0.0.1")
