"""Keep a program running, as systemd does with `Restart=always`: when it ends, it is started anew.

python supervise.py FOLDER NAME PROGRAM [ARGUMENT…]
    FOLDER/NAME.pid     the process id of the program that runs now
    FOLDER/NAME.starts  one line for each start

The one who restarts a service need only end it: what runs afterwards is this supervisor's child, and not a leftover of the
remediation's step, which would be killed with the step's process group. Ends with SIGTERM, or when its own parent is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


def supervise(folder: Path, name: str, command: list[str]) -> None:
    """Start the program again and again."""
    parent = os.getppid()
    while os.getppid() == parent:
        program = subprocess.Popen(command)
        try:
            with (folder / f"{name}.starts").open("a") as starts:
                starts.write(f"{program.pid}\n")
            fresh = folder / f"{name}.pid.new"
            fresh.write_text(f"{program.pid}\n")
            fresh.replace(folder / f"{name}.pid")
            while program.poll() is None and os.getppid() == parent:
                try:
                    program.wait(1)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            program.kill()
            program.wait()


def _end(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    supervise(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
