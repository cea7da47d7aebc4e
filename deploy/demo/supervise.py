"""Keep a program running, as systemd does with `Restart=always`: when it ends, it is started anew.

python supervise.py FOLDER NAME PROGRAM [ARGUMENT…]
    FOLDER/NAME.pid     the process id of the program that runs now
    FOLDER/NAME.starts  one line for each start

The one who restarts a service need only end it: what runs afterwards is this supervisor's child, and not a leftover of the
remediation's step, which would be killed with the step's process group. Ends with SIGTERM, or when its own parent is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


def supervise(folder: Path, name: str, command: list[str]) -> None:
    """Start the program again and again."""
    parent = os.getppid()
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    while not ending.is_set() and os.getppid() == parent:
        program = subprocess.Popen(command)
        with (folder / f"{name}.starts").open("a") as starts:
            starts.write(f"{program.pid}\n")
        fresh = folder / f"{name}.pid.new"
        fresh.write_text(f"{program.pid}\n")
        fresh.replace(folder / f"{name}.pid")
        while program.poll() is None and not ending.is_set() and os.getppid() == parent:
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(0.2)
        program.kill()
        program.wait()


if __name__ == "__main__":
    supervise(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
