"""`make demo` as a process of its own: what it says, how it ends, and what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from world import DEMO


class Demo:
    """The demo as a process of its own, with `folder` as its place for temporary files."""

    def __init__(self, folder: Path, *scenarios: str, **environ: str) -> None:
        self.log = folder / "said.txt"
        self.folder = folder / "temporary"
        self.folder.mkdir()
        command = [sys.executable, str(DEMO / "demo.py"), *scenarios]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(self.folder), **environ}
            )

    def said(self) -> str:
        """Give what it has said so far."""
        return self.log.read_text()

    @property
    def status(self) -> int | None:
        """Give its exit status, None while it runs."""
        return self.process.returncode

    def finish(self) -> str:
        """Wait for its end, and give all that it said."""
        try:
            self.process.wait(60)
        finally:
            self.process.terminate()
            self.process.wait()
        return self.said()

    def left_behind(self) -> list[str]:
        """List its files, and the processes that work there."""
        files = [str(path) for path in self.folder.rglob("*")]
        return files + [where for where in _working_folders() if where.startswith(str(self.folder))]


def _working_folders() -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
            found.append(str(process.readlink()))
    return found
