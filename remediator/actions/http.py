"""HTTP, for rules: `http.get` and `http.request`. Where they may go, beside what `http.allow` says, is told in `reach`."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode, urlsplit

import msgspec
from pydantic import AfterValidator, Field, model_validator

from remediator.actions.api import retry_after
from remediator.actions.bounds import bounded, encoded_size, parse_json, visible
from remediator.actions.fetch import Answer, Call, fetch, place_of
from remediator.actions.protocol import Action, Context, Effect, Gate, Outcome, Parameters, Result, SecretReference
from remediator.actions.reach import Reach
from remediator.errors import ConfigurationError

_HEADERS_LIMIT = 16 * 1024  # bytes of response headers, as JSON, that are kept
_FRAMING = {"connection", "content-length", "host", "transfer-encoding"}  # the client's own to write


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


class Signature(Parameters):
    """A keyed hash over the body, by which the receiver knows who sent it and that nobody changed it."""

    key: SecretReference = Field(description="The name of the secret that both sides share.")
    header: HeaderName = Field(default="X-Signature", description="The header that carries it.")
    algorithm: Literal["sha256", "sha512"] = Field(default="sha256", description="The hash of the HMAC (RFC 2104).")
    prefix: str = Field(
        default="", pattern=r"^[\x20-\x7e]*$", description="What stands before the hexadecimal digits, as in `sha256=`."
    )


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
    sign: Signature | None = Field(
        default=None,
        description="Signs the body as webhooks are: `{key: {secret: NAME}, header: X-Hub-Signature-256, prefix: "
        "'sha256='}` puts the HMAC of the very bytes that are sent, in hexadecimal, into that header.",
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

    @model_validator(mode="after")
    def _one_signature(self) -> RequestParameters:
        if self.sign is not None:
            written = {name.lower() for name in self.headers} | ({"authorization"} if self.auth else set())
            if self.sign.header.lower() in written:
                raise ValueError(f"`sign` writes the header {self.sign.header}: name another, or leave that one out")
        return self


class HttpGet(Action[GetParameters]):
    """Get a URL, and look at the answer.

    `status`, `headers` (names in lower case), `body` and `json`, what the body is as JSON: a check of a path in it is
    an `expect`. `json` is None where the body is no JSON, or more than the 64 KiB that are read of it; what was left
    out shows as `truncated`. Any status is an answer: say with `expect` which one is good. A redirect is followed to
    the same scheme, host and port only. A name that leads to a private address is asked only if `http.private` in the
    configuration says so.

    Example:
        - id: health
          uses: http.get
          with: {url: 'http://{{ labels.app }}.internal:8080/health'}
          expect: result.status == 200 and result.json.status == 'ok'
    """

    name = "http.get"
    effect = Effect.READ
    parameters = GetParameters

    def check(self, params: GetParameters, settings: Mapping[str, Any]) -> str | None:
        """Say why the URL's host may not be asked, as far as the URL itself tells."""
        return _out_of_reach(params, settings)

    def plan(self, params: GetParameters) -> str:
        """Give the method and the URL."""
        return visible(f"GET {params.url}", longest=2000)

    async def run(self, params: GetParameters, context: Context) -> Outcome:
        """Get it."""
        answer = await _exchange("GET", params, context, _Body())
        return answer if isinstance(answer, Outcome) else Outcome(Result.OK, _result(answer))


class HttpRequest(Action[RequestParameters]):
    """Send a request that changes something.

    It is sent once. A status outside `ok` means that the answer is no, and 429 that it was turned away unread; how long
    the server asks to be left alone, in `Retry-After`, is honoured by a retry. A redirect is not followed. The result,
    and where it may be sent, are as with `http.get`.

    Example:
        - uses: http.request
          with:
            url: http://deploy.internal:8080/api/rollback
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

    def check(self, params: RequestParameters, settings: Mapping[str, Any]) -> str | None:
        """Say why the URL's host may not be asked, as far as the URL itself tells."""
        return _out_of_reach(params, settings)

    def plan(self, params: RequestParameters) -> str:
        """Give the method and the URL."""
        return visible(f"{params.method} {params.url}", longest=2000)

    async def run(self, params: RequestParameters, context: Context) -> Outcome:
        """Send it."""
        answer = await _exchange(params.method, params, context, _body(params))
        if isinstance(answer, Outcome):
            return answer
        if answer.status in (params.ok or range(200, 300)):
            return Outcome(Result.OK, _result(answer))
        error = f"{params.method} {place_of(params.url)} was answered {answer.status}"
        first = next((line.strip() for line in answer.body.split("\n") if line.strip()), "")
        # A gateway answers 503 for a server that may have taken the request; 429 says that nobody did (RFC 6585).
        kind = Result.NOT_SENT if answer.status == 429 else Result.REFUSED
        pause = retry_after(answer) if answer.status in {429, 503} else None
        words = visible(f"{error}: {first}" if first else error, longest=300)
        return Outcome(kind, _result(answer), words, retry_after=pause)


ACTIONS: tuple[Action[Any], ...] = (HttpGet(), HttpRequest())


@dataclass(frozen=True, slots=True)
class _Body:
    """What is sent, and who vouches for it."""

    data: bytes | None = None
    kind: str | None = None
    sign: Signature | None = None


def _out_of_reach(params: GetParameters, settings: Mapping[str, Any]) -> str | None:
    return Reach.of(settings).refuses_literal(urlsplit(params.url).hostname)


async def _exchange(method: str, params: GetParameters, context: Context, body: _Body) -> Answer | Outcome:
    headers = dict(params.headers)
    secrets: dict[str, str] = {}
    if params.auth:
        name = (params.auth.bearer if isinstance(params.auth, BearerAuth) else params.auth.basic.password).secret
        secret = _secret(name, context)
        if isinstance(secret, Outcome):
            return secret
        if not secret.isprintable():
            return Outcome(Result.NOT_SENT, error=f"the secret {name} fits no header: it has line ends")
        scheme, credentials = _credentials(params.auth, secret)
        headers["Authorization"] = f"{scheme} {credentials}"
        secrets |= {secret: f"[secret {name}]", credentials: f"[secret {name}]"}
    if body.sign:
        name = body.sign.key.secret
        key = _secret(name, context)
        if isinstance(key, Outcome):
            return key
        signature = hmac.new(key.encode(errors="surrogateescape"), body.data or b"", body.sign.algorithm).hexdigest()
        headers[body.sign.header] = f"{body.sign.prefix}{signature}"
        secrets |= {key: f"[secret {name}]", signature: f"[signed with {name}]"}
    query = tuple(
        (key, json.dumps(value) if isinstance(value, bool) else str(value)) for key, value in params.query.items()
    )
    call = Call(method, params.url, query, headers, body.data, body.kind, secrets=secrets, guarded=True)
    return await fetch(call, context)


def _secret(name: str, context: Context) -> str | Outcome:
    """Give a secret's value, or say why nothing is sent."""
    try:
        value = context.secret(name)
    except KeyError:
        return Outcome(Result.NOT_SENT, error=f"there is no secret {name}: add it under `secrets`")
    except ConfigurationError as error:
        return Outcome(Result.NOT_SENT, error=str(error))
    return value or Outcome(Result.NOT_SENT, error=f"the secret {name} is empty: nothing was sent")


def _credentials(auth: BearerAuth | BasicAuth, secret: str) -> tuple[str, str]:
    if isinstance(auth, BearerAuth):
        return "Bearer", secret
    return "Basic", base64.b64encode(f"{auth.basic.user}:{secret}".encode()).decode()


def _body(params: RequestParameters) -> _Body:
    if params.form is not None:
        return _Body(urlencode(params.form).encode(), "application/x-www-form-urlencoded", params.sign)
    if params.body is not None:
        return _Body(params.body.encode(), "text/plain; charset=utf-8", params.sign)
    if "json_" in params.model_fields_set:
        return _Body(msgspec.json.encode(params.json_), "application/json", params.sign)
    return _Body(sign=params.sign)


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
