"""The edge before the demo's application, and all that is outside of it: visitors, an attacker, whoever releases.

python hosting.py FOLDER PORT DATABASE MONITOR
    FOLDER    where configurations, secrets and logs are
    PORT      of the edge: the application's address from outside; beneath /_demo it is told what goes wrong
    DATABASE  the URL by which the application connects, MONITOR the one by which its server is watched

    GET  /_demo/metrics   what a blackbox exporter, Fly.io and postgres_exporter tell
    GET  /_demo/targets   the machines, for Prometheus's service discovery
    GET  /_demo/machines  the machines, with the process and the release of each
    POST /_demo/do        {"what": …}: see `Host.do`

The fakes of PagerDuty, Slack and an inbox are served beside it. FOLDER/platforms.yml leads to all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter, deque
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp
from aiohttp import web
from fakes.__main__ import write_configuration
from fakes.fly import Release, config_of, image
from fakes.notify import FakeInbox
from fakes.pagerduty import FakePagerDuty
from fakes.slack import FakeSlack
from machines import DAY, Hosted
from measuring import Measuring

_ATTACKER = "203.0.113.7"


class Host:
    """The edge, the visitors, and whoever means no good."""

    def __init__(self, fly: Hosted, folder: Path, monitor: str) -> None:
        self.fly = fly
        self.blocked = folder / "blocked"
        self.blocked.touch()
        self.measuring = Measuring(fly, monitor, folder / "backups")
        self.visitors: deque[asyncio.Task[None]] = deque()
        self.attack: asyncio.Task[None] | None = None
        self.refused = 0  # what the attacker was told: 403
        self.at_work: Counter[str] = Counter()  # by machine: requests that it is to answer
        self.session: aiohttp.ClientSession
        self.url = ""

    async def start(self, port: int) -> None:
        """Serve, and have visitors come."""
        self.url = f"http://127.0.0.1:{port}"
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=30), connector=aiohttp.TCPConnector(limit=0)
        )
        application = web.Application()
        application.add_routes([
            web.get("/_demo/metrics", self.measuring.tell), web.get("/_demo/targets", self._targets),
            web.get("/_demo/machines", self._machines), web.post("/_demo/do", self._do),
            web.route("*", "/{path:.*}", self._pass),
        ])  # fmt: skip
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        self._come(4)
        await asyncio.gather(self.measuring.watch(self.url), self._watch())

    async def _pass(self, request: web.Request) -> web.Response:
        """Pass a request on to the machine with least to do, as the edge does; the next one is tried where nobody listens."""
        address = request.headers.get("Fly-Client-IP", "192.0.2.1")
        if address in self.blocked.read_text().split():
            return web.Response(status=403, text="blocked\n")
        body = await request.read()
        for machine in sorted(self.fly.running(), key=lambda machine: self.at_work[machine.own]):
            port = self.fly.ports[machine.own]
            self.at_work[machine.own] += 1
            try:
                async with self.session.request(
                    request.method, f"http://127.0.0.1:{port}{request.path_qs}", data=body,
                    headers={"Fly-Client-IP": address, "Content-Type": request.content_type},
                ) as answer:  # fmt: skip
                    return web.Response(
                        body=await answer.read(), status=answer.status, content_type=answer.content_type
                    )
            except (aiohttp.ClientConnectionError, TimeoutError):
                continue
            finally:
                self.at_work[machine.own] -= 1
        return web.Response(status=502, text="no machine answers\n")

    async def _watch(self) -> None:
        """Check each machine, as Fly.io does."""
        while True:
            for machine in self.fly.running():
                try:
                    async with self.session.get(
                        f"http://127.0.0.1:{self.fly.ports[machine.own]}/health", timeout=aiohttp.ClientTimeout(2)
                    ) as answer:
                        machine.sick = answer.status != 200
                except (aiohttp.ClientError, TimeoutError):
                    machine.sick = True
            await asyncio.sleep(0.2)

    def _come(self, number: int) -> None:
        """Have so many visitors, each of whom asks for a page, waits for it, and asks for the next one."""
        while len(self.visitors) > number:
            self.visitors.pop().cancel()
        while len(self.visitors) < number:
            self.visitors.append(asyncio.create_task(self._visit()))

    async def _visit(self) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.session.get(f"{self.url}/") as answer:
                    await answer.read()
            await asyncio.sleep(0.05)

    async def _guess(self) -> None:
        """Guess passwords, till one is turned away at the door."""
        self.refused = 0
        while not self.refused:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.session.post(f"{self.url}/login", headers={"Fly-Client-IP": _ATTACKER}) as answer:
                    self.refused += answer.status == 403
            await asyncio.sleep(0.01)

    async def _targets(self, _: web.Request) -> web.Response:
        return web.json_response([
            {"targets": [f"127.0.0.1:{self.fly.ports[machine.own]}"], "labels": {"instance": machine.own}}
            for machine in self.fly.running()
        ])  # fmt: skip

    async def _machines(self, _: web.Request) -> web.Response:
        return web.json_response({
            "machines": [
                {"id": machine.own, "pid": self.fly.processes[machine.own].pid, "image": machine.config["image"]}
                for machine in self.fly.running()
            ],
            "refused": self.refused,
        })  # fmt: skip

    async def _do(self, request: web.Request) -> web.Response:
        asked = await request.json()
        await self.do(asked.pop("what"), asked)
        return web.Response()

    async def do(self, what: str, asked: dict[str, Any]) -> None:
        """Have something happen in the world."""
        match what:
            case "kill":  # every process of the application; its machines count as started
                for process in self.fly.processes.values():
                    process.kill()
            case "deploy":
                release = Release(self.fly.releases[0].version + 1, asked["tag"], 0.0)
                self.fly.releases.insert(0, release)
                for machine in self.fly.running():
                    machine.config = {**config_of(release), "image": image(release.tag)}
                    self.fly.began(machine)
            case "a week goes by":
                for release in self.fly.releases:
                    release.ago += 7 * DAY
            case "break":  # one machine of it
                port = self.fly.ports[self.fly.running()[0].own]
                async with self.session.post(f"http://127.0.0.1:{port}/_break", json=asked["how"]) as answer:
                    answer.raise_for_status()
            case "visitors":
                self._come(asked["number"])
            case "attack":
                self.attack = asyncio.create_task(self._guess())
            case _:
                raise web.HTTPBadRequest(text=what)


async def main(folder: Path, port: int, database: str, monitor: str) -> None:
    """Serve until ended."""
    mine = asyncio.current_task()
    assert mine is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, mine.cancel)
    fly = Hosted(database, folder)
    started = [fly, FakePagerDuty(), FakeSlack(), FakeInbox()]
    for fake in started:
        await fake.start()
    write_configuration(started, folder / "platforms")
    try:
        await Host(fly, folder, monitor).start(port)
    finally:
        for machine in fly.machines:
            fly.ended(machine)


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
