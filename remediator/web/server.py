"""The HTTP server: the webhook, the API, health, readiness and metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from remediator import metrics
from remediator.engine import Engine
from remediator.errors import StoreError
from remediator.forms.access import Access
from remediator.model.control import ControlKind
from remediator.model.run import State
from remediator.store.protocol import Transaction
from remediator.web.access import failure, plain_errors
from remediator.web.api import api_app
from remediator.web.webhook import Webhook


class Health:
    """Alive, ready, and what Prometheus reads."""

    def __init__(self, engine: Engine, trouble: Callable[[], str | None]) -> None:
        self.engine = engine
        self.trouble = trouble

    async def alive(self, request: web.Request) -> web.Response:
        """Answer as long as the loop turns."""
        return web.Response(text="alive\n")

    async def ready(self, request: web.Request) -> web.Response:
        """Answer 200 when a notification would be taken, else 503 with the reason."""
        trouble = self.trouble()
        if trouble is None:
            try:
                await self.engine.store.view(lambda tx: tx.head())
            except StoreError as error:
                trouble = str(error)
        if trouble is not None:
            return failure(503, "not_ready", trouble)
        return web.Response(text="ready\n")

    async def metrics(self, request: web.Request) -> web.Response:
        """Give all metrics; what the store counts is asked now."""
        now = self.engine.clock.now()

        async def script(tx: Transaction) -> tuple[dict[State, int], Counter[ControlKind], int]:
            laid = Counter(each.kind for each in await tx.controls(now))
            return dict(await tx.open_counts()), laid, await tx.count_messages()

        try:
            counts, laid, kept = await self.engine.store.view(script)
        except StoreError:
            metrics.STORE_UP.set(0)
        else:
            metrics.STORE_UP.set(0 if self.trouble() else 1)
            metrics.PAUSED.set(laid[ControlKind.PAUSE])
            for kind in (ControlKind.PAUSE, ControlKind.MODE, ControlKind.BREAKER, ControlKind.STORM):
                metrics.CONTROLS.labels(kind=kind).set(laid[kind])
            metrics.OUTBOX.set(kept)
            for state in State:
                if state.open:
                    metrics.RUNS_OPEN.labels(state=state).set(counts.get(state, 0))
        return web.Response(body=generate_latest(metrics.REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _no_page(request: web.Request) -> web.Response:
    """Answer whoever follows a link to a run: what to type instead of a page that isn't there yet."""
    run = request.match_info["run"]
    return failure(
        404, "no_page", f"there are no pages in a browser yet: `remediator show {run}` tells this run's story"
    )


def make_app(
    engine: Engine,
    webhook: Webhook,
    token: str,
    trouble: Callable[[], str | None],
    access: Callable[[], Access] = Access,
) -> web.Application:
    """Make the whole application. `access` gives who may ask beside the holder of the local `token`: by default nobody."""
    health = Health(engine, trouble)
    app = web.Application(middlewares=[plain_errors], client_max_size=webhook.max_body)
    app.add_routes(
        [
            web.post("/webhook/alertmanager", webhook.post),
            web.get("/healthz", health.alive),
            web.get("/readyz", health.ready),
            web.get("/metrics", health.metrics),
            web.get("/runs/{run:[0-9a-z]{26}}", _no_page),
        ]
    )
    app.add_subapp("/api/v1", api_app(engine, token, access))
    return app
