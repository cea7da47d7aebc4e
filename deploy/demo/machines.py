"""Where the demo's application runs: the fake Fly.io, each machine of which is a process."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.fly import FakeFly, Machine, Release, config_of

DAY = 86400.0  # seconds


class Hosted(FakeFly):
    """Fly.io, with a process for each machine that is started."""

    def __init__(self, database: str, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        super().__init__()

    def reset(self) -> None:
        """Have two machines that run what was released a day ago."""
        super().reset()
        good = Release(43, "STEADY", DAY)
        self.releases[:] = [good, Release(42, "EARLIER", 7 * DAY)]
        self.machines[:] = [
            Machine(config_of(good), region, created_at="2026-01-01T00:00:00Z") for region in ("fra", "ams")
        ]
        self.lines.clear()
        for machine in self.machines:
            self.began(machine)

    def began(self, machine: Machine) -> None:
        """Have a machine run its release, anew where it runs already."""
        self.ended(machine)
        tag = machine.config["image"].rpartition("-")[2]
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            port = place.getsockname()[1]
        program = [sys.executable, str(Path(__file__).with_name("application.py")), str(port), tag, self.database]
        with (self.folder / f"machine-{machine.own}.log").open("ab") as log:
            self.processes[machine.own] = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.ports[machine.own] = port
        machine.sick = True  # until it is seen to answer

    def ended(self, machine: Machine) -> None:
        """Have a machine run nothing."""
        process = self.processes.pop(machine.own, None)
        if process is not None:
            process.kill()
            process.wait()
            self.lines.append((machine.own, f"process {process.pid} has ended"))

    def running(self) -> list[Machine]:
        """Give the machines that are meant to answer."""
        return [machine for machine in self.machines if machine.state == "started" and machine.own in self.ports]
