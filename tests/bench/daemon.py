"""The processes that are measured: the real daemon, and the limits that stand beside it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from load import Client

BARE = Path(__file__).parent / "bare.py"
_START = 60.0  # seconds


@dataclass(frozen=True)
class Server:
    """Something that takes notifications on a port."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    started_in: float  # seconds from the start of its process until it was ready

    @property
    def store(self) -> Path:
        """Give the daemon's store."""
        return self.folder / "store.db"

    def memory(self, field: str = "VmRSS") -> float:
        """Give its resident memory now, or its peak (VmHWM), in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith(field))) / 1000

    def client(self) -> Client:
        """Connect to it."""
        return Client(self.port)


def rules(count: int, *more: str) -> str:
    """Write a file of so many rules that match nothing that is sent here, and more after them."""
    each = """
  - name: rule-{0}
    summary: Restart what alert {0} speaks of.
    match: '{{alertname="Alert{0}", severity=~"critical|high", team!="web"}}'
    target: 'host/{{{{ labels.instance }}}}'
    guard: {{cooldown: 10m, limit: 3 per 6h per target}}
    steps:
      - {{uses: exec.run, with: {{argv: [/bin/true, '{{{{ labels.instance }}}}']}}}}
"""
    return "rules:" + "".join(each.format(number) for number in range(count)) + "".join(more)


def acting(argv: str, name: str = "HighErrorRate", **keys: str) -> str:
    """Write a rule that runs a program for every alert of a name; without guards, unless `keys` of the rule say so."""
    more = "".join(f"    {key}: {value}\n" for key, value in {"guard": "{cooldown: 0s}", **keys}.items())
    return f"""
  - name: act-{name.lower()}
    summary: Act on every {name}.
    match: '{{alertname="{name}"}}'
    target: 'host/{{{{ labels.id }}}}'
{more}    steps:
      - {{uses: exec.run, with: {{argv: {argv}}}}}
"""


@contextmanager
def remediator(
    folder: Path,
    rule_file: str,
    *allow: str,
    guard: str = "{limit: off, max_running: off, storm: off, breaker: off}",
    store: str = "sqlite:///store.db",
) -> Iterator[Server]:
    """Run the daemon in a folder (which may hold a store already), in mode auto."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    (folder / "rules.yml").write_text(rule_file)
    config = folder / "remediator.yml"
    config.write_text(
        f"listen: 127.0.0.1:{port}\nmode: auto\nstore: {store}\nstate: .\nrules: [rules.yml]\n"
        f"exec: {{allow: [/bin/true, {', '.join(allow)}]}}\nguard: {guard}\nlog: {{level: warning}}\n"
    )
    command = [sys.executable, "-m", "remediator", "serve", "--config", str(config)]
    yield from _served(command, port, folder)


@contextmanager
def bare(folder: Path, what: str, *program: str) -> Iterator[Server]:
    """Run one of the limits."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    yield from _served([sys.executable, str(BARE), what, str(port), *program], port, folder)


def _served(command: list[str], port: int, folder: Path) -> Iterator[Server]:
    began = time.perf_counter()
    with (folder / "errors.log").open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=folder, stdout=errors, stderr=errors, env={**os.environ, "REMEDIATOR_CONFIG": ""}
        )
        try:
            while not _ready(port):
                if process.poll() is not None or time.perf_counter() - began > _START:
                    raise RuntimeError(f"{command} did not start: {(folder / 'errors.log').read_text()}")
                time.sleep(0.002)
            yield Server(process, port, folder, time.perf_counter() - began)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(port: int) -> bool:
    try:
        with Client(port) as client:
            client.get("/readyz")
    except (OSError, RuntimeError):
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
