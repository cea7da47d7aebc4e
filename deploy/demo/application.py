"""The demo's application, as one machine runs it: it answers visitors, runs workflows that cost, and stands on PostgreSQL.

python application.py PORT RELEASE DATABASE
    GET  /                          a page: takes a tenth of a second, one at a time; of the release BAD each third one fails
    GET  /health                    200 while its database answers
    GET  /metrics                   what docs/metrics-expected.md asks of an application
    POST /login                     refused: nobody knows the password
    GET  /api/workflows/throttle, POST {"share": …}, POST /api/workflows/emergency-stop, POST /api/workflows/resume
    GET  /api/analytics/costs/today, GET /api/analytics/costs/breakdown
    POST /_break {"what": "memory"|"connections"|"costs"}
"""

from __future__ import annotations

import asyncio
import sys
import time

import asyncpg
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

_WORK = 0.1  # seconds that a page takes
_TICK = 0.2  # seconds between two payments of the workflows
_DOLLARS = 0.5  # that they spend in a second at their full pace, once they have gone mad
_LEAK = 200 * 1024 * 1024
_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 2.5, 3, 5, 10)


class Application:
    """One process of it."""

    def __init__(self, release: str, database: str) -> None:
        self.release = release
        self.database = database
        self.pool: asyncpg.Pool
        self.worker = asyncio.Semaphore(1)
        self.pages = 0
        self.kept: list[bytearray] = []  # what leaks
        self.left_open: list[asyncpg.Connection] = []
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("http_requests", "Requests answered.", ["status"], registry=registry)
        self.took = Histogram(
            "http_request_duration_seconds", "How long pages took.", buckets=_BUCKETS, registry=registry
        )
        self.refused = Counter("login_failures", "Logins refused.", ["address"], registry=registry)
        self.cost = Counter("api_cost_dollars", "Dollars spent.", ["api"], registry=registry)
        self.cost.labels("openai")
        self.workflows = Counter("workflow_executions", "Workflows ended.", ["status"], registry=registry)
        self.up = Gauge("database_up", "Whether there is a connection.", ["database"], registry=registry)
        self.lag = Gauge("nodejs_eventloop_lag_p99_seconds", "How late the event loop is.", registry=registry)
        for status in ("200", "500"):
            self.requests.labels(status)

    async def start(self, port: int) -> None:
        """Serve, and run the workflows, without an end."""
        self.pool = await asyncpg.create_pool(self.database, min_size=1, max_size=2, command_timeout=2)
        application = web.Application()
        application.add_routes([
            web.get("/", self._page), web.get("/health", self._health), web.get("/metrics", self._metrics),
            web.post("/login", self._login), web.post("/_break", self._break),
            web.get("/api/workflows/throttle", self._tell_share), web.post("/api/workflows/throttle", self._throttle),
            web.post("/api/workflows/emergency-stop", self._stop), web.post("/api/workflows/resume", self._resume),
            web.get("/api/analytics/costs/today", self._today), web.get("/api/analytics/costs/breakdown", self._today),
        ])  # fmt: skip
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await self._work()

    async def _work(self) -> None:
        """Run workflows, at the pace that the database tells."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(_TICK)
            self.lag.set(time.monotonic() - began - _TICK)
            try:
                pace = await self._read("share") * await self._read("running") * await self._read("dollars")
            except (OSError, TimeoutError, asyncpg.PostgresError):
                self.up.labels("main").set(0)
                self.workflows.labels("failed").inc()
                continue
            self.up.labels("main").set(1)
            self.workflows.labels("completed").inc()
            self.cost.labels("openai").inc(pace * _TICK)

    async def _read(self, name: str) -> float:
        return float(await self.pool.fetchval("SELECT value FROM settings WHERE name = $1", name))

    async def _write(self, name: str, value: float) -> None:
        await self.pool.execute("UPDATE settings SET value = $2 WHERE name = $1", name, value)

    async def _page(self, _: web.Request) -> web.Response:
        began = time.monotonic()
        async with self.worker:
            await asyncio.sleep(_WORK)
        self.pages += 1
        status = 500 if self.release == "BAD" and self.pages % 3 == 0 else 200
        self.requests.labels(str(status)).inc()
        self.took.observe(time.monotonic() - began)
        return web.Response(status=status)

    async def _health(self, _: web.Request) -> web.Response:
        try:
            await self._read("running")
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            return web.Response(status=503, text=f"no database: {error}\n")
        return web.Response(text="well\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _login(self, request: web.Request) -> web.Response:
        self.refused.labels(request.headers.get("Fly-Client-IP", "")).inc()
        return web.Response(status=401)

    async def _tell_share(self, _: web.Request) -> web.Response:
        return web.json_response({"share": await self._read("share")})

    async def _throttle(self, request: web.Request) -> web.Response:
        await self._write("share", float((await request.json())["share"]))
        return await self._tell_share(request)

    async def _stop(self, _: web.Request) -> web.Response:
        await self._write("running", 0)
        return web.json_response({"running": False})

    async def _resume(self, _: web.Request) -> web.Response:
        await self._write("running", 1)
        return web.json_response({"running": True})

    async def _today(self, _: web.Request) -> web.Response:
        spent = self.registry.get_sample_value("api_cost_dollars_total", {"api": "openai"}) or 0.0
        return web.json_response({"total": round(spent, 2), "openai": round(spent, 2)})

    async def _break(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["what"] == "memory":
            leaked = bytearray(_LEAK)
            leaked[::4096] = b"x" * len(leaked[::4096])  # used, and not only asked for
            self.kept.append(leaked)
        elif asked["what"] == "connections":  # each with a transaction that nobody ends
            count = "SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL"
            while await self.pool.fetchval(count) < asked["till"]:
                connection = await asyncpg.connect(self.database)
                self.left_open.append(connection)
                await connection.execute("BEGIN; SELECT 1")
        elif asked["what"] == "costs":
            self.cost.labels("openai").inc(asked["dollars"])
            await self._write("dollars", _DOLLARS)
        return web.Response()


if __name__ == "__main__":
    asyncio.run(Application(sys.argv[2], sys.argv[3]).start(int(sys.argv[1])))
