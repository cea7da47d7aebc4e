"""Test support: a daemon whose clock a test moves, by libfaketime, while it runs or between two starts."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest
from daemon import Daemon

WALL, ALL = "wall", "all"  # which clocks move: a person or NTP moves the wall's alone, a suspended machine all of them


@cache
def _library() -> Path | None:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")) if shutil.which("faketime") else []
    return found[0] if found else None


class Clock:
    """The clock of one daemon: as many seconds before or behind the machine's as `move` says."""

    def __init__(self, daemon: Daemon, moves: str) -> None:
        """Put a daemon that hasn't been started under this clock; skips the test where libfaketime is missing."""
        library = _library()
        if library is None:
            pytest.skip("libfaketime is missing (apt-get install faketime): the clock can't be moved")
        self._file = daemon.folder / "clock"
        self.move(0)
        environ = {
            "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1", "NO_FAKE_STAT": "1",
        }  # fmt: skip
        if moves == WALL:
            environ["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
        daemon.argv = ["env", *(f"{name}={value}" for name, value in environ.items()), *daemon.argv]

    def move(self, seconds: float) -> None:
        """Let the clock be so far from the machine's from now on."""
        new = self._file.with_name("clock.new")
        new.write_text(f"{seconds:+.0f}\n")
        new.replace(self._file)  # whole, whenever it is read
