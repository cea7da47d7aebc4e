"""What is measured from outside of the demo's application: as a blackbox exporter, Fly.io and postgres_exporter tell it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from pathlib import Path

import aiohttp
import asyncpg
from aiohttp import web
from machines import Hosted

_EVERY = 0.3  # seconds between two looks
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SESSIONS = """
SELECT coalesce(state, 'unknown') AS state, coalesce(wait_event_type, '') AS wait_event_type, count(*) AS number,
       coalesce(max(extract(epoch FROM now() - xact_start)), 0) AS oldest
FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1, 2
"""


class Measuring:
    """The last look at everything."""

    def __init__(self, fly: Hosted, monitor: str, backups: Path) -> None:
        self.fly = fly
        self.monitor = monitor
        self.backups = backups
        self.answers = 0
        self.sessions: list[str] = []
        self._began = time.monotonic()

    async def watch(self, url: str) -> None:
        """Look again and again."""
        connection = await asyncpg.connect(self.monitor)
        most = int(await connection.fetchval("SHOW max_connections"))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as session:
            while True:
                self.answers = 0
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"{url}/health") as answer:
                        self.answers = int(answer.status == 200)
                told = [f'pg_settings_max_connections{{database="main"}} {most}']
                for state, waits, number, oldest in await connection.fetch(_SESSIONS):
                    labels = f'database="main",state="{state}",wait_event_type="{waits}"'
                    told.append(f"pg_stat_activity_count{{{labels}}} {number}")
                    told.append(f"pg_stat_activity_max_tx_duration{{{labels}}} {oldest}")
                self.sessions = told
                await asyncio.sleep(_EVERY)

    async def tell(self, _: web.Request) -> web.Response:
        """Give it in Prometheus's text."""
        release = next(each for each in self.fly.releases if each.status == "complete")
        told = [
            f"probe_success {self.answers}",
            f"release_timestamp_seconds {time.time() - release.ago}",
            *self.sessions, *self._machines(), *self._backups(),
        ]  # fmt: skip
        return web.Response(text="\n".join(told) + "\n", content_type="text/plain")

    def _machines(self) -> list[str]:
        told = []
        for machine in self.fly.running():
            process = self.fly.processes[machine.own]
            try:
                resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * _PAGE
                fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                busy = (int(fields[11]) + int(fields[12])) / _TICKS
            except (FileNotFoundError, ProcessLookupError, IndexError):
                continue
            size = machine.config["guest"]["memory_mb"] * 1024 * 1024
            own = f'instance="{machine.own}"'
            told += [
                f"fly_instance_memory_mem_total{{{own}}} {size}",
                f"fly_instance_memory_mem_available{{{own}}} {max(0, size - resident)}",
                f'fly_instance_cpu{{{own},mode="user"}} {busy}',
                f'fly_instance_cpu{{{own},mode="idle"}} {time.monotonic() - self._began - busy}',
            ]
        return told

    def _backups(self) -> list[str]:
        """Tell whether the newest backup is what its checksum says."""
        sums = sorted(self.backups.glob("*.sha256"), key=lambda path: path.stat().st_mtime)
        if not sums:
            return []
        checked = subprocess.run(["sha256sum", "--status", "-c", sums[-1].name], cwd=self.backups, check=False)
        return [f'backup_restore_test_success{{database="main"}} {int(checked.returncode == 0)}']
