"""The heartbeat: a dead man's switch elsewhere is told that we are able to work, as long as we are (P18).

Who watches must not be who is watched: the switch raises its alarm by itself when it hears nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
import structlog

from remediator import metrics
from remediator.engine import Engine
from remediator.errors import ConfigurationError, StoreError
from remediator.forms.heartbeat import HeartbeatForm
from remediator.model.time import Seconds, Timestamp
from remediator.secrets import Secrets

_log = structlog.get_logger("remediator")

TICK: Seconds = 5.0  # how often it is looked whether a beat is due
_WHOLE: Seconds = 10.0  # for one beat: nothing waits for it, and it must not outlast the next
_LOOKED: Seconds = 60.0  # workers look for due runs every few seconds: since then, or they are stuck


class Heartbeat:
    """Beats while notifications are taken, the store takes writes and workers look for work.

    A pause stops none of these: it has an alert of its own.
    """

    def __init__(
        self,
        engine: Engine,
        secrets: Secrets,
        wanted: Callable[[], HeartbeatForm | None],
        trouble: Callable[[], str | None],
    ) -> None:
        """`wanted` gives the section in force; `trouble` says why notifications are not taken, if so."""
        self._engine = engine
        self._secrets = secrets
        self._wanted = wanted
        self._trouble = trouble
        self._beat_at: Timestamp = 0.0
        self._silent: str | None = None  # why the last beat was not sent or not taken

    async def tick(self) -> None:
        """Beat, where one is due."""
        form, now = self._wanted(), self._engine.clock.now()
        if form is None or now - self._beat_at < form.every:
            return
        self._beat_at = now
        why = await self._unable(now) or await self._send(form)
        if why is None:
            metrics.HEARTBEAT_TIMESTAMP.set(now)
            if self._silent is not None:
                _log.info("the heartbeat is heard again")
        else:
            metrics.HEARTBEAT_FAILURES.inc()
            if self._silent is None:
                _log.error("no heartbeat: whoever waits for it will raise an alarm", because=why)
        self._silent = why

    async def _unable(self, now: Timestamp) -> str | None:
        """Say why we could not do our work, if so."""
        trouble = self._trouble()
        if trouble is not None:
            return trouble
        idle = now - self._engine.workers.looked_at
        if idle > _LOOKED:
            return f"no worker has looked for due runs for {idle:.0f} s"
        try:
            await self._engine.store.transact(lambda tx: tx.touch(now))
        except StoreError as error:
            return str(error)
        return None

    async def _send(self, form: HeartbeatForm) -> str | None:
        """Tell the other end, and say why it did not take that, if so; the address is told to nobody."""
        try:
            url = form.url if isinstance(form.url, str) else self._secrets.read(form.url.secret)
            timeout = aiohttp.ClientTimeout(total=_WHOLE)
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
                session.get(url, allow_redirects=False) as response,
            ):
                return None if response.status < 300 else f"the other end answered {response.status}"
        except (KeyError, ConfigurationError, aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            return f"it could not be sent ({type(error).__name__}): see `heartbeat.url`, and the way to it"
