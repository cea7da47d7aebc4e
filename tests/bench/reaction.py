"""Reaction: from the webhook's last byte sent to the first instruction of the step's process."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from daemon import Server, acting, bare, remediator, rules
from load import Client, Wrk, alert, body
from table import Row, at_most, percentile, within

_SHELL = """#!/bin/sh
echo "$2" > "$1"
"""
_NAME = "Reaction"  # of the alerts that the rule takes up
_CONNECTIONS = 32  # of the load behind which reactions are measured
_LONGEST = 10.0  # seconds


class Listener:
    """Hears from the children that they have started, and when."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "started.fifo"
        os.mkfifo(self.path)
        self._fifo = os.open(self.path, os.O_RDWR)
        self._buffer = b""

    def close(self) -> None:
        """Let the pipe go."""
        os.close(self._fifo)

    def wait(self, mark: str) -> float:
        """Give the instant at which the child with this mark began, on the monotonic clock, in seconds."""
        while True:
            while b"\n" not in self._buffer:
                if not select.select([self._fifo], [], [], _LONGEST)[0]:
                    raise RuntimeError(f"no process was started for {mark} within {_LONGEST:g} s")
                self._buffer += os.read(self._fifo, 65536)
            now = time.monotonic()
            line, _, self._buffer = self._buffer.partition(b"\n")
            said = line.decode().split()
            if said[0] == mark:
                return int(said[1]) / 1e9 if len(said) > 1 else now


def child(folder: Path) -> Path:
    """Make the program that both sides start: in C where there is a compiler, else a shell's script."""
    program = folder / "started"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        program.write_text(_SHELL)
        program.chmod(0o755)
    else:
        source = Path(__file__).with_name("started.c")
        subprocess.run([compiler, "-O2", "-o", program, source], check=True)
    return program


def _react(client: Client, listener: Listener, number: int) -> float:
    """Post one alert and give the seconds until its process ran."""
    mark = f"{number:016x}"
    content = body([alert(mark, _NAME)])
    began = time.monotonic()
    client.send(content)
    started = listener.wait(mark)
    client.answer()
    return started - began


class _Sides:
    """The daemon and its limit, each with a listener of its own children."""

    def __init__(self, daemon: Server, limit: Server, listener: Listener) -> None:
        self.daemon, self.limit, self.listener = daemon, limit, listener
        self._number = 1 << 51

    def samples(self, server: Server, count: int) -> list[float]:
        """Post so many alerts to one side, one after the other."""
        found = []
        with server.client() as client:
            for _ in range(count):
                self._number += 1
                found.append(_react(client, self.listener, self._number))
        return found


@contextmanager
def _sides(folder: Path) -> Iterator[_Sides]:
    folder.mkdir()
    listener, program = Listener(folder), child(folder)
    argv = f"[{program}, {listener.path}, '{{{{ labels.id }}}}']"
    with ExitStack() as stack:
        stack.callback(listener.close)
        rule_file = rules(100, acting(argv, _NAME))
        daemon = stack.enter_context(remediator(folder / "daemon", rule_file, str(program)))
        limit = stack.enter_context(bare(folder / "bare", "spawn", str(program), str(listener.path)))
        yield _Sides(daemon, limit, listener)


def measure(folder: Path, wrk: Wrk, full_rate: float, *, quick: bool) -> list[Row]:
    """Measure reactions alone, side by side, and under half of the full load of ingest (`full_rate`, requests a second)."""
    rounds, count, seconds = (2, 20, 2) if quick else (10, 100, 10)
    with _sides(folder) as sides:
        sides.samples(sides.daemon, 20)
        sides.samples(sides.limit, 20)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(rounds):
            theirs += sides.samples(sides.limit, count)
            ours += sides.samples(sides.daemon, count)
        pause = round(1000 * _CONNECTIONS / (full_rate / 2))
        load = wrk.start(sides.daemon.port, seconds, _CONNECTIONS, pause=pause)
        loaded: list[float] = []
        while load.poll() is None:
            loaded += sides.samples(sides.daemon, 5)
        achieved = wrk.finish(load).rate
    return [
        at_most("reaction, p50", percentile(ours, 50), percentile(theirs, 50), 1.5),
        at_most("reaction, p99", percentile(ours, 99), percentile(theirs, 99), 2.0),
        within(f"reaction under {achieved:,.0f} requests/s, p99", percentile(loaded, 99), 0.05),
    ]
