"""Test support: kill a daemon at one chosen system call, break its disk, and hold a step at work while that happens.

strace counts each kind of call apart in each thread, and kills the whole process just before the call that was chosen.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from signal import SIGTERM
from typing import Any, NamedTuple

import pytest
from daemon import Answer, Daemon, eventually, fetch

# All calls by which a daemon changes anything outside itself: the store's file, its log, its children. `?`: where there.
WRITING = ("pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "unlinkat", "write", "vfork", "fork", "wait4")


class Moment(NamedTuple):
    """Just before the Nth call of one kind, in whichever thread gets there first."""

    call: str
    number: int

    def __str__(self) -> str:
        """Give the form that `CRASH_AT` takes."""
        return f"{self.call}:{self.number}"


def traced(log: Path, *options: str) -> list[str]:
    """Give the wrapper that runs a command under strace, noting its writing calls in a file."""
    calls = ",".join(f"?{call}" for call in WRITING)
    # -D leaves the command its process id. --seccomp-bpf would be faster, but no signal is injected under it.
    return ["strace", "-D", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}", "-e", "signal=none", *options]


def killed_at(moment: Moment, log: Path) -> list[str]:
    """Give the wrapper that kills a command at a moment."""
    return traced(log, "-e", f"inject={moment.call}:signal=KILL:when={moment.number}")


def moments(log: Path) -> list[Moment]:
    """Read from a trace at which moments a daemon that does the same again can be killed, in order of time."""
    counts: Counter[tuple[str, str]] = Counter()
    found: dict[Moment, None] = {}
    for line in log.read_text(errors="replace").splitlines():
        thread, _, told = line.partition(" ")
        call = told.strip().partition("(")[0]
        if call in WRITING:
            counts[thread, call] += 1
            found.setdefault(Moment(call, counts[thread, call]))
    return list(found)


def spread(among: Sequence[Moment], count: int, seed: int) -> list[Moment]:
    """Choose so many moments, evenly over time, half of them other than `pwrite64`, which is by far the most frequent."""
    chance = random.Random(seed)  # noqa: S311 - the same moments for the same seed
    pages = [moment for moment in among if moment.call == "pwrite64"]
    others = [moment for moment in among if moment.call != "pwrite64"]
    chosen: list[Moment] = []
    for kind, wanted in ((pages, count // 2), (others, count - count // 2)):
        share = min(wanted, len(kind))
        offset = chance.random()
        chosen += [kind[int((place + offset) * len(kind) / share)] for place in range(share)]
    return chosen


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, check=False, capture_output=True)


@cache
def _strace_works() -> bool:
    return shutil.which("strace") is not None and _run("strace", "-D", "-f", "-o", "/dev/null", "true").returncode == 0


def needs_strace() -> None:
    """Skip the test where strace is missing or may not trace."""
    if not _strace_works():
        pytest.skip("strace is missing or may not trace here (ptrace): the fault can't be injected")


@contextmanager
def injected(daemon: Daemon, fault: str, *more: str, trace: Path = Path("/dev/null")) -> Iterator[None]:
    """Inject a fault, as in `fsync:error=EIO`, into a running daemon; skips the test where that isn't permitted.

    `more` is for strace, as in `-P FILE`; `trace` is where the calls are noted that it concerns.
    """
    needs_strace()
    told = daemon.folder / "strace.log"
    command = ["strace", "-f", "-o", str(trace), "-e", f"inject={fault}", *more, "-p", str(daemon.pid)]
    with told.open("wb") as log, subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL) as strace:
        try:
            eventually(lambda: "attached" in told.read_text() or strace.poll() is not None, "strace is attached")
            if strace.poll() is not None:
                pytest.skip(f"strace may not attach to a process here: {told.read_text().strip()}")
            yield
        finally:
            strace.terminate()
            try:
                strace.wait(10)
            except subprocess.TimeoutExpired:  # seen once on a loaded machine: it waited for what it followed
                strace.kill()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of that size at a folder; skips the test where mounting isn't permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = _run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder))
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs isn't permitted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def gone(act: Callable[[], Any]) -> bool:
    """Do something with a daemon that may die over it, and tell whether nobody answered."""
    try:
        act()
    except OSError:
        return True
    return False


_HOLD = """#!/bin/sh
echo "begun $1" >> effects
until [ -e gate ]; do sleep 0.02; done
echo "ended $1" >> effects
"""
_RULE = """
rules:
  - name: hold
    summary: Acts, and ends when the test opens the gate.
    match: alertname=Hold
    target: 'unit/{{ labels.unit }}'
    guard: {cooldown: 0s}
    steps:
      - uses: exec.run
        with: {argv: [HOLD, '{{ labels.unit }}']}
"""


class Gated(Daemon):
    """A daemon whose only rule, in `rules/hold.yml`, starts a program that ends when the file `gate` is there."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.program = folder / "hold"
        self.program.write_text(_HOLD)
        self.program.chmod(0o755)
        self.rule = _RULE.replace("HOLD", str(self.program))
        self.rules = folder / "rules"
        self.rules.mkdir()
        (self.rules / "hold.yml").write_text(self.rule)
        guard = {"limit": "off", "max_running": "off"}
        programs = {"allow": [str(self.program)], "cwd": "."}
        super().__init__(folder, {"mode": "auto", "rules": ["rules"], "exec": programs, "guard": guard, **config})

    def fire(self, unit: str = "a") -> Answer:
        """Post one alert."""
        labels = {"alertname": "Hold", "unit": unit}
        return self.post({"alerts": [{"status": "firing", "labels": labels, "startsAt": "2026-01-01T00:00:00Z"}]})

    def effects(self) -> list[str]:
        """Give what the programs have done."""
        file = self.folder / "effects"
        return file.read_text().splitlines() if file.exists() else []

    def begin(self) -> str:
        """Let a step begin, and give its run."""
        answer = self.fire()
        assert answer.status == 200, answer.body
        eventually(lambda: self.effects() == ["begun a"], "the step is at work")
        run: str = answer.json()["runs"][0]
        return run

    def open_gate(self) -> None:
        """Let the programs end."""
        (self.folder / "gate").touch()

    def __exit__(self, *problem: object) -> None:
        """End it, and the programs that it has left."""
        self.open_gate()
        super().__exit__(*problem)

    def begin_to_stop(self) -> None:
        """Send SIGTERM, and wait till the daemon says that it stops."""
        self.signal(SIGTERM)
        eventually(lambda: fetch(self.ready).status == 503, "it says that it stops")

    def until(self, run: str, state: str) -> dict[str, Any]:
        """Wait till a run is in a state, and give it."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [self.run(run)]
            return bool(found[0]["state"] == state)

        eventually(there, f"the run is {state}")
        return found[0]

    def programs(self) -> list[int]:
        """List the processes of its program, whoever started them."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_text().split("\0")
            except OSError:  # it has ended meanwhile
                continue
            if str(self.program) in command:
                found.append(int(process.name))
        return found
