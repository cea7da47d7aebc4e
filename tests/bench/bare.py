"""The limits: what aiohttp and asyncio do on this machine when nothing is decided and nothing is kept.

python bare.py answer PORT              decodes the body with `json` and answers 200
python bare.py spawn PORT PROGRAM ARG…  the same, and starts PROGRAM ARG… VALUE for every alert, VALUE its label `id`
python bare.py loop SECONDS WIDTH       starts /bin/true and waits for its end, WIDTH at a time; prints how many a second
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aiohttp import web


async def _serve(port: int, program: list[str]) -> None:
    children: set[asyncio.Task[int]] = set()

    async def post(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        if program:
            for alert in body["alerts"]:
                child = await asyncio.create_subprocess_exec(*program, alert["labels"]["id"])
                task = asyncio.create_task(child.wait())
                children.add(task)
                task.add_done_callback(children.discard)
        return web.Response()

    async def alive(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.add_routes([web.post("/webhook/alertmanager", post), web.get("/readyz", alive)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


async def _loop(seconds: float, width: int) -> None:
    began = time.monotonic()

    async def spawn() -> int:
        done = 0
        while time.monotonic() - began < seconds:
            await (await asyncio.create_subprocess_exec("/bin/true")).wait()
            done += 1
        return done

    done = sum(await asyncio.gather(*(spawn() for _ in range(width))))
    print(done / (time.monotonic() - began))


if __name__ == "__main__":
    what, number, *rest = sys.argv[1:]
    asyncio.run(_loop(float(number), int(rest[0])) if what == "loop" else _serve(int(number), rest))
