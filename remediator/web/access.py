"""Who may ask, and what: the webhook's credential; people by the local token, a token of their own, or a trusted proxy."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from remediator.forms.access import LOCAL_NAME, Access, Proxy, person_name

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebhookCredential(msgspec.Struct, frozen=True):
    """What a sender has to show: a bearer token, or a user and password; either will do where both are set."""

    token: str | None = None
    basic: tuple[str, str] | None = None

    def admits(self, authorization: str | None) -> bool:
        """Judge an Authorization header, in constant time."""
        if self.token is None and self.basic is None:
            return True
        scheme, _, value = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and self.token is not None:
            return hmac.compare_digest(value.strip().encode("utf-8", "surrogateescape"), self.token.encode())
        if scheme.lower() == "basic" and self.basic is not None:
            try:
                shown = base64.b64decode(value.strip(), validate=True)
            except (binascii.Error, ValueError):
                return False
            return hmac.compare_digest(shown, ":".join(self.basic).encode())
        return False


def local_token(state: Path) -> str:
    """Give the token in the state folder, made at the first start; only the daemon's own user can read it."""
    path = state / "token"
    state.mkdir(parents=True, exist_ok=True)
    if path.is_file() and (token := path.read_text().strip()):
        return token
    token = secrets.token_urlsafe(32)
    # Renamed when whole: an empty file, left by a full disk, would be a token that anyone can guess.
    fresh = state / f".token.{os.getpid()}"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token + "\n")
    fresh.rename(path)
    return token


WHY = web.ResponseKey("why", str)  # what a failure says, for the log


def failure(status: int, code: str, message: str, **details: object) -> web.Response:
    """Make the one shape in which an error is told."""
    body = msgspec.json.encode({"error": {"code": code, "message": message, "details": details}})
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer, Basic"
    if status == 503:
        headers["Retry-After"] = "5"
    response = web.Response(status=status, body=body, content_type="application/json", headers=headers)
    response[WHY] = message
    return response


class Role(StrEnum):
    """What a person may do; each may do what the ones before may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def may(self, needed: Role) -> bool:
        """Tell whether this role is as high as the one that is needed."""
        roles = list(Role)
        return roles.index(self) >= roles.index(needed)


class Person(msgspec.Struct, frozen=True):
    """Who asks, as a token or a trusted proxy has proved it."""

    name: str
    role: Role
    local: bool = False  # came by the token in the state folder: may say in whose name it gives an order


LOCAL = Person(LOCAL_NAME, Role.ADMIN, local=True)
PERSON = web.RequestKey("person", Person)

_LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})


def identify(request: web.BaseRequest, token: str, access: Access) -> Person | str:
    """Say who asks, or in a sentence why nobody knows. A token goes before what a proxy says."""
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    person = _by_token(shown.strip(), token, access) if scheme.lower() == "bearer" else None
    if person is not None:
        return person
    if access.proxy is not None and access.proxy.header in request.headers:
        return _by_proxy(request, access.proxy, access)
    if scheme.lower() == "bearer":
        return "this token is not known here: it may be mistyped, or have been taken out of `access.users`"
    return "this needs a token: pass --token, set REMEDIATOR_TOKEN, or run as the daemon's user"


def _by_token(shown: str, token: str, access: Access) -> Person | None:
    secret = shown.encode("utf-8", "surrogateescape")
    found = LOCAL if hmac.compare_digest(secret, token.encode()) else None
    digest = hashlib.sha256(secret).hexdigest()
    for name, user in access.users.items():  # all of them: how long it takes tells nothing
        if user.token is not None and hmac.compare_digest(digest, user.token):
            found = Person(name, Role(user.role))
    return found


def _by_proxy(request: web.BaseRequest, proxy: Proxy, access: Access) -> Person | str:
    if not _among(request.remote, proxy):
        return f"{proxy.header} is not believed from {request.remote}: that is not one of `access.proxy.addresses`"
    named = request.headers.getall(proxy.header)
    if len(named) > 1:  # one of them was sent to the proxy, which is to take such away
        return f"{proxy.header} was given {len(named)} times: which of them the proxy means can't be told"
    try:
        name = person_name(named[0])
    except ValueError as error:
        return f"{proxy.header} names nobody: {error}"
    user = access.users.get(name)
    return Person(name, Role(proxy.role if user is None else user.role))


def _among(remote: str | None, proxy: Proxy) -> bool:
    try:
        address = ipaddress.ip_address(remote or "")
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in proxy.addresses)


def _from_elsewhere(request: web.BaseRequest, public_url: str) -> bool:
    """Tell whether a page of another site has made a browser ask this: a proxy would take it for the person's own."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    own = [f"{scheme}://{request.host}" for scheme in ("http", "https")]
    return origin is not None and origin not in (*own, "/".join(public_url.split("/")[:3]))


def by_role(token: str, access: Callable[[], Access], public_url: Callable[[], str]) -> Middleware:
    """Make the middleware that lets viewers look and operators act, by the access that is in force when they ask."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        person = identify(request, token, access())
        if isinstance(person, str):
            return failure(401, "unauthorized", person)
        if request.method not in _LOOKS:
            if _from_elsewhere(request, public_url()):
                return failure(403, "forbidden", "a page of another site asks this, and only our own may")
            if not person.role.may(Role.OPERATOR):
                return failure(
                    403, "forbidden",
                    f"{person.name} is a {person.role} here, and this takes an operator: an admin gives that role "
                    "under `access` in the configuration",
                )  # fmt: skip
        request[PERSON] = person
        return await handler(request)

    return guard


@web.middleware
async def plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give what the server itself refuses (no such path or method) the one shape of errors."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        told = failure(error.status, error.reason.lower().replace(" ", "_"), error.reason)
        if "Allow" in error.headers:
            told.headers["Allow"] = error.headers["Allow"]
        return told
