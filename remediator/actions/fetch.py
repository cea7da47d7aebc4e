"""One HTTP request, for the actions that speak HTTP: made once, read to a bound, ended by the deadline.

aiohttp is imported when the first request is made: `remediator check` and most rules never need it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from remediator.actions.bounds import clean, redact, visible
from remediator.actions.protocol import Context, Outcome, Result
from remediator.actions.reach import Reach
from remediator.model.time import Seconds

if TYPE_CHECKING:
    from ssl import SSLContext

    from aiohttp import ClientResponse, ClientSession
    from aiohttp.abc import AbstractResolver, ResolveResult
    from yarl import URL

BODY_LIMIT = 64 * 1024  # bytes of a body that are read for a rule; what comes after is left unread
_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class Call:
    """One request to be made."""

    method: str
    url: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    kind: str | None = None  # the body's Content-Type, where `headers` has none
    limit: int = BODY_LIMIT
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # text that is to appear nowhere → what does
    tls: SSLContext | None = field(default=None, repr=False)  # the server's own authority, a client's certificate
    guarded: bool = False  # a rule says where it goes: to a private address only as `Reach` allows


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, with no secret in it."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: str
    truncated: bool
    seconds: Seconds


async def fetch(call: Call, context: Context) -> Answer | Outcome:
    """Make one request within `context.deadline`; an Outcome says why there is no answer.

    A GET is redirected within its own scheme, host and port, five times at most. Only a GET goes over a connection that
    was used before: of any other nobody could say whether a server that had closed it still took the request.
    """
    import aiohttp  # noqa: PLC0415 - see the module's docstring
    from multidict import CIMultiDict  # noqa: PLC0415
    from yarl import URL  # noqa: PLC0415

    began = time.perf_counter()
    connected = asyncio.Event()  # from then on something may have been sent
    ours = {"User-Agent": "remediator", "Remediator-Run": context.run, "Content-Type": call.kind}
    headers = CIMultiDict({name: value for name, value in ours.items() if value})
    headers.update(call.headers)
    reach = Reach.of(context.settings) if call.guarded else None
    try:
        url = URL(call.url).extend_query(call.query)
        if reach is not None and (why := reach.refuses_literal(url.raw_host)):
            raise ValueError(why)
        async with asyncio.timeout_at(context.deadline):
            for _ in range(1 + _REDIRECTS):
                async with _session(context, reach, kept=call.method == "GET").request(
                    call.method, url, headers=headers, data=call.body,
                    allow_redirects=False, ssl=call.tls or True, trace_request_ctx=connected,
                ) as response:  # fmt: skip
                    target = _target(call, response, url)
                    if target is None:
                        return await _read(call, response, began)
                if (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port):
                    where = f"{place_of(url)} redirects elsewhere, to {place_of(target)}, which is not followed"
                    return Outcome(Result.ERROR, error=_safe(call, f"{where}: name the final address in the rule"))
                url = target
            return Outcome(Result.ERROR, error=f"{place_of(url)} redirects more than {_REDIRECTS} times")
    except TimeoutError:
        words = f"no complete answer after {time.perf_counter() - began:.1f} s"
    except aiohttp.ClientConnectorError as error:
        # The number of an error of TLS is not one of the system's: 1 would be "Operation not permitted".
        number = None if isinstance(error.os_error, ssl.SSLError) else error.os_error.errno
        words = f"can't connect: {os.strerror(number) if number and number > 0 else error.os_error}"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        words = f"{error}" or type(error).__name__
    where = _safe(call, f"{call.method} {place_of(call.url)}: {words}")
    if connected.is_set():
        return Outcome(Result.ERROR, error=f"{where}; the request may have been received")
    return Outcome(Result.NOT_SENT, error=f"{where}; nothing was sent")


def _session(context: Context, reach: Reach | None, *, kept: bool) -> ClientSession:
    """Give the session for a reach: none takes over a connection that was made under another."""

    def make() -> ClientSession:
        import aiohttp  # noqa: PLC0415

        async def connected(_: object, trace: Any, __: object) -> None:
            trace.trace_request_ctx.set()

        async def once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> ClientResponse:
            # aiohttp sends PUT and DELETE again by itself when the connection is lost (RFC 9112, 9.3.1); promise P2
            # does not let it. It repeats no error of this plain kind.
            try:
                return await send(request)
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                raise aiohttp.ClientError(str(error)) from error

        progress = aiohttp.TraceConfig()
        progress.on_connection_create_end.append(connected)
        progress.on_connection_reuseconn.append(connected)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                force_close=not kept, resolver=None if reach is None else _guarded_resolver(reach)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # none of its own: the deadline is the caller's
            trace_configs=[progress],
            middlewares=() if kept else (once,),
        )

    name = ("http.kept" if kept else "http") + (f" {reach}" if reach is not None else "")
    session: ClientSession = context.resources.get(name, make, lambda made: made.close())
    return session


def _guarded_resolver(reach: Reach) -> AbstractResolver:
    """Make a resolver that gives only addresses within reach: aiohttp connects to what it is given, and asks no further.

    A host that is an address never comes by here.
    """
    import aiohttp  # noqa: PLC0415

    class Guarded(aiohttp.ThreadedResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await super().resolve(host, port, family)
            may = reach.permitted(host, [each["host"] for each in found])
            return [each for each in found if each["host"] in may]

    return Guarded()


def _target(call: Call, response: ClientResponse, url: URL) -> URL | None:
    """Give where a GET is redirected to, None where it isn't."""
    from yarl import URL  # noqa: PLC0415

    location = response.headers.get("Location")
    if call.method != "GET" or response.status not in {301, 302, 303, 307, 308} or location is None:
        return None
    return url.join(URL(location))


async def _read(call: Call, response: ClientResponse, began: float) -> Answer:
    body = bytearray()
    while len(body) <= call.limit and (part := await response.content.read(call.limit + 1 - len(body))):
        body += part
    truncated = len(body) > call.limit
    if truncated:
        response.close()  # the rest is not wanted, nor is the connection that it would come by
    named = {name: ", ".join(response.headers.getall(name)) for name in response.headers}
    return Answer(
        status=response.status,
        headers={
            name.lower(): redact(clean(value.encode(errors="surrogateescape")), call.secrets)
            for name, value in named.items()
        },
        body=redact(clean(body[: call.limit]), call.secrets, cut=truncated),
        truncated=truncated,
        seconds=round(time.perf_counter() - began, 3),
    )


def _safe(call: Call, text: str) -> str:
    return visible(redact(text, call.secrets), longest=500)


def place_of(url: object) -> str:
    """Give a URL for a message: without credentials and query, where people put what is not for everyone."""
    try:
        parts = urlsplit(str(url))
    except ValueError:
        return "a URL that is none"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def base_url(context: Context, section: str) -> str | Outcome:
    """Give the `url` of a configuration section without its last slash, or the Outcome that says it isn't set."""
    url = (context.settings.get(section) or {}).get("url")
    if not url:
        return Outcome(Result.NOT_SENT, error=f"{section}.url is not set: set it in the configuration")
    return str(url).rstrip("/")
