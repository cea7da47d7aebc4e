"""POST /webhook/alertmanager: 2xx only once everything made of the body is durable.

Alertmanager repeats 5xx and cut connections, and gives up at once on 4xx, 429 too (alertmanager-facts 2): so what may pass
is 503, and what never will is 4xx.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog
from aiohttp import web

from remediator import metrics
from remediator.engine import Engine, Overloaded
from remediator.errors import MalformedBody, StoreError, TooManyAlerts
from remediator.model.alert import AlertStatus, Notification
from remediator.model.time import Timestamp
from remediator.receive import Limits, decode
from remediator.web.access import WHY, WebhookCredential, failure

_log = structlog.get_logger("remediator")

_SLOWEST_BODY = 30.0  # seconds in which a body has to arrive
_IN_THREAD = 256 * 1024  # bytes: decoding more than this on the loop would hold up everyone else
_MOST_BYTES = 128 * 1024 * 1024  # of bodies that are being read or decoded at once

# Bound once: looking a counter up by its labels would cost as much as decoding a body.
_RESULTS = {
    200: "accepted", 400: "malformed", 401: "unauthorized", 413: "too_large", 415: "compressed", 503: "unavailable",
}  # fmt: skip
_COUNTERS = {status: metrics.NOTIFICATIONS.labels(result=result) for status, result in _RESULTS.items()}
_FAILED = metrics.NOTIFICATIONS.labels(result="failed")
_ALERTS = {status: metrics.ALERTS.labels(status=status) for status in AlertStatus}
_REFUSED = metrics.ALERTS.labels(status="refused")


class _TooLarge(Exception):
    """The body is larger than the limit."""


class Webhook:
    """The handler; `limits` and `credential` are replaced as a whole by a reload."""

    def __init__(self, engine: Engine, limits: Limits, credential: WebhookCredential, max_body: int) -> None:
        self.engine = engine
        self.limits = limits
        self.credential = credential
        self.max_body = max_body
        self._bytes = 0
        self._decoding = asyncio.Lock()

    async def post(self, request: web.Request) -> web.Response:
        """Take one notification in."""
        began = time.perf_counter()
        response = await self._answer(request)
        metrics.INGEST_SECONDS.observe(time.perf_counter() - began)
        _COUNTERS.get(response.status, _FAILED).inc()
        if response.status != 200:
            _log.warning("notification refused", status=response.status, sender=request.remote, why=response[WHY])
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        if not self.credential.admits(request.headers.get("Authorization")):
            return failure(
                401, "unauthorized",
                "the webhook's credential is missing or wrong: set http_config.authorization or basic_auth in Alertmanager",
            )  # fmt: skip
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return failure(415, "compressed", "compressed bodies are not taken: Alertmanager sends none")
        if (request.content_length or 0) > self.max_body:
            return self._too_large()
        body = bytearray()
        try:
            if request.content.is_eof():
                await self._read(request, body)
            else:
                async with asyncio.timeout(_SLOWEST_BODY):
                    await self._read(request, body)
            return await self._take(bytes(body))
        except TimeoutError:
            return failure(503, "slow_body", f"the body did not arrive within {_SLOWEST_BODY:g} s: send it again")
        except TooManyAlerts as error:
            return failure(413, "too_many_alerts", str(error))
        except Overloaded as error:
            return failure(503, "overloaded", f"{error}: send it again")
        except (ConnectionError, web.RequestPayloadError):
            return failure(400, "cut_off", "the sender went away before the end of the body")
        except _TooLarge:
            return self._too_large()
        finally:
            self._bytes -= len(body)

    async def _read(self, request: web.Request, body: bytearray) -> None:
        """Read the body, counting what all senders together have us hold."""
        async for part in request.content.iter_any():
            body += part
            self._bytes += len(part)
            if len(body) > self.max_body:
                raise _TooLarge
            if self._bytes > _MOST_BYTES:
                raise Overloaded("too many bodies are being read already")

    async def _take(self, body: bytes) -> web.Response:
        now = self.engine.clock.now()
        try:
            if len(body) > _IN_THREAD:
                notification = await self._decode_large(body, now)
            else:
                notification = decode(body, now, self.limits)
            receipt = await self.engine.accept(notification)
        except TooManyAlerts:
            raise
        except MalformedBody as error:
            return failure(400, "malformed", str(error))
        except StoreError as error:
            return failure(503, "store_away", str(error))
        metrics.LAST_NOTIFICATION.set(now)
        firing = sum(alert.status is AlertStatus.FIRING for alert in notification.alerts)
        _ALERTS[AlertStatus.FIRING].inc(firing)
        _ALERTS[AlertStatus.RESOLVED].inc(len(notification.alerts) - firing)
        _REFUSED.inc(len(notification.refused))
        return web.Response(body=msgspec.json.encode(receipt), content_type="application/json")

    async def _decode_large(self, body: bytes, now: Timestamp) -> Notification:
        """Decode in a thread, one body at a time: more of them would hold up the loop and the store's writer between them.

        A body that would find no room is refused before that. Raises MalformedBody and Overloaded.
        """
        async with self._decoding:
            self.engine.reception.look_for_room(min(body.count(b'"labels"'), self.limits.max_alerts))
            return await asyncio.to_thread(decode, body, now, self.limits)

    def _too_large(self) -> web.Response:
        return failure(413, "too_large", f"the body is larger than webhook.max_body ({self.max_body} bytes)")
