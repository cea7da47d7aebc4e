"""HTTP, for rules (`http.get` and `http.request`) and, by `fetch`, for the actions that speak to a platform's API.

aiohttp is imported when the first request is made: `remediator check` and most rules never need it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlencode, urlsplit

import msgspec
from pydantic import AfterValidator, Field, model_validator

from remediator.actions.bounds import bounded, clean, encoded_size, parse_json, redact, visible
from remediator.actions.protocol import Action, Context, Effect, Gate, Outcome, Parameters, Result, SecretReference
from remediator.model.time import Seconds

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from yarl import URL

BODY_LIMIT = 64 * 1024  # bytes of a body that are read for a rule; what comes after is left unread
_HEADERS_LIMIT = 16 * 1024  # bytes of response headers, as JSON, that are kept
_REDIRECTS = 5
_FRAMING = {"connection", "content-length", "host", "transfer-encoding"}  # the client's own to write


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
    try:
        url = URL(call.url).extend_query(call.query)
        async with asyncio.timeout_at(context.deadline):
            for _ in range(1 + _REDIRECTS):
                async with _session(context, kept=call.method == "GET").request(
                    call.method,
                    url,
                    headers=headers,
                    data=call.body,
                    allow_redirects=False,
                    trace_request_ctx=connected,
                ) as response:
                    target = _target(call, response, url)
                    if target is None:
                        return await _read(call, response, began)
                if (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port):
                    where = f"{_place(url)} redirects elsewhere, to {_place(target)}, which is not followed"
                    return Outcome(Result.ERROR, error=_safe(call, f"{where}: name the final address in the rule"))
                url = target
            return Outcome(Result.ERROR, error=f"{_place(url)} redirects more than {_REDIRECTS} times")
    except TimeoutError:
        words = f"no complete answer after {time.perf_counter() - began:.1f} s"
    except aiohttp.ClientConnectorError as error:
        number = error.os_error.errno
        words = f"can't connect: {os.strerror(number) if number and number > 0 else error.os_error}"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        words = f"{error}" or type(error).__name__
    where = _safe(call, f"{call.method} {_place(call.url)}: {words}")
    if connected.is_set():
        return Outcome(Result.ERROR, error=f"{where}; the request may have been received")
    return Outcome(Result.NOT_SENT, error=f"{where}; nothing was sent")


def _session(context: Context, *, kept: bool) -> ClientSession:
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
            connector=aiohttp.TCPConnector(force_close=not kept),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # none of its own: the deadline is the caller's
            trace_configs=[progress],
            middlewares=() if kept else (once,),
        )

    session: ClientSession = context.resources.get("http.kept" if kept else "http", make, lambda made: made.close())
    return session


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


def _place(url: object) -> str:
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


def _url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:  # `port` raises, too
        raise ValueError("write a whole URL, as in https://example.com/health")
    if "@" in parts.netloc:
        raise ValueError("a URL may hold no user or password: use `auth`")
    return url


def _header_name(name: str) -> str:
    if name.lower() in _FRAMING:
        raise ValueError(f"the header {name} is written by the client itself")
    return name


HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"), AfterValidator(_header_name)]  # RFC 9110


class BearerAuth(Parameters):
    """A bearer token."""

    bearer: SecretReference = Field(description="The name of the secret that holds the token.")


class Basic(Parameters):
    """A user and a password."""

    user: str = Field(pattern="^[^:\\x00-\\x1f]*$", description="The user's name.")
    password: SecretReference = Field(description="The name of the secret that holds the password.")


class BasicAuth(Parameters):
    """HTTP's Basic scheme."""

    basic: Basic = Field(description="The user and the password.")


class GetParameters(Parameters):
    """Where to ask."""

    url: Annotated[str, Gate.URL, AfterValidator(_url)] = Field(
        description="The URL, `http` or `https`, without user and password.", examples=["https://example.com/health"]
    )
    query: dict[str, Annotated[str | int | float | bool, Gate.JSON]] = Field(
        default={}, description="Added to the URL's query; encoded by the client."
    )
    headers: dict[HeaderName, Annotated[str, Gate.HEADER, Field(pattern=r"^[^\r\n\x00]*$")]] = Field(
        default={}, description="Request headers."
    )
    auth: BearerAuth | BasicAuth | None = Field(
        default=None, description="Whose name to ask in: `{bearer: {secret: NAME}}` or `{basic: {user, password}}`."
    )

    @model_validator(mode="after")
    def _one_authorization(self) -> GetParameters:
        if self.auth and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("`auth` writes the header Authorization: give one of the two")
        return self


class RequestParameters(GetParameters):
    """Where to send what."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"] = Field(default="POST", description="The HTTP method.")
    json_: Annotated[Any, Gate.JSON] = Field(
        default=None, alias="json", description="The body as a value, sent as JSON."
    )
    form: dict[str, Annotated[str, Gate.JSON]] | None = Field(
        default=None, description="The body as the fields of a form, sent URL-encoded."
    )
    body: Annotated[str, Gate.JSON] | None = Field(
        default=None, description="The body as text; say what it is by a header Content-Type."
    )
    ok: list[Annotated[int, Field(ge=100, le=599)]] | None = Field(
        default=None, min_length=1, description="Statuses that count as success; default: any from 200 to 299."
    )
    idempotent: bool = Field(
        default=False,
        description="Whether sending it twice is the same as sending it once: then it may be retried, "
        "and sent again after a crash.",
    )

    @model_validator(mode="after")
    def _one_body(self) -> RequestParameters:
        if len({"json_", "form", "body"} & self.model_fields_set) > 1:
            raise ValueError("give one of `json`, `form` and `body`")
        return self


class HttpGet(Action[GetParameters]):
    """Get a URL, and look at the answer.

    Any status is an answer: say with `expect` which one is good. A redirect is followed to the same scheme, host and
    port only. Of the body 64 KiB are read.

    Example:
        - id: health
          uses: http.get
          with: {url: 'https://{{ labels.app }}.example.com/health'}
          expect: result.status == 200
    """

    name = "http.get"
    effect = Effect.READ
    parameters = GetParameters

    def plan(self, params: GetParameters) -> str:
        """Give the method and the URL."""
        return visible(f"GET {params.url}", longest=2000)

    async def run(self, params: GetParameters, context: Context) -> Outcome:
        """Get it."""
        answer = await _exchange("GET", params, context)
        return answer if isinstance(answer, Outcome) else Outcome(Result.OK, _result(answer))


class HttpRequest(Action[RequestParameters]):
    """Send a request that changes something.

    It is sent once. A status outside `ok` means that the answer is no; a redirect is not followed.

    Example:
        - uses: http.request
          with:
            url: https://deploy.example.com/api/rollback
            json: {app: '{{ labels.app }}', reason: '{{ rule.name }}'}
            auth: {bearer: {secret: deploy_token}}
            ok: [200, 202]
    """

    name = "http.request"
    effect = Effect.WRITE
    parameters = RequestParameters

    def idempotent(self, params: RequestParameters) -> bool:
        """Tell what the author of the rule says of the request."""
        return params.idempotent

    def plan(self, params: RequestParameters) -> str:
        """Give the method and the URL."""
        return visible(f"{params.method} {params.url}", longest=2000)

    async def run(self, params: RequestParameters, context: Context) -> Outcome:
        """Send it."""
        answer = await _exchange(params.method, params, context, *_body(params))
        if isinstance(answer, Outcome):
            return answer
        if answer.status in (params.ok or range(200, 300)):
            return Outcome(Result.OK, _result(answer))
        error = f"{params.method} {_place(params.url)} was answered {answer.status}"
        first = next((line.strip() for line in answer.body.split("\n") if line.strip()), "")
        return Outcome(Result.REFUSED, _result(answer), visible(f"{error}: {first}" if first else error, longest=300))


ACTIONS: tuple[Action[Any], ...] = (HttpGet(), HttpRequest())


async def _exchange(
    method: str, params: GetParameters, context: Context, body: bytes | None = None, kind: str | None = None
) -> Answer | Outcome:
    headers = dict(params.headers)
    secrets: dict[str, str] = {}
    if params.auth:
        name = (params.auth.bearer if isinstance(params.auth, BearerAuth) else params.auth.basic.password).secret
        try:
            secret = context.secret(name)
        except KeyError:
            return Outcome(Result.NOT_SENT, error=f"there is no secret {name}: add it under `secrets`")
        if not secret or not secret.isprintable():
            return Outcome(Result.NOT_SENT, error=f"the secret {name} fits no header: it is empty or has line ends")
        scheme, credentials = _credentials(params.auth, secret)
        headers["Authorization"] = f"{scheme} {credentials}"
        secrets = {secret: f"[secret {name}]", credentials: f"[secret {name}]"}
    query = tuple(
        (key, json.dumps(value) if isinstance(value, bool) else str(value)) for key, value in params.query.items()
    )
    return await fetch(Call(method, params.url, query, headers, body, kind, secrets=secrets), context)


def _credentials(auth: BearerAuth | BasicAuth, secret: str) -> tuple[str, str]:
    if isinstance(auth, BearerAuth):
        return "Bearer", secret
    return "Basic", base64.b64encode(f"{auth.basic.user}:{secret}".encode()).decode()


def _body(params: RequestParameters) -> tuple[bytes, str] | tuple[None, None]:
    if params.form is not None:
        return urlencode(params.form).encode(), "application/x-www-form-urlencoded"
    if params.body is not None:
        return params.body.encode(), "text/plain; charset=utf-8"
    if "json_" in params.model_fields_set:
        return msgspec.json.encode(params.json_), "application/json"
    return None, None


def _result(answer: Answer) -> dict[str, Any]:
    headers: dict[str, str] = {}
    room = _HEADERS_LIMIT
    for name, value in answer.headers.items():
        room -= encoded_size({name: value})
        if room > 0:
            headers[name] = value
    return bounded(
        {
            "status": answer.status,
            "headers": headers,
            "body": answer.body,
            "json": None if answer.truncated else parse_json(answer.body),
            "truncated": answer.truncated or len(headers) < len(answer.headers),
            "seconds": answer.seconds,
        },
        "body",
    )
