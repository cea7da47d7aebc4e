"""Who may ask: the webhook's credential, and the local token that the command line finds by itself."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

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


def failure(status: int, code: str, message: str, **details: object) -> web.Response:
    """Make the one shape in which an error is told."""
    body = msgspec.json.encode({"error": {"code": code, "message": message, "details": details}})
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer, Basic"
    if status == 503:
        headers["Retry-After"] = "5"
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def holds_token(token: str) -> Middleware:
    """Make the middleware that lets only the holder of the local token into the API."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not WebhookCredential(token=token).admits(request.headers.get("Authorization")):
            return failure(
                401, "unauthorized",
                "this needs the daemon's token: pass --token, set REMEDIATOR_TOKEN, or run as the daemon's user",
            )  # fmt: skip
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
